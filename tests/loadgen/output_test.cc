#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "bench/loadgen/file_output.h"
#include "bench/loadgen/kafka_output.h"

namespace bongsu::loadgen {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

struct MemoryOutput final : public Output {
  void Write(Log log, std::string_view /*key*/, std::string_view line) override {
    text[static_cast<size_t>(log)].append(line).append("\n");
  }
  std::string text[2];
};

TEST(OutputTest, FilesHoldEveryLine) {
  GeneratorOptions options;
  options.events = 8000;  // more than a buffer of the endpoint log
  MemoryOutput memory;
  Generate(options, memory);
  const std::string folder = ::testing::TempDir() + "loadgen_output_test/deep";
  FileOutput files;
  ASSERT_THAT(files.Open(folder), IsEmpty());
  Generate(options, files);
  ASSERT_THAT(files.Close(), IsEmpty());
  EXPECT_EQ(ReadFile(folder + "/firewall.jsonl"), memory.text[0]);
  EXPECT_EQ(ReadFile(folder + "/endpoint.jsonl"), memory.text[1]);
  EXPECT_THAT(WriteLines(folder + "/truth.jsonl", {"a", "b"}), IsEmpty());
  EXPECT_EQ(ReadFile(folder + "/truth.jsonl"), "a\nb\n");
  std::filesystem::remove_all(folder);
}

TEST(OutputTest, WhatCannotBeWrittenIsSaid) {
  FileOutput files;
  EXPECT_THAT(files.Open("/dev/null/folder"), HasSubstr("cannot make /dev/null/folder"));
  EXPECT_THAT(WriteLines("/dev/null/truth", {"a"}), HasSubstr("cannot write /dev/null/truth"));
  EXPECT_THAT(WriteLines("/dev/full", {std::string(100'000, 'a')}),
              HasSubstr("cannot write /dev/full"));
}

TEST(OutputTest, WrongKafkaPropertiesAreSaid) {
  KafkaOutput output({.brokers = "localhost:1",
                      .firewall_topic = "f",
                      .endpoint_topic = "e",
                      .properties = {{"no.such.property", "1"}}});
  EXPECT_THAT(output.error(), HasSubstr("no.such.property"));
  output.Write(Log::kFirewall, "", "{}");  // does nothing
  EXPECT_THAT(output.Close(), HasSubstr("no.such.property"));
}

TEST(OutputTest, RecordsThatNobodyTakesAreAnError) {
  KafkaOutput output({.brokers = "localhost:1",
                      .firewall_topic = "f",
                      .endpoint_topic = "e",
                      .properties = {{"message.timeout.ms", "500"}, {"log_level", "0"}}});
  ASSERT_THAT(output.error(), IsEmpty());
  output.Write(Log::kEndpoint, "host", "{}");
  EXPECT_THAT(output.Close(), HasSubstr("not delivered"));
}

}  // namespace
}  // namespace bongsu::loadgen
