#include "pipeline/http_server.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <fmt/format.h>

#include <charconv>
#include <mutex>

namespace bongsu {

struct HttpServer::Impl {
  std::map<std::string, Handler> paths;
  std::mutex mutex;
  std::string problem;   // guarded by mutex: why the library does not start
  bool started = false;  // guarded by mutex
  mg_context* context = nullptr;
};

namespace {

// Where the library tells why it does not start; later it speaks of clients that went away.
int OnLog(const mg_connection* connection, const char* message) {
  auto* impl = static_cast<HttpServer::Impl*>(mg_get_user_data(mg_get_context(connection)));
  if (impl == nullptr) return 1;
  std::lock_guard lock(impl->mutex);
  if (!impl->started) impl->problem += (impl->problem.empty() ? "" : "; ") + std::string(message);
  return 1;
}

HttpAnswer AnswerTo(const HttpServer::Impl& impl, const mg_request_info& request) {
  const auto it = impl.paths.find(request.local_uri == nullptr ? "" : request.local_uri);
  if (it == impl.paths.end()) return {404, "text/plain; charset=utf-8", "not found\n"};
  const std::string_view method = request.request_method;
  if (method != "GET" && method != "HEAD")
    return {405, "text/plain; charset=utf-8", "only GET and HEAD\n"};
  return it->second();
}

int OnRequest(mg_connection* connection, void* data) {
  const auto& impl = *static_cast<const HttpServer::Impl*>(data);
  const mg_request_info& request = *mg_get_request_info(connection);
  const HttpAnswer answer = AnswerTo(impl, request);
  const std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
      answer.status, mg_get_response_code_text(connection, answer.status), answer.type,
      answer.body.size());
  mg_write(connection, head.data(), head.size());
  if (std::string_view(request.request_method) != "HEAD")
    mg_write(connection, answer.body.data(), answer.body.size());
  return answer.status;
}

std::optional<std::string> Host(std::string_view host) {
  if (host == "localhost") return "127.0.0.1";
  unsigned char bytes[sizeof(in6_addr)];
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    const std::string inner(host.substr(1, host.size() - 2));
    if (inet_pton(AF_INET6, inner.c_str(), bytes) != 1) return std::nullopt;
    return std::string(host);
  }
  const std::string text(host);
  if (inet_pton(AF_INET, text.c_str(), bytes) != 1) return std::nullopt;
  return text;
}

}  // namespace

std::optional<std::string> ListenAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  const std::string_view digits = colon == std::string_view::npos ? text : text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port > 65'535)
    return std::nullopt;
  const std::optional<std::string> host =
      Host(colon == std::string_view::npos ? "localhost" : text.substr(0, colon));
  if (!host.has_value()) return std::nullopt;
  return fmt::format("{}:{}", *host, port);
}

bool IsLoopback(std::string_view address) {
  return address.substr(0, 4) == "127." || address.substr(0, 5) == "[::1]";
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  if (impl_->context != nullptr) mg_stop(impl_->context);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& address, std::map<std::string, Handler> paths) {
  static const unsigned features = mg_init_library(0);
  (void)features;
  auto impl = std::make_unique<Impl>();
  impl->paths = std::move(paths);
  const std::string threads = std::to_string(kHttpThreads);
  const std::string timeout = std::to_string(kHttpTimeoutMs);
  const char* options[] = {
      "listening_ports", address.c_str(),     "num_threads", threads.c_str(), "request_timeout_ms",
      timeout.c_str(),   "enable_keep_alive", "no",          nullptr};
  mg_callbacks callbacks{};
  callbacks.log_message = OnLog;
  impl->context = mg_start(&callbacks, impl.get(), options);
  if (impl->context == nullptr) {
    std::lock_guard lock(impl->mutex);
    return absl::UnavailableError(
        fmt::format("cannot listen on {} (http.listen): {}", address, impl->problem));
  }
  {
    std::lock_guard lock(impl->mutex);
    impl->started = true;
  }
  mg_set_request_handler(impl->context, "/", OnRequest, impl.get());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const {
  mg_server_port ports[1];
  return mg_get_server_ports(impl_->context, 1, ports) == 1 ? ports[0].port : 0;
}

}  // namespace bongsu
