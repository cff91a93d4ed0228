#include "pipeline/epoch_log.h"

#include <utility>

namespace bongsu {
namespace {

class EpochSink : public Sink {
 public:
  EpochSink(EpochLog& log, std::string topic) : log_(log), topic_(std::move(topic)) {}
  // Topics are looked at as a whole (pipeline/kafka/kafka_topics.h), before anything is opened.
  absl::Status Open() override { return absl::OkStatus(); }
  absl::Status Write(std::string_view key, std::string_view value) override {
    return log_.Write(topic_, key, value);
  }
  // The transaction's commit does it.
  absl::Status Flush() override { return absl::OkStatus(); }

 private:
  EpochLog& log_;
  const std::string topic_;
};

}  // namespace

std::string ChangelogTopic(const Config& config) { return config.application + ".changelog"; }

std::string TransactionalId(const Config& config) {
  return config.application + "-" + config.instance;
}

std::unique_ptr<Sink> MakeEpochSink(EpochLog& log, std::string topic) {
  return std::make_unique<EpochSink>(log, std::move(topic));
}

}  // namespace bongsu
