// File: pipeline/kafka/kafka_group_source.h
//
// All Kafka sources of a configuration and the exchange topic as one SharedSource (exchange:
// kafka): one consumer, one group of all instances, `range` assignment. `range` gives every member
// the same contiguous part of each topic; changelog partition s belongs to whoever has exchange
// partition s.
//
// One group and not two: a commit is fenced by one generation for the offsets of both halves, and
// there is one rebalance to wait for.
//
// Rebalances are eager (cooperative ones lose offsets in librdkafka below 2.10): the group takes
// everything back and gives it out anew. The callback only notes that; the reader's loop then
// commits the running epoch, calls Release, and keeps in memory what it had, because most of it
// comes back. Nothing is polled between the callback and Release.
//
// Bounds and errors: as kafka_source.h. Thread-safety: one thread, except what io.h says of
// CommittedPlaces and Locate.
#pragma once

#include <memory>

#include "pipeline/config.h"
#include "pipeline/io.h"

namespace bongsu {

// `config` and `clock` outlive the source.
std::unique_ptr<SharedSource> MakeKafkaGroupSource(const Config& config, const Clock& clock);

}  // namespace bongsu
