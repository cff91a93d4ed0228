#include "bench/loadgen/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/loadgen/random.h"

namespace bongsu::loadgen {
namespace {

using Json = nlohmann::json;
using ::testing::IsEmpty;

struct MemoryOutput final : public Output {
  void Write(Log log, std::string_view /*key*/, std::string_view line) override {
    lines[static_cast<size_t>(log)].emplace_back(line);
  }
  const std::vector<std::string>& firewall() const { return lines[0]; }
  const std::vector<std::string>& endpoint() const { return lines[1]; }
  std::vector<std::string> lines[2];
};

GeneratorOptions SmallOptions() {
  GeneratorOptions options;
  options.events = 30'000;
  options.rate = 50;
  options.hosts = 60;
  options.selected_share = 0.2;
  options.stories = 30;
  options.duplicate_share = 0.05;
  options.out_of_order_share = 0.1;
  return options;
}

uint64_t Hash(const MemoryOutput& output) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const auto& lines : output.lines) {
    for (const std::string& line : lines) {
      for (const char c : line + "\n") hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
    }
  }
  return hash;
}

TEST(GeneratorTest, TheSameSeedGivesTheSameBytes) {
  GeneratorOptions options = SmallOptions();
  options.events = 3000;
  MemoryOutput first;
  MemoryOutput second;
  MemoryOutput other;
  const Summary a = Generate(options, first);
  const Summary b = Generate(options, second);
  EXPECT_EQ(Hash(first), Hash(second));
  EXPECT_EQ(a.truth, b.truth);
  options.seed = 2;
  Generate(options, other);
  EXPECT_NE(Hash(first), Hash(other));
}

TEST(GeneratorTest, RandomNumbersAreTheSameOnEveryMachine) {
  Random random(1);
  // xoshiro256** seeded by splitmix64(1).
  EXPECT_EQ(random.Next(), 12966619160104079557u);
  EXPECT_EQ(random.Next(), 9600361134598540522u);
  const ZipfMandelbrot zipf(4, 1.0, 0.0);
  std::vector<int> seen(4);
  for (int i = 0; i < 100'000; ++i) ++seen[zipf.Draw(random)];
  // Weights 1, 1/2, 1/3, 1/4 of 25/12.
  EXPECT_NEAR(seen[0], 48'000, 1000);
  EXPECT_NEAR(seen[1], 24'000, 1000);
  EXPECT_NEAR(seen[2], 16'000, 1000);
  EXPECT_NEAR(seen[3], 12'000, 1000);
}

TEST(GeneratorTest, CountsSizesAndSharesAreAsAsked) {
  const GeneratorOptions options = SmallOptions();
  MemoryOutput output;
  const Summary summary = Generate(options, output);
  EXPECT_EQ(output.firewall().size() + output.endpoint().size(), options.events);
  EXPECT_EQ(summary.firewall, output.firewall().size());
  EXPECT_NEAR(static_cast<double>(summary.firewall), 15'000, 600);
  EXPECT_NEAR(static_cast<double>(summary.out_of_order), 3000, 300);
  EXPECT_NEAR(static_cast<double>(summary.duplicates), 1430, 200);
  EXPECT_NEAR(static_cast<double>(summary.selected), 5700, 400);
  const auto mean = [](const std::vector<std::string>& lines) {
    size_t bytes = 0;
    for (const std::string& line : lines) bytes += line.size();
    return bytes / lines.size();
  };
  EXPECT_NEAR(static_cast<double>(mean(output.firewall())), 750, 150);
  EXPECT_NEAR(static_cast<double>(mean(output.endpoint())), 2000, 300);
}

// Event time in nanoseconds: "2026-01-05T08:00:00.123456+0000", "2026-01-05 08:00:00.123", "...Z".
int64_t TimeNs(const std::string& text) {
  std::tm utc{};
  const char* rest = strptime(text.substr(0, 10).c_str(), "%Y-%m-%d", &utc);
  EXPECT_NE(rest, nullptr);
  rest = strptime(text.substr(11, 8).c_str(), "%H:%M:%S", &utc);
  EXPECT_NE(rest, nullptr) << text;
  std::string fraction;
  for (size_t i = 20; i < text.size() && isdigit(static_cast<unsigned char>(text[i])) != 0; ++i)
    fraction += text[i];
  fraction.resize(9, '0');
  return static_cast<int64_t>(timegm(&utc)) * 1'000'000'000 + std::stoll(fraction);
}

bool EndsWith(const Json& value, std::string_view end) {
  return value.is_string() && value.get_ref<const std::string&>().ends_with(end);
}
bool Contains(const Json& value, std::string_view part) {
  return value.is_string() && value.get_ref<const std::string&>().find(part) != std::string::npos;
}

// The three rules in plain C++, written apart from the generator.
int LeftRule(const Json& record) {
  if (record.at("event_type") != "alert") return -1;
  const Json& signature = record.at("alert").at("signature");
  if (Contains(signature, "EXPLOIT")) return 0;
  if (Contains(signature, "LATERAL")) return 1;
  if (Contains(signature, "MALWARE")) return 2;
  return -1;
}

int RightRule(const Json& record) {
  if (record.at("EventID") != 1) return -1;
  const Json& image = record.at("Image");
  const Json& parent = record.at("ParentImage");
  const bool shell = EndsWith(image, "\\cmd.exe") || EndsWith(image, "\\powershell.exe");
  if (shell && (EndsWith(parent, "\\w3wp.exe") || EndsWith(parent, "\\httpd.exe"))) return 0;
  if (shell && (EndsWith(parent, "\\services.exe") || EndsWith(parent, "\\WmiPrvSE.exe"))) return 1;
  if (Contains(image, "\\AppData\\Local\\Temp\\")) return 2;
  return -1;
}

constexpr const char* kNames[] = {"inbound-exploit-then-shell", "lateral-movement-then-execution",
                                  "c2-callback"};
constexpr int64_t kBeforeNs[] = {5'000'000'000, 5'000'000'000, 60'000'000'000};
constexpr int64_t kAfterNs[] = {60'000'000'000, 30'000'000'000, 5'000'000'000};

struct Side {
  std::string key;
  int64_t time;
  std::string id;
};

std::string Name(const std::string& rule, const std::string& key, const std::string& left,
                 std::vector<std::string> right) {
  std::sort(right.begin(), right.end());
  std::string name = rule + " " + key + " " + left + ":";
  for (const std::string& id : right) name += " " + id;
  return name;
}

// Every incident that the logs hold, by a nested loop.
std::multiset<std::string> BruteForce(const MemoryOutput& output) {
  std::map<int, std::vector<Side>> lefts;
  std::map<int, std::vector<Side>> rights;
  for (const std::string& line : output.firewall()) {
    const Json record = Json::parse(line);
    const int rule = LeftRule(record);
    if (rule < 0) continue;
    lefts[rule].push_back({record.at(rule == 2 ? "src_ip" : "dest_ip"),
                           TimeNs(record.at("timestamp")), record.at("flow_id").dump()});
  }
  for (const std::string& line : output.endpoint()) {
    const Json record = Json::parse(line);
    const int rule = RightRule(record);
    if (rule < 0) continue;
    rights[rule].push_back(
        {record.at("host_ip"), TimeNs(record.at("UtcTime")), record.at("RecordNumber").dump()});
  }
  std::multiset<std::string> incidents;
  for (int rule = 0; rule < 3; ++rule) {
    for (const Side& left : lefts[rule]) {
      std::vector<std::string> right;
      for (const Side& r : rights[rule]) {
        if (r.key != left.key || r.time < left.time - kBeforeNs[rule] ||
            r.time > left.time + kAfterNs[rule])
          continue;
        right.push_back(r.id);
      }
      if (!right.empty()) incidents.insert(Name(kNames[rule], left.key, left.id, right));
    }
  }
  return incidents;
}

std::multiset<std::string> FromTruth(const std::vector<std::string>& truth) {
  std::multiset<std::string> incidents;
  for (const std::string& line : truth) {
    const Json json = Json::parse(line);
    if (json.at("kind") != "incident") continue;
    std::vector<std::string> right;
    for (const Json& r : json.at("right")) {
      for (int i = 0; i < r.at("copies").get<int>(); ++i)
        right.push_back(r.at("RecordNumber").dump());
    }
    for (int i = 0; i < json.at("left").at("copies").get<int>(); ++i) {
      incidents.insert(
          Name(json.at("rule"), json.at("key"), json.at("left").at("flow_id").dump(), right));
    }
  }
  return incidents;
}

TEST(GeneratorTest, TheTruthIsWhatIsInTheLogsAndNothingElse) {
  struct Case {
    uint64_t seed;
    double rate;  // records per second: the same records in a shorter time
    int stories;
    uint32_t hosts;
    int64_t clock_skew_ns;
  };
  const Case cases[] = {{1, 50, 30, 60, 200'000'000},
                        {2, 500, 60, 2, 2'000'000'000},
                        {3, 30'000, 90, 8, 0},
                        {4, 5, 200, 500, 1'000'000'000},
                        {5, 50, 0, 60, 0}};
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << "seed " << c.seed);
    GeneratorOptions options = SmallOptions();
    options.events = 10'000;
    options.seed = c.seed;
    options.rate = c.rate;
    options.stories = c.stories;
    options.hosts = c.hosts;
    options.clock_skew_ns = c.clock_skew_ns;
    ASSERT_THAT(CheckOptions(options), IsEmpty());
    MemoryOutput output;
    const Summary summary = Generate(options, output);
    const auto truth = FromTruth(summary.truth);
    EXPECT_EQ(BruteForce(output), truth);
    EXPECT_GE(static_cast<int>(truth.size()), c.stories);
    EXPECT_EQ(output.firewall().size() + output.endpoint().size(), options.events);
  }
}

TEST(GeneratorTest, RecordsAreOutOfOrderOnlyWithinTheBound) {
  GeneratorOptions options = SmallOptions();
  options.stories = 0;
  MemoryOutput output;
  Generate(options, output);
  int64_t newest = 0;
  int64_t most = 0;
  int behind = 0;
  for (const std::string& line : output.endpoint()) {
    const int64_t time = TimeNs(Json::parse(line).at("UtcTime"));
    if (time < newest) ++behind;
    most = std::max(most, newest - time);
    newest = std::max(newest, time);
  }
  EXPECT_GT(behind, 1000);
  EXPECT_GT(most, options.out_of_order_ns / 2);
  EXPECT_LE(most, options.out_of_order_ns + 2 * options.clock_skew_ns + 1'000'000);
}

TEST(GeneratorTest, NamesAndAddressesAreReservedOnes) {
  MemoryOutput output;
  Generate(SmallOptions(), output);
  for (const std::string& line : output.firewall()) {
    const Json record = Json::parse(line);
    for (const char* name : {"src_ip", "dest_ip"}) {
      const std::string ip = record.at(name);
      EXPECT_TRUE(ip.starts_with("10.") || ip.starts_with("192.0.2.") ||
                  ip.starts_with("198.51.100.") || ip.starts_with("203.0.113."))
          << ip;
    }
  }
  for (const std::string& line : output.endpoint()) {
    EXPECT_TRUE(EndsWith(Json::parse(line).at("Hostname"), ".corp.example"));
  }
}

TEST(GeneratorTest, OpenJoinHasNoTruthAndSelectsWhatWasAsked) {
  GeneratorOptions options = SmallOptions();
  options.open_join = true;
  options.selected_share = 1;
  options.events = 2000;
  MemoryOutput output;
  const Summary summary = Generate(options, output);
  EXPECT_THAT(summary.truth, IsEmpty());
  for (const std::string& line : output.firewall()) EXPECT_EQ(LeftRule(Json::parse(line)), 0);
  for (const std::string& line : output.endpoint()) EXPECT_EQ(RightRule(Json::parse(line)), 0);
  EXPECT_FALSE(BruteForce(output).empty());
}

TEST(GeneratorTest, WrongOptionsAreRefused) {
  const auto wrong = [](auto change) {
    GeneratorOptions options;
    change(options);
    return !CheckOptions(options).empty();
  };
  EXPECT_TRUE(wrong([](auto& o) { o.events = 0; }));
  EXPECT_TRUE(wrong([](auto& o) { o.rate = 0; }));
  EXPECT_TRUE(wrong([](auto& o) { o.hosts = 1; }));
  EXPECT_TRUE(wrong([](auto& o) { o.selected_share = 1.5; }));
  EXPECT_TRUE(wrong([](auto& o) { o.clock_skew_ns = 3'000'000'000; }));
  EXPECT_TRUE(wrong([](auto& o) { o.stories = 100'000; }));
  EXPECT_FALSE(wrong([](auto&) {}));
}

}  // namespace
}  // namespace bongsu::loadgen
