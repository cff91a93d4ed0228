#include "bench/loadgen/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace bongsu::loadgen {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kTruth[] =
    R"({"kind":"summary","rules":["c2-callback"]})"
    "\n"
    R"({"kind":"incident","rule":"c2-callback","key":"10.0.0.1","left":{"flow_id":7,"copies":1},)"
    R"("right":[{"RecordNumber":1,"copies":1},{"RecordNumber":2,"copies":2}]})"
    "\n";

std::string Native(const char* id, const char* rule, int flow, const std::string& records,
                   int count) {
  std::string right;
  std::istringstream in(records);
  for (std::string n; in >> n;)
    right += R"(,{"input":"right","fields":{"RecordNumber":)" + n + "}}";
  return R"({"id":")" + std::string(id) + R"(","rule":")" + rule +
         R"(","key":"10.0.0.1","count":)" + std::to_string(count) +
         R"(,"evidence":[{"input":"left","fields":{"flow_id":)" + std::to_string(flow) + "}}" +
         right + "]}\n";
}

VerifyResult Verify(const std::string& alerts, const std::string& truth_text = kTruth) {
  std::istringstream truth(truth_text);
  std::istringstream in(alerts);
  return VerifyAlerts(truth, in);
}

TEST(VerifyTest, TheLastRecordOfAnIncidentCounts) {
  const VerifyResult result =
      Verify(Native("a", "c2-callback", 7, "1", 2) + Native("a", "c2-callback", 7, "2 1 2", 4));
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.expected, 1u);
  EXPECT_EQ(result.found, 1u);
}

TEST(VerifyTest, ReadsOcsf) {
  const std::string alert =
      R"({"class_uid":2004,"count":4,"finding_info":{"uid":"a","analytic":{"name":"c2-callback"}},)"
      R"("unmapped":{"key":"10.0.0.1"},"evidences":[{"name":"left",)"
      R"("data":{"fields":{"flow_id":7}}},)"
      R"({"name":"right","data":{"fields":{"RecordNumber":"1"}}},{"name":"right",)"
      R"("data":{"fields":{"RecordNumber":2}}},)"
      R"({"name":"right","data":{"fields":{"RecordNumber":2}}}]})";
  EXPECT_THAT(Verify(alert + "\n").problems, IsEmpty());
}

TEST(VerifyTest, NamesWhatIsMissingAndWhatIsTooMuch) {
  EXPECT_THAT(Verify("").problems,
              ElementsAre(HasSubstr("missing: c2-callback on 10.0.0.1 (flow_id 7)")));
  const std::string good = Native("a", "c2-callback", 7, "1 2 2", 4);
  EXPECT_THAT(Verify(good + Native("b", "c2-callback", 8, "1", 2)).problems,
              ElementsAre(HasSubstr("not in the truth: c2-callback on 10.0.0.1 (flow_id 8)")));
  EXPECT_THAT(Verify(good + Native("b", "c2-callback", 7, "1 2 2", 4)).problems,
              ElementsAre(HasSubstr("not in the truth")));
  EXPECT_THAT(Verify(good + Native("b", "another-rule", 9, "5", 2)).problems, IsEmpty());
}

TEST(VerifyTest, ComparesTheEvidence) {
  EXPECT_THAT(Verify(Native("a", "c2-callback", 7, "1 2", 4)).problems,
              ElementsAre(HasSubstr("RecordNumbers are [1, 2], must be [1, 2, 2]")));
  EXPECT_THAT(Verify(Native("a", "c2-callback", 7, "1 2 2", 3)).problems,
              ElementsAre(HasSubstr("count is 3, must be 4")));
}

TEST(VerifyTest, BrokenFilesAreProblems) {
  EXPECT_THAT(Verify(Native("a", "c2-callback", 7, "1 2 2", 4) + "{torn\n").problems,
              ElementsAre(HasSubstr("line 2 of the alerts is no alert")));
  EXPECT_THAT(Verify("", "").problems, ElementsAre(HasSubstr("no summary")));
  EXPECT_THAT(Verify("", "{torn\n").problems, ElementsAre(HasSubstr("not JSON")));
}

}  // namespace
}  // namespace bongsu::loadgen
