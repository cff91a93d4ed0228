#include "pipeline/control_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace bongsu {
namespace {

constexpr int kTimeoutMs = 5'000;  // of a client that neither sends nor takes

// The address of `path`, through a descriptor of its folder, which `*folder` keeps open.
absl::StatusOr<sockaddr_un> Address(const std::string& path, int* folder) {
  const std::filesystem::path whole = std::filesystem::absolute(path);
  *folder = open(whole.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (*folder < 0) {
    return absl::NotFoundError(fmt::format("cannot open the folder {}: {}",
                                           whole.parent_path().string(), std::strerror(errno)));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string near = fmt::format("/proc/self/fd/{}/{}", *folder, whole.filename().string());
  if (near.size() >= sizeof(address.sun_path)) {
    close(*folder);
    return absl::InvalidArgumentError(fmt::format("{} is too long for a socket", path));
  }
  std::memcpy(address.sun_path, near.c_str(), near.size() + 1);
  return address;
}

// Who asked may have left, or stand still: then no longer than kTimeoutMs, and not beyond `stop`.
bool SendAll(int fd, int stop, std::string_view text) {
  while (!text.empty()) {
    pollfd polled[2] = {{fd, POLLOUT, 0}, {stop, POLLIN, 0}};
    const int ready = poll(polled, 2, kTimeoutMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || (polled[0].revents == 0 && polled[1].revents != 0)) return false;
    const ssize_t n = send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlSocket>> ControlSocket::Listen(const std::string& path,
                                                                     Handler handler) {
  std::unique_ptr<ControlSocket> self(new ControlSocket(path, std::move(handler)));
  int folder = -1;
  const absl::StatusOr<sockaddr_un> address = Address(path, &folder);
  if (!address.ok()) return address.status();
  unlink(path.c_str());
  self->listening_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool bound =
      self->listening_ >= 0 &&
      bind(self->listening_, reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0 &&
      chmod(path.c_str(), 0600) == 0 && listen(self->listening_, 4) == 0 &&
      pipe2(self->stop_, O_CLOEXEC) == 0;
  const int error = errno;
  close(folder);
  if (!bound)
    return absl::UnavailableError(
        fmt::format("cannot listen on {}: {}", path, std::strerror(error)));
  self->thread_ = std::thread([one = self.get()] { one->Loop(); });
  return self;
}

ControlSocket::~ControlSocket() {
  if (stop_[1] >= 0) close(stop_[1]);
  if (thread_.joinable()) thread_.join();
  if (stop_[0] >= 0) close(stop_[0]);
  if (listening_ < 0) return;
  close(listening_);
  unlink(path_.c_str());
}

void ControlSocket::Loop() {
  while (true) {
    pollfd polled[2] = {{listening_, POLLIN, 0}, {stop_[0], POLLIN, 0}};
    if (poll(polled, 2, -1) < 0 && errno != EINTR) return;
    if (polled[1].revents != 0) return;
    if (polled[0].revents == 0) continue;
    const int connection = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    Serve(connection);
    close(connection);
  }
}

void ControlSocket::Serve(int connection) {
  std::string command;
  while (command.find('\n') == std::string::npos && command.size() < kControlBytesMax) {
    pollfd polled[2] = {{connection, POLLIN, 0}, {stop_[0], POLLIN, 0}};
    if (poll(polled, 2, kTimeoutMs) <= 0 || polled[1].revents != 0) return;
    char buffer[512];
    const ssize_t n = recv(connection, buffer, sizeof(buffer), 0);
    if (n <= 0) return;
    command.append(buffer, static_cast<size_t>(n));
  }
  const size_t end = command.find('\n');
  if (end == std::string::npos) return;
  std::string answer = handler_(std::string_view(command).substr(0, end));
  if (answer.size() > kControlAnswerBytesMax) answer.resize(kControlAnswerBytesMax);
  (void)SendAll(connection, stop_[0], answer);
}

absl::StatusOr<std::string> AskControl(const std::string& path, std::string_view command) {
  int folder = -1;
  const absl::StatusOr<sockaddr_un> address = Address(path, &folder);
  if (!address.ok()) return address.status();
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected =
      fd >= 0 && connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0;
  const int error = errno;
  close(folder);
  if (!connected) {
    if (fd >= 0) close(fd);
    return absl::NotFoundError(fmt::format("nobody listens on {}: {}", path, std::strerror(error)));
  }
  std::string answer;
  if (SendAll(fd, -1, std::string(command) + "\n")) {
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  if (answer.empty()) return absl::UnavailableError("the service ended before it answered");
  return answer;
}

}  // namespace bongsu
