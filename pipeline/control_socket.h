// File: pipeline/control_socket.h
//
// A Unix socket in the state's folder, by which commands reach the running service: one line of
// words in, one answer out. Who may write to the folder may use it, and nobody else: there is no
// other password.
//
//   const auto handler = [](std::string_view command) { ... };
//   ASSIGN_OR_RETURN(auto control, ControlSocket::Listen(path, handler));
//   ...                                                                // in another process:
//   ASSIGN_OR_RETURN(std::string answer, AskControl(path, "reload"));
//
// Bounds: one command at a time, of kControlBytesMax; an answer of kControlAnswerBytesMax.
// Thread-safety: the handler is called on the socket's own thread; the rest is for one thread.
// Linux: the path may be longer than socket addresses allow, because it is reached through /proc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/statusor.h"

namespace bongsu {

// In the state's folder.
inline std::string ControlPath(const std::string& state_path) { return state_path + "/control"; }

inline constexpr size_t kControlBytesMax = 4096;
inline constexpr size_t kControlAnswerBytesMax = size_t{1} << 20;

class ControlSocket {
 public:
  using Handler = std::function<std::string(std::string_view command)>;
  // Takes the place of a socket that a dead process left: the caller knows that the folder is its
  // own (it holds the store's lock).
  static absl::StatusOr<std::unique_ptr<ControlSocket>> Listen(const std::string& path,
                                                               Handler handler);
  ~ControlSocket();

 private:
  ControlSocket(std::string path, Handler handler)
      : path_(std::move(path)), handler_(std::move(handler)) {}
  void Loop();
  void Serve(int connection);

  const std::string path_;
  const Handler handler_;
  int listening_ = -1;
  int stop_[2] = {-1, -1};  // a pipe: closing its writing end stops the thread
  std::thread thread_;
};

// Waits for the answer as long as the service takes. NotFound: nobody listens.
absl::StatusOr<std::string> AskControl(const std::string& path, std::string_view command);

}  // namespace bongsu
