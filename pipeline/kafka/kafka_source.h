// File: pipeline/kafka/kafka_source.h
//
// All Kafka sources of a configuration as one RecordSource: one consumer, polled on one thread with
// rd_kafka_consumer_poll (batch consumption loses messages around rebalances in librdkafka 2.0.2).
//
// Ownership. One instance reads everything. An instance that finds another member in its group
// waits, says so, and takes nothing; should two join at the same moment, the one without the first
// partition of the first topic leaves again. Records are handed out only while all partitions are
// owned. `instance` is the static member id: a second process under the same name fences the first,
// which stops with exit status 3.
//
// Offsets. The store's positions are authoritative: reading starts there, and the group's committed
// offsets only follow them. A position outside the partition's log, or a group with offsets but a
// store without, is FailedPrecondition with what to do. The first record after an assignment must
// not lie before the offset that was asked for, and offsets never go back: anything else stops the
// process.
//
// Bounds: librdkafka prefetches at most queued.max.messages.kbytes for a partition (default here 16
// MiB). Thread-safety: one thread.
#pragma once

#include <memory>

#include "pipeline/config.h"
#include "pipeline/io.h"

namespace bongsu {

// `config` and `clock` outlive the source.
std::unique_ptr<RecordSource> MakeKafkaSource(const Config& config, const Clock& clock);

}  // namespace bongsu
