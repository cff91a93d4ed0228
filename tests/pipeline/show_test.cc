// `bongsu show`: what a person sees of a file of alerts.
#include "pipeline/show.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>

namespace bongsu {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Shown(const std::string& lines) {
  const std::string path = ::testing::TempDir() + "show_test.jsonl";
  std::ofstream(path) << lines;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::tmpfile(), std::fclose);
  const absl::Status status = ShowAlerts(path, {}, out.get());
  EXPECT_TRUE(status.ok()) << status;
  std::rewind(out.get());
  std::string text;
  std::array<char, 4096> buffer;
  for (size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), out.get())) > 0;)
    text.append(buffer.data(), n);
  std::remove(path.c_str());
  return text;
}

constexpr char kCorrelated[] =
    R"({"severity":"High","count":40,"finding_info":{"uid":"aa","title":"Guessed password",)"
    R"("desc":"2 of 2 rules within 5m","first_seen_time":1767225600123,)"
    R"("last_seen_time":1767225601123},"evidences":[{"name":"Failed logon","data":{"input":"r",)"
    R"("source":"win","file":"a.jsonl","offset":7,"time":"2026-01-01T00:00:00.123456789Z",)"
    R"("fields":{"User":"joe\u001b[31m"}}}],"unmapped":{"group":{"User":"joe","host":"h\u202e"},)"
    R"("value":40,"threshold":"gte 10","value_error":0.02,"evidence_listed":1,)"
    R"("evidence_dropped":39}})"
    "\n";
constexpr char kClosed[] =
    R"({"severity":"High","finding_info":{"uid":"bb","title":"Guessed password"},)"
    R"("unmapped":{"merged_into":"aa"}})"
    "\n";

TEST(ShowTest, ACorrelationShowsItsGroupAndWhatWasCounted) {
  const std::string text = Shown(kCorrelated);
  EXPECT_THAT(text, HasSubstr("1. [High] Guessed password"));
  EXPECT_THAT(text, HasSubstr("group: User = joe, host = h\\u202e"));
  EXPECT_THAT(text, HasSubstr("value: 40 (within 2.0 %), condition gte 10"));
  EXPECT_THAT(text, HasSubstr("events: 40, 1 of them listed"));
  EXPECT_THAT(text, HasSubstr("Failed logon 2026-01-01T00:00:00.123456789Z  win a.jsonl@7"));
  EXPECT_THAT(text, HasSubstr("User = joe\\u001b[31m"));
}

TEST(ShowTest, AClosedIncidentSaysWhereItWent) {
  const std::string text = Shown(std::string(kCorrelated) + kClosed);
  EXPECT_THAT(text, HasSubstr("closed: a late event joined it to aa"));
  EXPECT_THAT(text, Not(HasSubstr("1970")));
}

}  // namespace
}  // namespace bongsu
