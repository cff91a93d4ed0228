// File: pipeline/kafka/kafka_sink.h
//
// Sinks that write to Kafka topics through one idempotent producer of the process (acks=all, lz4).
// Flush waits until the brokers have acknowledged everything; a record that they refused is an
// error, never a loss.
//
// Bounds: librdkafka's queue.buffering.max.*; Write waits while it is full (counted in the log). A
// record above message.max.bytes is InvalidArgument before it is sent. Thread-safety: the sinks and
// their producer belong to one thread.
#pragma once

#include <memory>
#include <string>

#include "pipeline/io.h"
#include "pipeline/kafka/kafka_producer.h"

namespace bongsu {

std::unique_ptr<Sink> MakeKafkaSink(std::shared_ptr<KafkaProducer> producer,
                                    const std::string& topic);

}  // namespace bongsu
