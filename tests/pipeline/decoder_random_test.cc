// The decoder against a DOM parser, over random documents and damaged ones.
#include <cstdlib>
#include <cstring>
#include <random>
#include <sstream>

#include "pipeline/decoder_text.h"
#include "tests/pipeline/decoder_harness.h"

namespace bongsu {
namespace {

class Documents {
 public:
  explicit Documents(uint64_t seed) : random_(seed) {}
  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  std::string Key() {
    static const char* const kKeys[] = {"a",
                                        "b",
                                        "c",
                                        "a.b",
                                        "b.c",
                                        "a.b.c",
                                        "Image",
                                        "ParentImage",
                                        "SourcePortName",
                                        "DestinationHostname",
                                        "k\"q",
                                        "k\\",
                                        "\xC3\xA4",
                                        "",
                                        " ",
                                        "x.y.z"};
    return kKeys[Below(std::size(kKeys))];
  }
  std::string Text() {
    static const char* const kParts[] = {
        "\\", "\"", "/", "\n", "\x01", "a", "Windows", "\xE2\x82\xAC",    "\xF0\x9F\x98\x80",
        " ",  "{",  "}", "[",  "]",    ":", ",",       "0123456789abcdef"};
    std::string text;
    for (size_t n = Below(8); n > 0; --n) text += kParts[Below(std::size(kParts))];
    return text;
  }
  Json Object(int depth) {
    Json object = Json::object();
    for (size_t n = Below(6); n > 0; --n) object[Key()] = Any(depth);
    return object;
  }
  Json Any(int depth) {
    switch (Below(depth > 0 ? 9 : 6)) {
      case 0:
        return nullptr;
      case 1:
        return Below(2) == 0;
      case 2:
        return static_cast<int64_t>(random_());
      case 3:
        return static_cast<uint64_t>(random_());
      case 4:
      case 5:
        return Text();
      case 6:
      case 7:
        return Object(depth - 1);
      default: {
        Json array = Json::array();
        for (size_t n = Below(4); n > 0; --n) array.push_back(Any(depth - 1));
        return array;
      }
    }
  }
  // The document's text, with or without white space and unnecessary escapes.
  std::string Write(const Json& json) {
    const bool ascii = Below(2) == 0;
    switch (Below(3)) {
      case 0:
        return json.dump(-1, ' ', ascii);
      case 1:
        return json.dump(1, '\t', ascii) + "\n";
      default:
        return " " + json.dump(3, ' ', ascii) + " \r\n";
    }
  }

 private:
  std::mt19937_64 random_;
};

std::string ShowJson(const Json& json) {
  if (json.is_null()) return "null";
  if (json.is_string()) return "s:" + json.get<std::string>();
  if (json.is_boolean()) return "b:" + json.dump();
  if (json.is_number()) return "n:" + json.dump();
  if (json.is_object()) return "o:" + json.dump();
  std::string text = "[";
  for (const Json& item : json) text += (text.size() == 1 ? "" : ", ") + ShowJson(item);
  return text + "]";
}

// Object texts keep the record's white space and escapes: both sides are compared parsed and
// written anew.
std::string Normal(const Value& value) {
  if (value.type() == ValueType::kObject) return "o:" + Json::parse(value.text()).dump();
  if (value.type() != ValueType::kArray) return Show(value);
  std::string text = "[";
  for (const Value& item : value.items()) text += (text.size() == 1 ? "" : ", ") + Normal(item);
  return text + "]";
}

// One form of a path, looked up the slow way. `inside`: an array was on the way, so that values are
// collected.
void LookUp(const Json& json, const std::vector<std::string>& keys, size_t at, bool inside,
            std::vector<Json>* found) {
  if (at == keys.size()) {
    if (inside && json.is_array()) {
      found->insert(found->end(), json.begin(), json.end());
    } else {
      found->push_back(json);
    }
    return;
  }
  if (json.is_object() && json.contains(keys[at])) {
    const Json& child = json[keys[at]];
    const bool last = at + 1 == keys.size();
    if (child.is_array() && !last) {
      std::vector<const Json*> stack{&child};
      // Arrays in arrays, in document order.
      const auto each = [&](const auto& self, const Json& array) -> void {
        for (const Json& item : array) {
          if (item.is_array()) self(self, item);
          if (item.is_object()) LookUp(item, keys, at + 1, true, found);
        }
      };
      each(each, child);
    } else {
      LookUp(child, keys, at + 1, inside, found);
    }
  }
}

bool PassesArray(const Json& json, const std::vector<std::string>& keys) {
  const Json* at = &json;
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    if (!at->is_object() || !at->contains(keys[i])) return false;
    at = &(*at)[keys[i]];
    if (at->is_array()) return true;
  }
  return false;
}

// All ways to cut "a.b.c" into keys; fewer keys first, then the longer first key.
std::vector<std::vector<std::string>> Cuts(const std::string& path) {
  std::vector<std::vector<std::string>> cuts{{path}};
  for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
    for (std::vector<std::string> rest : Cuts(path.substr(dot + 1))) {
      rest.insert(rest.begin(), path.substr(0, dot));
      cuts.push_back(std::move(rest));
    }
  }
  std::stable_sort(cuts.begin(), cuts.end(), [](const auto& a, const auto& b) {
    return a.size() != b.size() ? a.size() < b.size() : a[0].size() > b[0].size();
  });
  return cuts;
}

std::string Oracle(const Json& document, const std::string& path) {
  std::string null_answer = "-";
  for (const std::vector<std::string>& keys : Cuts(path)) {
    std::vector<Json> found;
    LookUp(document, keys, 0, false, &found);
    if (found.empty()) continue;
    if (PassesArray(document, keys)) return ShowJson(Json(found));
    if (!found[0].is_null()) return ShowJson(found[0]);
    null_answer = "null";
  }
  return null_answer;
}

uint64_t Seed() {
  const char* given = std::getenv("BONGSU_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

TEST(DecoderRandom, AgreesWithADomParser) {
  const uint64_t seed = Seed();
  SCOPED_TRACE("BONGSU_SEED=" + std::to_string(seed));
  Documents documents(seed);
  int found = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<std::string> names;
    for (size_t n = 1 + documents.Below(8); n > 0; --n) {
      std::string name = documents.Key();
      for (size_t more = documents.Below(3); more > 0; --more) name += "." + documents.Key();
      if (std::count(name.begin(), name.end(), '.') >= 6) continue;  // kMixedSegmentsMax
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    if (names.empty()) continue;
    Harness harness(names, {.validate = round % 2 == 0 ? Validate::kRead : Validate::kFull});
    for (int i = 0; i < 20; ++i) {
      const Json document = documents.Object(4);
      const std::string text = documents.Write(document);
      ASSERT_EQ(harness.Decode(text, i % 3 != 0), DecodeResult::kNoTime) << text;
      for (size_t slot = 0; slot < names.size(); ++slot) {
        const std::string got = Normal(harness.event().field(static_cast<int>(slot)));
        ASSERT_EQ(got, Oracle(document, names[slot])) << names[slot] << " of " << text;
        found += got != "-";
      }
    }
  }
  EXPECT_GT(found, 1000);
}

// Whatever bytes come: no crash, and with full validation exactly what the DOM parser takes.
TEST(DecoderRandom, AgreesWithADomParserOnDamagedRecords) {
  const uint64_t seed = Seed();
  SCOPED_TRACE("BONGSU_SEED=" + std::to_string(seed));
  Documents documents(seed);
  Harness read({"a", "b.c", "Image", "x.y.z"});
  Harness full({"a", "b.c", "Image", "x.y.z"}, Full());
  int valid = 0;
  int invalid = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = documents.Write(documents.Object(3));
    for (size_t n = 1 + documents.Below(3); n > 0; --n) {
      const size_t at = documents.Below(text.size());
      // No 'e': what is too large for a double the DOM parser refuses, which is its own rule.
      static constexpr std::string_view kBytes("{}[]:,\"\\ 0-.\n\tntfu\0\x0C\x80\xFF\xE2", 23);
      switch (documents.Below(4)) {
        case 0:
          text[at] = kBytes[documents.Below(kBytes.size())];
          break;
        case 1:
          text.insert(at, 1, kBytes[documents.Below(kBytes.size())]);
          break;
        case 2:
          text.erase(at, 1 + documents.Below(4));
          break;
        default:
          text.resize(at);
          break;
      }
      if (text.empty()) text = " ";
    }
    const bool slack = i % 2 == 0;
    const DecodeResult got = full.Decode(text, slack);
    std::string repaired;
    RepairUtf8(text, &repaired);
    const DecodeResult lax = read.Decode(text, slack);
    if (repaired != text) continue;              // the DOM parser refuses invalid UTF-8
    if (text.find('\0') != std::string::npos) {  // the DOM parser takes a NUL for the end
      ASSERT_NE(got, DecodeResult::kNoTime) << text;
      continue;
    }
    const Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    // Half a surrogate pair: the DOM parser refuses it, we repair it.
    if (text.find("\\u") != std::string::npos && document.is_discarded()) continue;
    const DecodeResult want = document.is_discarded() ? DecodeResult::kInvalidJson
                              : document.is_object()  ? DecodeResult::kNoTime
                                                      : DecodeResult::kNotAnObject;
    ASSERT_EQ(got, want) << text;
    if (want == DecodeResult::kNoTime) {
      ASSERT_EQ(lax, want) << text;
      for (int slot = 0; slot < 4; ++slot) ASSERT_EQ(read.Field(slot), full.Field(slot)) << text;
    }
    ++(document.is_discarded() ? invalid : valid);
  }
  EXPECT_GT(valid, 1000);
  EXPECT_GT(invalid, 1000);
}

// Paths with `*` beside names and under them: of a record's one way down, a field has what lies at
// the first of its paths that goes along it.
TEST(DecoderRandom, FindsWhatLiesUnderAnyKey) {
  const uint64_t seed = Seed();
  SCOPED_TRACE("BONGSU_SEED=" + std::to_string(seed));
  Documents random(seed);
  const auto way = [&random](size_t steps_max, const char* keys) {
    std::string steps;  // each is one letter
    for (size_t n = 1 + random.Below(steps_max); n > 0; --n)
      steps += keys[random.Below(std::strlen(keys))];
    return steps;
  };
  int found = 0;
  for (int round = 0; round < 500; ++round) {
    Format format;
    std::vector<std::string> names;
    std::vector<std::vector<std::string>> ways;
    for (size_t field = 0; field < 6; ++field) {
      names.push_back("field" + std::to_string(field));
      ways.emplace_back();
      for (size_t n = 1 + random.Below(3); n > 0; --n) {
        ways.back().push_back(way(4, "ab*"));
        std::string path;
        for (const char step : ways.back().back()) (path += path.empty() ? "" : ".") += step;
        format.fields[names.back()].push_back(path);
      }
    }
    Harness harness(names, {}, format);
    for (int i = 0; i < 20; ++i) {
      const std::string down = way(5, "abc");
      // What lies behind each step, the record first.
      std::vector<std::string> values = {"1"};
      for (size_t n = down.size(); n > 0; --n)
        values.insert(values.begin(), std::string("{\"") + down[n - 1] + "\":" + values[0] + "}");
      ASSERT_EQ(harness.Decode(values[0]), DecodeResult::kNoTime);
      for (size_t field = 0; field < names.size(); ++field) {
        std::string want = "-";
        for (const std::string& steps : ways[field]) {
          bool along = steps.size() <= down.size();
          for (size_t n = 0; along && n < steps.size(); ++n)
            along = steps[n] == '*' || steps[n] == down[n];
          if (!along) continue;
          want = (steps.size() == down.size() ? "n:" : "o:") + values[steps.size()];
          ++found;
          break;
        }
        ASSERT_EQ(harness.Field(static_cast<int>(field)), want)
            << values[0] << ", " << testing::PrintToString(format.fields[names[field]]);
      }
    }
  }
  EXPECT_GT(found, 1000);
}

}  // namespace
}  // namespace bongsu
