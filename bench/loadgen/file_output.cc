#include "bench/loadgen/file_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace bongsu::loadgen {

FileOutput::~FileOutput() { Close(); }

std::string FileOutput::Open(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fmt::format("cannot make {}: {}", folder, error.message());
  const char* names[] = {"firewall.jsonl", "endpoint.jsonl"};
  for (size_t i = 0; i < files_.size(); ++i) {
    files_[i].path = folder + "/" + names[i];
    files_[i].fd = open(files_[i].path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (files_[i].fd < 0)
      return fmt::format("cannot write {}: {}", files_[i].path, std::strerror(errno));
    files_[i].buffer.reserve(kFileBufferBytes + 16 * 1024);
  }
  return "";
}

void FileOutput::Write(Log log, std::string_view /*key*/, std::string_view line) {
  File& file = files_[static_cast<size_t>(log)];
  file.buffer.append(line);
  file.buffer.push_back('\n');
  if (file.buffer.size() >= kFileBufferBytes) Drain(file);
}

void FileOutput::Drain(File& file) {
  std::string_view rest = file.buffer;
  while (!rest.empty() && error_.empty()) {
    const ssize_t written = write(file.fd, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      error_ = fmt::format("cannot write {}: {}", file.path, std::strerror(errno));
    } else {
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }
  file.buffer.clear();
}

std::string FileOutput::Close() {
  for (File& file : files_) {
    if (file.fd < 0) continue;
    Drain(file);
    if (close(file.fd) != 0 && error_.empty()) error_ = fmt::format("cannot write {}", file.path);
    file.fd = -1;
  }
  return error_;
}

std::string WriteLines(const std::string& path, const std::vector<std::string>& lines) {
  std::FILE* out = std::fopen(path.c_str(), "w");
  if (out == nullptr) return fmt::format("cannot write {}: {}", path, std::strerror(errno));
  bool good = true;
  for (const std::string& line : lines) {
    good = good && std::fwrite(line.data(), 1, line.size(), out) == line.size() &&
           std::fputc('\n', out) != EOF;
  }
  good = std::fclose(out) == 0 && good;
  return good ? "" : fmt::format("cannot write {}: {}", path, std::strerror(errno));
}

}  // namespace bongsu::loadgen
