// File: pipeline/file/file_source.h
//
// All file sources of a configuration as one RecordSource: JSON lines in plain, gzip or zstd files.
// Every file is a source partition; a record's offset is the position of its line in the
// uncompressed content.
//
// Reading order is a pure function of the files and the positions, so that a restart reads what an
// undisturbed run would have read, in the same order: files are cut into chunks of whole lines (a
// chunk's end follows from its beginning), and the next chunk is always the one whose first usable
// event time is lowest, ties by partition number. So the sources move together in event time,
// whatever their sizes, and little state is held.
//
// Bounds: a chunk has at most kBatchRecordsMax records and 256 KiB (less with many files, 64 MiB
// over all), or one longer line. A line beyond the source's record_bytes_max is handed on cut one
// byte above it, for the decoder to refuse; the rest of it is skipped without being kept.
//
// A byte order mark at a file's beginning is passed over. A file is read to its end once, not
// followed: a last line without a newline is a record. A plain file that had been read to its end
// and is longer at a restart is read on (of compressed ones that is seen below 4 KiB of content);
// the engine refuses that when its windows are closed.
//
// Errors: Open: every pattern without a file and every file that cannot be read, one a line. Poll:
// DataLoss for a damaged compressed file, after the records before the damage. Start:
// FailedPrecondition for a file that
// - is shorter than its stored position, or begins with other content than it had then (the first
//   4 KiB of it, or what was read; not told apart with positions of before this was kept);
// - was read in part and is not found: another name for it is another file, read from its
//   beginning;
// - was read to its end, has no newline there, and goes on with something else than one.
// Thread-safety: one thread.
#pragma once

#include <memory>

#include "pipeline/config.h"
#include "pipeline/io.h"

namespace bongsu {

// `config` outlives the source.
std::unique_ptr<RecordSource> MakeFileSource(const Config& config);

}  // namespace bongsu
