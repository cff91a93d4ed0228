#include "pipeline/kafka/kafka_sink.h"

#include <fmt/format.h>

#include "state/status_macros.h"

namespace bongsu {
namespace {

class KafkaSink : public Sink {
 public:
  KafkaSink(std::shared_ptr<KafkaProducer> producer, std::string topic)
      : producer_(std::move(producer)), name_(std::move(topic)) {}

  absl::Status Open() override {
    BONGSU_ASSIGN_OR_RETURN([[maybe_unused]] const int partitions,
                            TopicPartitions(producer_->handle(), name_));
    return absl::OkStatus();
  }
  absl::Status Write(std::string_view key, std::string_view value) override {
    return producer_->Produce(name_, key, value, {});
  }
  absl::Status Flush() override { return producer_->Flush(); }

 private:
  std::shared_ptr<KafkaProducer> producer_;
  const std::string name_;
};

}  // namespace

std::unique_ptr<Sink> MakeKafkaSink(std::shared_ptr<KafkaProducer> producer,
                                    const std::string& topic) {
  return std::make_unique<KafkaSink>(std::move(producer), topic);
}

}  // namespace bongsu
