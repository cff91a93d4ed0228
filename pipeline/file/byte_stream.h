// File: pipeline/file/byte_stream.h
//
// The bytes of a log file, uncompressed: plain, gzip or zstd, told apart by their first bytes.
// Several gzip members or zstd frames one after the other are read as one; zstd's skippable frames,
// also in front, have no content.
//
//   ASSIGN_OR_RETURN(auto stream, OpenByteStream("fw.jsonl.zst"));
//   ASSIGN_OR_RETURN(size_t n, stream->Read(buffer, sizeof(buffer)));   // 0: the end
//
// Errors: NotFound and PermissionDenied from opening; DataLoss for a damaged or cut-off compressed
// file, with its name and the position reached; what was good before it has been handed out.
// Thread-safety: one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace bongsu {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Up to `size` bytes of content; 0 at the end.
  virtual absl::StatusOr<size_t> Read(char* to, size_t size) = 0;
  // Leaves out up to `bytes` bytes; fewer were left where the result is less. Compressed content is
  // read over; a plain file is entered at once.
  virtual absl::StatusOr<int64_t> Skip(int64_t bytes);
  // The content's size where it is known without reading it, else -1.
  virtual int64_t size() const { return -1; }
};

absl::StatusOr<std::unique_ptr<ByteStream>> OpenByteStream(const std::string& path);

}  // namespace bongsu
