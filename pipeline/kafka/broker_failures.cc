#include "pipeline/kafka/broker_failures.h"

#include <chrono>

namespace bongsu {
namespace {

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void BrokerFailures::Note(std::string_view text) {
  // "[thrd:host:9092/bootstrap]: host:9092/bootstrap: Connect to ..."
  if (const size_t end = text.find("]: "); text.substr(0, 6) == "[thrd:" && end != text.npos)
    text.remove_prefix(end + 3);
  const std::lock_guard<std::mutex> lock(mutex_);
  text_ = text;
  // Behind a load balancer a broker that is down accepts, and ends the connection before the first
  // answer.
  const size_t state = text.find("in state ");
  const bool was_up = state == text.npos || text.substr(state).starts_with("in state UP");
  if (text.find("Connect to ") == text.npos && was_up) return;
  unreachable_ = true;
  unreachable_ns_ = Now();
}

std::string BrokerFailures::Last() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return text_;
}

bool BrokerFailures::UnreachableWithin(DurationNs time) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return unreachable_ && Now() - unreachable_ns_ <= time;
}

BrokerFailures& broker_failures() {
  static BrokerFailures failures;
  return failures;
}

}  // namespace bongsu
