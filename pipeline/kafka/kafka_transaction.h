// File: pipeline/kafka/kafka_transaction.h
//
// The producer behind an EpochLog (pipeline/transaction_log.h) on Kafka: one transactional producer
// of the process, `<application>-<instance>` its transactional id. An epoch's outputs, changelog
// and source offsets are one transaction, fenced by the producer epoch and (KIP-447) by the
// consumer's generation, and read with isolation.level=read_committed they appear together or not
// at all.
//
// Every answer of librdkafka goes through Classify and pipeline/commit_machine.h's table. The
// interceptor on_request_sent counts EndTxn and TxnOffsetCommit: where one was written to a socket
// twice, a late copy may still be on its way, and the producer is made anew before the next epoch
// (librdkafka up to 2.15 resends them by itself with the same producer epoch; KIP-890 part 2 is not
// in it).
//
// Thread-safety: as TransactionClient.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "pipeline/commit_machine.h"
#include "pipeline/config.h"
#include "pipeline/kafka/kafka_client.h"
#include "pipeline/transaction_log.h"

namespace bongsu {

// The reader's membership when it was asked.
struct KafkaMembership : Membership {
  struct Destroy {
    void operator()(rd_kafka_consumer_group_metadata_t* metadata) const {
      rd_kafka_consumer_group_metadata_destroy(metadata);
    }
  };
  std::unique_ptr<rd_kafka_consumer_group_metadata_t, Destroy> metadata;
};

// What an error of the transactional API is.
struct TransactionError {
  rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
  bool fatal = false;
  bool retriable = false;
  bool abortable = false;
};
Seen Classify(const TransactionError& error);

// What is committed beside each offset of the group, and read back: the epoch. 0: other metadata.
std::string MetadataOfEpoch(EpochId epoch);
EpochId EpochOfMetadata(std::string_view metadata);

// `config` and `partitions` outlive the client.
std::unique_ptr<TransactionClient> MakeKafkaTransaction(const Config& config,
                                                        const PartitionTable& partitions);

}  // namespace bongsu
