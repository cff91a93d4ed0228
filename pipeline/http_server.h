// File: pipeline/http_server.h
//
// A small read-only HTTP server for metrics and health: answers GET and HEAD on a fixed list of
// paths, from handlers that make the whole answer. Everything else is 404 or 405.
//
//   ASSIGN_OR_RETURN(auto server, HttpServer::Start("127.0.0.1:9464", {{"/metrics", handler}}));
//   ...
//   server.reset();   // waits for the answers under way
//
// There is neither TLS nor a password: listen on loopback, or put a proxy in front.
//
// Bounds: kHttpThreads requests at a time; a client that does not send or take within
// kHttpTimeoutMs is dropped. Thread-safety: Start and the destructor on one thread; handlers are
// called from several.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace bongsu {

// Clients that stand still must not keep a probe waiting that decides over the process.
inline constexpr int kHttpThreads = 16;
inline constexpr int kHttpTimeoutMs = 3'000;

struct HttpAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

// "9464" becomes "127.0.0.1:9464"; "10.0.0.1:9464", "[::1]:9464" and "localhost:9464" are taken as
// they are meant. Port 0: any free one. None where it is no address and port.
std::optional<std::string> ListenAddress(std::string_view text);
// Whether only this machine can reach an address of ListenAddress.
bool IsLoopback(std::string_view address);

class HttpServer {
 public:
  struct Impl;
  using Handler = std::function<HttpAnswer()>;
  // Unavailable with the reason where the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                           std::map<std::string, Handler> paths);
  ~HttpServer();
  // The port that is listened on.
  int port() const;

 private:
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bongsu
