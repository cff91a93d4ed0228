// File: pipeline/file/file_sink.h
//
// A Sink that writes JSON lines to a file. Flush makes what was written durable (fdatasync; the
// folder too when the file is new). Recover cuts the file back to a checkpoint's length.
//
// Errors: FailedPrecondition when the file is shorter than the checkpoint says, or holds something
// although there is no checkpoint (somebody else's content is never destroyed); Unavailable and
// ResourceExhausted as the disk says: the process stops, and a restart cuts the file and writes the
// rest again. Thread-safety: one thread.
#pragma once

#include <memory>
#include <string>

#include "pipeline/io.h"

namespace bongsu {

std::unique_ptr<Sink> MakeFileSink(const std::string& path);

}  // namespace bongsu
