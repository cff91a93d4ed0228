#include "pipeline/file/file_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr size_t kBufferBytesMax = size_t{256} << 10;

class FileSink : public Sink {
 public:
  explicit FileSink(std::string path) : path_(std::move(path)) {}
  ~FileSink() override {
    if (fd_ >= 0) close(fd_);
  }

  // Nothing is made yet: `check` must not leave files behind.
  absl::Status Open() override {
    const std::filesystem::path folder = std::filesystem::absolute(path_).parent_path();
    struct stat status {};
    if (stat(path_.c_str(), &status) == 0) {
      if (S_ISDIR(status.st_mode))
        return absl::InvalidArgumentError(fmt::format("{} is a folder, not a file", path_));
      if (!S_ISREG(status.st_mode)) {  // it could not be cut back after a crash
        return absl::InvalidArgumentError(
            fmt::format("{} is a device or a pipe, not a file", path_));
      }
      return access(path_.c_str(), W_OK) == 0 ? absl::OkStatus() : Failure("write to");
    }
    if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
    return Failure("make");
  }

  absl::Status CheckRecover(int64_t length) override {
    struct stat status {};
    const int64_t size = stat(path_.c_str(), &status) == 0 ? int64_t{status.st_size} : 0;
    if (size < length) {
      return absl::FailedPreconditionError(
          fmt::format("{} has {} bytes, but {} were written before: it was cut or replaced; "
                      "restore it, or give the new run its own "
                      "state.path and outputs",
                      path_, size, length));
    }
    if (length == 0 && size > 0 && !resumed_) {
      return absl::FailedPreconditionError(
          fmt::format("{} is not empty, and there is no state to go on from: move it away, or name "
                      "another file",
                      path_));
    }
    return absl::OkStatus();
  }

  absl::Status Recover(int64_t length) override {
    BONGSU_RETURN_IF_ERROR(CheckRecover(length));
    const bool exists = access(path_.c_str(), F_OK) == 0;
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) return Failure("open");
    if (ftruncate(fd_, length) != 0 || lseek(fd_, length, SEEK_SET) != length || fsync(fd_) != 0)
      return Failure("cut");
    length_ = length;
    return exists ? absl::OkStatus() : SyncFolder();
  }
  void SetResumed(bool resumed) override { resumed_ = resumed; }

  absl::Status Write(std::string_view, std::string_view value) override {
    buffer_.append(value).push_back('\n');
    length_ += static_cast<int64_t>(value.size()) + 1;
    return buffer_.size() < kBufferBytesMax ? absl::OkStatus() : Drain();
  }

  absl::Status Flush() override {
    BONGSU_RETURN_IF_ERROR(Drain());
    if (!unsynced_) return absl::OkStatus();
    // After a failed sync the kernel may have dropped the pages: never go on.
    if (fdatasync(fd_) != 0) return Failure("sync");
    unsynced_ = false;
    return absl::OkStatus();
  }

  int64_t length() const override { return length_; }

  absl::Status Close() override {
    if (fd_ < 0) return absl::OkStatus();
    const absl::Status status = Drain();
    if (close(fd_) != 0 && status.ok()) {
      fd_ = -1;
      return Failure("close");
    }
    fd_ = -1;
    return status;
  }

 private:
  absl::Status Failure(const char* what) const {
    const int error = errno;
    const std::string message = fmt::format("cannot {} {}: {}", what, path_, std::strerror(error));
    if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
    if (error == EACCES || error == EPERM || error == EROFS)
      return absl::PermissionDeniedError(message);
    return absl::UnavailableError(message);
  }

  absl::Status Drain() {
    std::string_view rest = buffer_;
    while (!rest.empty()) {
      const ssize_t n = write(fd_, rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failure("write to");
      rest.remove_prefix(static_cast<size_t>(n));
      unsynced_ = true;
    }
    buffer_.clear();
    return absl::OkStatus();
  }

  absl::Status SyncFolder() const {
    const std::string folder = std::filesystem::absolute(path_).parent_path().string();
    const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Failure("open the folder of");
    const bool synced = fsync(fd) == 0;
    close(fd);
    return synced ? absl::OkStatus() : Failure("sync the folder of");
  }

  const std::string path_;
  int fd_ = -1;
  std::string buffer_;
  int64_t length_ = 0;
  bool unsynced_ = false;
  bool resumed_ = false;
};

}  // namespace

std::unique_ptr<Sink> MakeFileSink(const std::string& path) {
  return std::make_unique<FileSink>(path);
}

}  // namespace bongsu
