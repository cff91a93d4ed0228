// The least that reading a Kafka topic can cost: librdkafka's batch interface, every record thrown
// away. What whole_process.py measures bongsu against.
//
//   bare_consumer BROKERS TOPIC...            from the beginning of every partition to its end
//   bare_consumer --print BROKERS TOPIC...    each record as a line: how the bench reads what came
//   out
//
// Without --print it prints how many records and bytes it saw. Exit status 1 when a broker or topic
// cannot be read.
#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kBatchRecords = 1000;
constexpr int kPollMs = 100;
constexpr int kMetadataTimeoutMs = 15'000;

// The defaults of 2.0.2, but for what a reader of a backlog sets: deeper queues, larger fetches.
constexpr const char* kProperties[][2] = {
    {"group.id", "bare-consumer"},     {"enable.auto.commit", "false"},
    {"enable.partition.eof", "true"},  {"isolation.level", "read_committed"},
    {"queued.min.messages", "200000"}, {"fetch.message.max.bytes", "4194304"},
};

rd_kafka_t* MakeConsumer(const char* brokers) {
  char error[512];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  bool ok = rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof(error)) ==
            RD_KAFKA_CONF_OK;
  for (const auto& [name, value] : kProperties)
    ok = ok && rd_kafka_conf_set(conf, name, value, error, sizeof(error)) == RD_KAFKA_CONF_OK;
  rd_kafka_t* consumer = ok ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error)) : nullptr;
  if (consumer == nullptr) std::fprintf(stderr, "bare_consumer: %s\n", error);
  return consumer;
}

// Adds the topic's partitions, from their beginning; false where it cannot be asked for.
bool AddTopic(rd_kafka_t* consumer, const char* name, rd_kafka_topic_partition_list_t* list) {
  rd_kafka_topic_t* topic = rd_kafka_topic_new(consumer, name, nullptr);
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(consumer, 0, topic, &metadata, kMetadataTimeoutMs);
  rd_kafka_topic_destroy(topic);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR || metadata->topic_cnt != 1 ||
      metadata->topics[0].partition_cnt == 0) {
    std::fprintf(stderr, "bare_consumer: topic %s: %s\n", name, rd_kafka_err2str(error));
    return false;
  }
  for (int32_t i = 0; i < metadata->topics[0].partition_cnt; ++i)
    rd_kafka_topic_partition_list_add(list, name, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_metadata_destroy(metadata);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const bool print = argc > 1 && std::strcmp(argv[1], "--print") == 0;
  const int first = print ? 2 : 1;
  if (argc < first + 2) {
    std::fprintf(stderr, "bare_consumer [--print] BROKERS TOPIC...\n");
    return 2;
  }
  rd_kafka_t* consumer = MakeConsumer(argv[first]);
  if (consumer == nullptr) return 1;
  rd_kafka_poll_set_consumer(consumer);
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(8);
  for (int i = first + 1; i < argc; ++i) {
    if (!AddTopic(consumer, argv[i], list)) return 1;
  }
  rd_kafka_assign(consumer, list);
  rd_kafka_queue_t* queue = rd_kafka_queue_get_consumer(consumer);
  std::vector<rd_kafka_message_t*> messages(kBatchRecords);
  uint64_t records = 0;
  uint64_t bytes = 0;
  int left = list->cnt;
  while (left > 0) {
    const ssize_t got =
        rd_kafka_consume_batch_queue(queue, kPollMs, messages.data(), messages.size());
    for (ssize_t i = 0; i < got; ++i) {
      rd_kafka_message_t* message = messages[static_cast<size_t>(i)];
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ++records;
        bytes += message->len;
        if (print) {
          std::fwrite(message->payload, 1, message->len, stdout);
          std::fputc('\n', stdout);
        }
      } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        --left;
      } else {
        std::fprintf(stderr, "bare_consumer: %s\n", rd_kafka_message_errstr(message));
        return 1;
      }
      rd_kafka_message_destroy(message);
    }
  }
  if (!print)
    std::printf("%llu records, %llu bytes\n", static_cast<unsigned long long>(records),
                static_cast<unsigned long long>(bytes));
  std::fflush(stdout);
  rd_kafka_queue_destroy(queue);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_consumer_close(consumer);
  rd_kafka_destroy(consumer);
  return 0;
}
