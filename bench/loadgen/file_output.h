// File: bench/loadgen/file_output.h
//
// Writes both logs as JSON lines: DIR/firewall.jsonl and DIR/endpoint.jsonl.
//
//   FileOutput output;
//   std::string error = output.Open("sample");    // makes the folder; empty: all is well
//   Generate(options, output);
//   error = output.Close();                       // a full disk shows here at the latest
//
// Thread-safety: one thread.
#pragma once

#include <array>
#include <string>

#include "bench/loadgen/generator.h"

namespace bongsu::loadgen {

inline constexpr size_t kFileBufferBytes = size_t{4} << 20;

class FileOutput final : public Output {
 public:
  FileOutput() = default;
  ~FileOutput() override;
  FileOutput(const FileOutput&) = delete;
  FileOutput& operator=(const FileOutput&) = delete;
  std::string Open(const std::string& folder);
  void Write(Log log, std::string_view key, std::string_view line) override;
  std::string Close();

 private:
  struct File {
    std::string path;
    int fd = -1;
    std::string buffer;
  };
  void Drain(File& file);

  std::array<File, 2> files_;
  std::string error_;
};

// Writes `lines`, each with a newline; returns what went wrong, or empty.
std::string WriteLines(const std::string& path, const std::vector<std::string>& lines);

}  // namespace bongsu::loadgen
