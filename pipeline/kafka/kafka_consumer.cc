#include "pipeline/kafka/kafka_consumer.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "pipeline/kafka/kafka_transaction.h"
#include "pipeline/logging.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kCloseDeadlineNs = 10 * kSecondNs;
constexpr size_t kQueueLow = 4 * kBatchRecordsMax;  // records fetched ahead: time for the next
constexpr DurationNs kWakeFetcherNs = 5 * kMillisecondNs;  // between two wakes
constexpr int kWakeTimeoutMs = 1;
constexpr int kDescribeTimeoutMs = 2'000;
constexpr int kCommittedTimeoutMs = 2'000;  // of one try
constexpr DurationNs kAskAgainNs = 100 * kMillisecondNs;
constexpr DurationNs kRemindNs = 10 * kSecondNs;
constexpr uintptr_t kPageBytes = 4096;

// The generation in the metadata: librdkafka 2.0.2 has no getter, but its written form, which is
// made to be read by other processes, begins with a magic and the number.
absl::StatusOr<int32_t> Generation(rd_kafka_t* handle,
                                   const rd_kafka_consumer_group_metadata_t& metadata) {
  constexpr std::string_view kMagic = "CGMDv2:";
  void* bytes = nullptr;
  size_t size = 0;
  rd_kafka_error_t* error = rd_kafka_consumer_group_metadata_write(&metadata, &bytes, &size);
  if (error != nullptr) {
    rd_kafka_error_destroy(error);
    return absl::InternalError("librdkafka does not show the group's generation");
  }
  const std::string_view text(static_cast<const char*>(bytes), size);
  int32_t generation = -1;
  const bool known =
      text.substr(0, kMagic.size()) == kMagic && size >= kMagic.size() + sizeof(generation);
  if (known) std::memcpy(&generation, text.data() + kMagic.size(), sizeof(generation));
  rd_kafka_mem_free(handle, bytes);
  if (!known)
    return absl::InternalError("this librdkafka writes its group metadata in an unknown form");
  return generation;
}

}  // namespace

absl::StatusOr<KafkaHandle> MakeConsumer(const Config& config, void* opaque,
                                         void (*on_rebalance)(rd_kafka_t*, rd_kafka_resp_err_t,
                                                              rd_kafka_topic_partition_list_t*,
                                                              void*)) {
  KafkaCallbacks callbacks;
  callbacks.opaque = opaque;
  callbacks.rebalance = on_rebalance;
  std::map<std::string, std::string> defaults = {
      {"session.timeout.ms", "10000"},
      // A rebalance waits until its last member has heard of it, with a heartbeat.
      {"heartbeat.interval.ms", "500"},
      {"queued.max.messages.kbytes", "16384"},
      {"allow.auto.create.topics", "false"},
      {"fetch.wait.max.ms", "100"},
      {"check.crcs", "true"},  // as the Java client does
      {"client.id", config.application + "-" + config.instance}};
  // See FetchWaker, which does it for older versions.
  if (rd_kafka_version() >= 0x02020000) defaults["fetch.queue.backoff.ms"] = "10";
  BONGSU_ASSIGN_OR_RETURN(KafkaHandle handle,
                          MakeHandle(RD_KAFKA_CONSUMER, config, defaults,
                                     {{"group.id", config.application},
                                      {"group.instance.id", config.instance},
                                      {"enable.auto.commit", "false"},
                                      {"enable.auto.offset.store", "false"},
                                      {"enable.partition.eof", "true"},
                                      {"isolation.level", "read_committed"},
                                      // The first start is placed by us. Where retention has
                                      // overtaken the reader, the library would skip in silence.
                                      {"auto.offset.reset", "error"},
                                      {"partition.assignment.strategy", "range"}},
                                     callbacks));
  rd_kafka_poll_set_consumer(handle.get());
  return handle;
}

KafkaMessages::~KafkaMessages() {
  for (rd_kafka_message_t* message : messages) rd_kafka_message_destroy(message);
}

// Reading a little past a message is safe as long as it stays on the message's last page.
uint32_t SlackOf(const rd_kafka_message_t& message) {
  if (message.len == 0) return 0;
  const auto last = reinterpret_cast<uintptr_t>(message.payload) + message.len - 1;
  return (last & (kPageBytes - 1)) + kRecordSlackBytes < kPageBytes ? kRecordSlackBytes : 0;
}

absl::Status FatalError(rd_kafka_t* handle) {
  char reason[512];
  const rd_kafka_resp_err_t error = rd_kafka_fatal_error(handle, reason, sizeof(reason));
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  return error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
             ? KafkaError(error, "reading stopped")
             : absl::InternalError(fmt::format("reading stopped: {}", reason));
}

absl::Status ConsumerError(rd_kafka_t* handle, const rd_kafka_message_t& message) {
  if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) return absl::OkStatus();
  std::string text = rd_kafka_message_errstr(&message);
  const rd_kafka_resp_err_t error = message.err;
  if (SkipsRecords(error)) {
    return absl::FailedPreconditionError(
        fmt::format("{}[{}] cannot be read at offset {}: {}",
                    message.rkt != nullptr ? rd_kafka_topic_name(message.rkt) : "",
                    message.partition, message.offset, text));
  }
  switch (error) {
    case RD_KAFKA_RESP_ERR__FATAL:
      return FatalError(handle);
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
      return absl::FailedPreconditionError(
          fmt::format("{}: the offset is not in the topic any more: {}",
                      message.rkt != nullptr ? rd_kafka_topic_name(message.rkt) : "", text));
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
      return KafkaError(error, message.rkt == nullptr
                                   ? std::string("reading stopped")
                                   : fmt::format("reading of topic '{}' stopped",
                                                 rd_kafka_topic_name(message.rkt)));
    default:
      LogWarning(
          fmt::format("kafka: {}", text));  // a lost broker and the like: the library tries again
      return absl::OkStatus();
  }
}

std::optional<bool> AnyUnassigned(rd_kafka_t* handle, const std::string& group,
                                  const rd_kafka_topic_partition_list_t* partitions) {
  rd_kafka_queue_t* queue = rd_kafka_queue_new(handle);
  const char* name = group.c_str();
  rd_kafka_DescribeConsumerGroups(handle, &name, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, kDescribeTimeoutMs);
  const rd_kafka_DescribeConsumerGroups_result_t* result =
      event == nullptr ? nullptr : rd_kafka_event_DescribeConsumerGroups_result(event);
  size_t groups = 0;
  const rd_kafka_ConsumerGroupDescription_t** described =
      result == nullptr ? nullptr : rd_kafka_DescribeConsumerGroups_result_groups(result, &groups);
  std::optional<bool> any;
  if (groups == 1 && rd_kafka_ConsumerGroupDescription_state(described[0]) ==
                         RD_KAFKA_CONSUMER_GROUP_STATE_STABLE) {
    std::set<std::pair<std::string_view, int32_t>> given;
    const size_t members = rd_kafka_ConsumerGroupDescription_member_count(described[0]);
    for (size_t i = 0; i < members; ++i) {
      const rd_kafka_MemberAssignment_t* assignment = rd_kafka_MemberDescription_assignment(
          rd_kafka_ConsumerGroupDescription_member(described[0], i));
      const rd_kafka_topic_partition_list_t* list =
          assignment == nullptr ? nullptr : rd_kafka_MemberAssignment_partitions(assignment);
      for (int j = 0; list != nullptr && j < list->cnt; ++j)
        given.insert({list->elems[j].topic, list->elems[j].partition});
    }
    any = false;
    for (int i = 0; i < partitions->cnt; ++i) {
      if (given.count({partitions->elems[i].topic, partitions->elems[i].partition}) == 0)
        any = true;
    }
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  return any;
}

absl::StatusOr<std::shared_ptr<const Membership>> MembershipOf(rd_kafka_t* handle) {
  auto membership = std::make_shared<KafkaMembership>();
  membership->metadata.reset(rd_kafka_consumer_group_metadata(handle));
  if (membership->metadata == nullptr) return absl::AbortedError("not a member of the group");
  BONGSU_ASSIGN_OR_RETURN(const int32_t generation, Generation(handle, *membership->metadata));
  if (generation < 0)
    return absl::AbortedError("the group has lost us: brokers would not fence such a commit");
  return std::shared_ptr<const Membership>(std::move(membership));
}

// With isolation.level=read_committed librdkafka asks for stable offsets.
absl::Status FetchStableOffsets(rd_kafka_t* handle, const Clock& clock,
                                const std::function<absl::Status()>& go_on,
                                rd_kafka_topic_partition_list_t* list) {
  int64_t remind = clock.MonotonicNs() + kRemindNs;
  while (true) {
    const rd_kafka_resp_err_t error = rd_kafka_committed(handle, list, kCommittedTimeoutMs);
    const absl::Status status = KafkaError(error, "cannot read the group's committed offsets");
    if (!absl::IsUnavailable(status)) return status;
    BONGSU_RETURN_IF_ERROR(go_on());
    clock.Sleep(kAskAgainNs);  // a coordinator that loads says so at once
    if (clock.MonotonicNs() < remind) continue;
    remind = clock.MonotonicNs() + kRemindNs;
    LogInfo(
        fmt::format("waiting for the group's offsets: another instance's transaction is "
                    "still open, or a broker is away ({})",
                    rd_kafka_err2name(error)));
  }
}

absl::Status ApplyPauses(rd_kafka_t* handle, const std::vector<PauseWish>& wishes) {
  const KafkaList pause(rd_kafka_topic_partition_list_new(0));
  const KafkaList resume(rd_kafka_topic_partition_list_new(0));
  for (const PauseWish& wish : wishes) {
    if (wish.wanted == *wish.paused) continue;
    *wish.paused = wish.wanted;
    rd_kafka_topic_partition_list_add((wish.wanted ? pause : resume).get(), wish.topic,
                                      wish.partition);
  }
  if (pause->cnt > 0) {
    BONGSU_RETURN_IF_ERROR(
        KafkaError(rd_kafka_pause_partitions(handle, pause.get()), "cannot pause the partitions"));
  }
  if (resume->cnt == 0) return absl::OkStatus();
  return KafkaError(rd_kafka_resume_partitions(handle, resume.get()),
                    "cannot resume the partitions");
}

void CloseConsumer(KafkaHandle handle) {
  struct Done {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  auto done = std::make_shared<Done>();
  rd_kafka_t* released = handle.release();
  std::thread([done, released] {
    rd_kafka_consumer_close(released);
    rd_kafka_destroy_flags(released, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    std::lock_guard lock(done->mutex);
    done->done = true;
    done->changed.notify_all();
  }).detach();
  std::unique_lock lock(done->mutex);
  if (!done->changed.wait_for(lock, std::chrono::nanoseconds(kCloseDeadlineNs),
                              [&] { return done->done; })) {
    LogWarning("leaving the consumer group took too long; its session will time out");
  }
}

void FetchWaker::Wake(rd_kafka_t* handle, rd_kafka_queue_t* queue, int64_t now_ns,
                      size_t partitions, absl::FunctionRef<std::optional<Place>(size_t)> place) {
  if (rd_kafka_queue_length(queue) > kQueueLow || now_ns - woken_ns_ < kWakeFetcherNs) return;
  for (size_t i = 0; i < partitions; ++i) {
    last_ = (last_ + 1) % partitions;
    const std::optional<Place> next = place(last_);
    if (!next.has_value()) continue;
    int64_t low = 0;
    int64_t high = 0;
    // What the last fetch said: is there more?
    if (rd_kafka_get_watermark_offsets(handle, next->topic, next->partition, &low, &high) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        next->next_offset >= high)
      continue;
    // The answer is of no interest, nor whether it comes in time.
    rd_kafka_query_watermark_offsets(handle, next->topic, next->partition, &low, &high,
                                     kWakeTimeoutMs);
    woken_ns_ = now_ns;
    return;
  }
}

}  // namespace bongsu
