// The examples of deploy/ALERTS.md are JSON, and the OCSF one is valid.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/conformance/ocsf_validator.h"

namespace bongsu::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> Examples() {
  std::ifstream in(BONGSU_SOURCE_DIR "/deploy/ALERTS.md");
  std::vector<std::string> examples;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "```json") {
      inside = true;
      examples.emplace_back();
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      examples.back() += line;
    }
  }
  return examples;
}

TEST(AlertsPageTest, ExamplesAreJson) {
  const std::vector<std::string> examples = Examples();
  ASSERT_THAT(examples, SizeIs(5));
  for (const std::string& example : examples) {
    EXPECT_TRUE(nlohmann::json::accept(example)) << example;
  }
}

TEST(AlertsPageTest, TheOcsfExamplesAreValid) {
  if (SharedOcsfSchemaPath().empty()) {
    GTEST_SKIP() << "BONGSU_SHARED is not set: no OCSF schema to check against";
  }
  const auto schema = OcsfSchema::Load(SharedOcsfSchemaPath());
  ASSERT_TRUE(schema.ok()) << schema.status();
  for (size_t i : {0, 1}) EXPECT_THAT(schema->Validate(Examples().at(i)), IsEmpty());
}

}  // namespace
}  // namespace bongsu::testing
