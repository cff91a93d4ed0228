#include "pipeline/file/byte_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr size_t kSkipBytes = size_t{64} << 10;

absl::Status FromErrno(const std::string& path, const char* what) {
  const int error = errno;
  const std::string message = fmt::format("cannot {} {}: {}", what, path, std::strerror(error));
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

// A frame with content, or a skippable one, which parallel compressors put first: 0x184D2A50 to
// 0x184D2A5F, little endian.
bool BeginsZstd(const unsigned char (&magic)[4]) {
  if (magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd) return true;
  return (magic[0] & 0xf0) == 0x50 && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18;
}

class PlainStream : public ByteStream {
 public:
  PlainStream(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~PlainStream() override { close(fd_); }
  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    ssize_t n = 0;
    do {
      n = read(fd_, to, size);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return FromErrno(path_, "read");
    return static_cast<size_t>(n);
  }
  absl::StatusOr<int64_t> Skip(int64_t bytes) override {
    const int64_t whole = size();
    const int64_t at = lseek(fd_, 0, SEEK_CUR);
    if (whole < 0 || at < 0) return ByteStream::Skip(bytes);  // a pipe
    const int64_t skipped = std::min(bytes, std::max<int64_t>(whole - at, 0));
    if (lseek(fd_, at + skipped, SEEK_SET) < 0) return FromErrno(path_, "read");
    return skipped;
  }
  int64_t size() const override {
    struct stat status {};
    return fstat(fd_, &status) == 0 && S_ISREG(status.st_mode) ? int64_t{status.st_size} : -1;
  }

 private:
  std::string path_;
  int fd_;
};

class GzipStream : public ByteStream {
 public:
  GzipStream(std::string path, int fd) : path_(std::move(path)), file_(gzdopen(fd, "rb")) {}
  ~GzipStream() override { gzclose(file_); }
  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    const int n = gzread(file_, to, static_cast<unsigned>(size));
    int error = Z_OK;
    const char* message = gzerror(file_, &error);
    // A file that is cut off reads as if it ended, but says so.
    if (n <= 0 && error != Z_OK && error != Z_STREAM_END) {
      return absl::DataLossError(fmt::format("{}: damaged gzip after {} bytes of content: {}",
                                             path_, static_cast<int64_t>(gztell(file_)), message));
    }
    return static_cast<size_t>(n < 0 ? 0 : n);
  }

 private:
  std::string path_;
  gzFile file_;
};

class ZstdStream : public ByteStream {
 public:
  ZstdStream(std::string path, int fd)
      : path_(path),
        in_(std::move(path), fd),
        context_(ZSTD_createDCtx()),
        buffer_(ZSTD_DStreamInSize()) {}
  ~ZstdStream() override { ZSTD_freeDCtx(context_); }
  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    ZSTD_outBuffer out = {to, size, 0};
    while (out.pos == 0) {
      if (input_.pos == input_.size) {
        absl::StatusOr<size_t> n = in_.Read(buffer_.data(), buffer_.size());
        if (!n.ok()) return n.status();
        if (*n == 0) {
          if (within_frame_) return Damaged("it is cut off");
          return size_t{0};
        }
        input_ = {buffer_.data(), *n, 0};
      }
      const size_t left = ZSTD_decompressStream(context_, &out, &input_);
      if (ZSTD_isError(left) != 0) return Damaged(ZSTD_getErrorName(left));
      within_frame_ = left != 0;
    }
    total_ += out.pos;
    return out.pos;
  }

 private:
  absl::Status Damaged(const char* why) const {
    return absl::DataLossError(
        fmt::format("{}: damaged zstd after {} bytes of content: {}", path_, total_, why));
  }
  std::string path_;
  PlainStream in_;
  ZSTD_DCtx* context_;
  std::vector<char> buffer_;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  bool within_frame_ = false;
  uint64_t total_ = 0;
};

}  // namespace

absl::StatusOr<int64_t> ByteStream::Skip(int64_t bytes) {
  std::vector<char> buffer(kSkipBytes);
  int64_t skipped = 0;
  while (skipped < bytes) {
    const int64_t want = std::min(bytes - skipped, int64_t{kSkipBytes});
    BONGSU_ASSIGN_OR_RETURN(const size_t n, Read(buffer.data(), static_cast<size_t>(want)));
    if (n == 0) break;
    skipped += static_cast<int64_t>(n);
  }
  return skipped;
}

absl::StatusOr<std::unique_ptr<ByteStream>> OpenByteStream(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FromErrno(path, "open");
  struct stat status {};
  unsigned char magic[4] = {};
  if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(fmt::format("{} is a folder, not a file", path));
  }
  const ssize_t n = pread(fd, magic, sizeof(magic), 0);
  if (n >= 2 && magic[0] == 0x1f && magic[1] == 0x8b) return std::make_unique<GzipStream>(path, fd);
  if (n == 4 && BeginsZstd(magic)) return std::make_unique<ZstdStream>(path, fd);
  return std::make_unique<PlainStream>(path, fd);
}

}  // namespace bongsu
