// The validator itself: a finding that is right passes, and each kind of mistake is seen.
#include "tests/conformance/ocsf_validator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace bongsu::testing {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kGood[] = R"({
  "class_uid": 2004, "class_name": "Detection Finding",
  "category_uid": 2, "category_name": "Findings",
  "activity_id": 1, "activity_name": "Create", "type_uid": 200401,
  "severity_id": 4, "severity": "High", "status_id": 1, "status": "New",
  "is_alert": true, "time": 1767225600000,
  "metadata": {"version": "1.9.0-dev", "product": {"name": "p", "vendor_name": "v"}},
  "finding_info": {"uid": "u", "analytic": {"uid": "a", "type_id": 1, "type": "Rule"},
                   "attacks": [{"technique": {"uid": "T1059"}}]},
  "evidences": [{"src_endpoint": {"ip": "192.0.2.1", "port": 443},
                 "data": {"anything": [1, "a", null]}}],
  "observables": [{"type_id": 2, "type": "IP Address", "value": "192.0.2.1"}],
  "unmapped": {"free": {"form": 1}}
})";

class OcsfValidatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (SharedOcsfSchemaPath().empty())
      GTEST_SKIP() << "BONGSU_SHARED is not set: no OCSF schema to check against";
    auto schema = OcsfSchema::Load(SharedOcsfSchemaPath());
    ASSERT_TRUE(schema.ok()) << schema.status();
    schema_ = std::make_unique<OcsfSchema>(*std::move(schema));
  }
  std::unique_ptr<OcsfSchema> schema_;
};

TEST_F(OcsfValidatorTest, AcceptsARightFinding) {
  EXPECT_THAT(schema_->Validate(kGood), IsEmpty());
}

TEST_F(OcsfValidatorTest, SeesEachKindOfMistake) {
  struct Case {
    const char* pointer;  // what is set to `value`; null value: what is removed
    const char* value;
    const char* problem;
  };
  const Case cases[] = {
      {"/finding_info/uid", "", "required attribute 'uid' is missing"},
      {"/severity_id", "", "required attribute 'severity_id' is missing"},
      {"/metadata/product", "", "required attribute 'product' is missing"},
      {"/incident", "1", "incident: is not an attribute"},
      {"/evidences/0/sorce", "{}", "evidences[0].sorce: is not an attribute"},
      {"/time", "\"now\"", "time: is not a timestamp_t"},
      {"/is_alert", "1", "is_alert: is not a boolean_t"},
      {"/severity_id", "17", "severity_id: 17 is not one of the schema's values"},
      {"/severity", "\"Low\"", "severity_id: is 4 (\"High\"), but 'severity' says \"Low\""},
      {"/evidences", "{}", "evidences: is not an array"},
      {"/evidences/0/src_endpoint/ip", "\"not an address\"", "src_endpoint.ip: is not a ip_t"},
      {"/evidences/0/src_endpoint/port", "70000", "src_endpoint.port: is out of range"},
      {"/evidences/0", "{\"name\": \"empty\"}", "evidences[0]: has none of"},
      {"/evidences/0/process", "{\"name\": \"no pid\"}", "evidences[0].process: has none of"},
      {"/finding_info/attacks/0", "{}", "attacks[0]: has none of"},
      {"/type_uid", "200402", "type_uid: is 200402, not 200401"},
      {"/metadata/version", "\"1.1.0\"", "metadata.version: is not the schema's"},
      {"/assignee", "{\"name\": \"x\"}", "assignee: belongs to a profile"},
  };
  for (const Case& c : cases) {
    Json event = Json::parse(kGood);
    const Json::json_pointer at(c.pointer);
    if (*c.value == '\0') {
      event[at.parent_pointer()].erase(at.back());
    } else {
      event[at] = Json::parse(c.value);
    }
    EXPECT_THAT(schema_->Validate(event.dump()), ElementsAre(HasSubstr(c.problem)))
        << c.pointer << " " << c.value;
  }
}

TEST_F(OcsfValidatorTest, RefusesWhatIsNoFinding) {
  EXPECT_THAT(schema_->Validate("{\"class_uid\":4001}"),
              ElementsAre(HasSubstr("not a Detection Finding")));
  EXPECT_THAT(schema_->Validate("{"), ElementsAre(HasSubstr("not a JSON object")));
}

}  // namespace
}  // namespace bongsu::testing
