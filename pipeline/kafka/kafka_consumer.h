// File: pipeline/kafka/kafka_consumer.h
//
// What the two readers of Kafka have in common (kafka_source.h owns everything,
// kafka_group_source.h shares with other instances): the consumer as we need it, its errors, its
// membership, and a way to leave.
//
//   ASSIGN_OR_RETURN(KafkaHandle handle, MakeConsumer(config, this, OnRebalance));
//
// Thread-safety: one thread, except FetchStableOffsets.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/batch.h"
#include "pipeline/io.h"
#include "pipeline/kafka/kafka_client.h"

namespace bongsu {

// A member of the application's group, static under `instance`, polled with rd_kafka_consumer_poll.
absl::StatusOr<KafkaHandle> MakeConsumer(const Config& config, void* opaque,
                                         void (*on_rebalance)(rd_kafka_t*, rd_kafka_resp_err_t,
                                                              rd_kafka_topic_partition_list_t*,
                                                              void*));

// Keeps the records of a batch.
struct KafkaMessages : BatchHolder {
  std::vector<rd_kafka_message_t*> messages;
  ~KafkaMessages() override;
};

// How many bytes behind the message may be read.
uint32_t SlackOf(const rd_kafka_message_t& message);

// What makes the handle useless; OK: nothing. The library tells it in one message only, to whoever
// polls then, and a consumer that was fenced goes on fetching what it was assigned.
absl::Status FatalError(rd_kafka_t* handle);

// The consequence of a message that is an error; OK: the library tries again by itself.
absl::Status ConsumerError(rd_kafka_t* handle, const rd_kafka_message_t& message);

// The membership at this moment. Aborted: we are no member, and brokers would not fence us.
absl::StatusOr<std::shared_ptr<const Membership>> MembershipOf(rd_kafka_t* handle);

// The committed offsets of the list's partitions as all brokers agree on them: waits for
// transactions that are still open over them, for a coordinator that moves, and for brokers that
// are away, and says so. `go_on` is asked between two tries, every 2 s; what it returns ends the
// wait.
absl::Status FetchStableOffsets(rd_kafka_t* handle, const Clock& clock,
                                const std::function<absl::Status()>& go_on,
                                rd_kafka_topic_partition_list_t* list);

// Whether the group gives one of these partitions to nobody; none: it is at work on that, or does
// not answer. A member of the same static identity comes back without a rebalance (KIP-345): where
// it was the leader, and a topic has got partitions while it was away, nobody would read them until
// the leader joins once more.
std::optional<bool> AnyUnassigned(rd_kafka_t* handle, const std::string& group,
                                  const rd_kafka_topic_partition_list_t* partitions);

// A partition that is to be paused or not, and how the library has it.
struct PauseWish {
  const char* topic = nullptr;
  int32_t partition = 0;
  bool wanted = false;
  bool* paused = nullptr;
};
// Pauses and resumes where the two differ.
absl::Status ApplyPauses(rd_kafka_t* handle, const std::vector<PauseWish>& wishes);

// Leaves the group. That can hang in librdkafka; everything is committed by now, so that a deadline
// harms nothing.
void CloseConsumer(KafkaHandle handle);

// librdkafka before 2.2 stops fetching while its queue is full, and looks again only when the
// broker's thread wakes: up to a second after the queue was drained (confluentinc/librdkafka#2879).
// Any request to the partition's leader wakes it. Asked for in turn, so that every broker is.
class FetchWaker {
 public:
  struct Place {
    const char* topic = nullptr;
    int32_t partition = 0;
    int64_t next_offset = 0;
  };
  // `place`: where reading of a partition stands; none: it has nothing to fetch.
  void Wake(rd_kafka_t* handle, rd_kafka_queue_t* queue, int64_t now_ns, size_t partitions,
            absl::FunctionRef<std::optional<Place>(size_t)> place);

 private:
  int64_t woken_ns_ = 0;
  size_t last_ = 0;
};

}  // namespace bongsu
