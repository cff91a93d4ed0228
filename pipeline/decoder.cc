#include "pipeline/decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "pipeline/decoder_arena.h"
#include "pipeline/decoder_guess.h"
#include "pipeline/decoder_index.h"
#include "pipeline/decoder_plan.h"
#include "pipeline/decoder_text.h"
#include "pipeline/decoder_validate.h"
#include "pipeline/event_time.h"
#include "state/check.h"

namespace bongsu {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kAlwaysCopy = true;  // the bytes behind a record may be another's, or poisoned
#else
constexpr bool kAlwaysCopy = false;
#endif

// Objects and arrays of objects on needed paths are walked recursively, so that the depth has a
// hard bound.
constexpr int kDepthHardMax = 1024;
constexpr size_t kRecordBytesHardMax = 0xFFFF'FFFF - kJsonPadding;
// Added to a null's rank: a field's other paths that have a value come before it.
constexpr uint32_t kNullRank = 0x8000;
constexpr uint16_t kNoRank = 0xFFFF;
static_assert(ValueArena::kStoreMax >= kArrayItemsMax && ValueArena::kStoreMax >= kAllValuesMax);

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  if (a == b) return true;  // nearly always where it holds
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [lower](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

std::string_view DecodeResultName(DecodeResult result) {
  switch (result) {
    case DecodeResult::kOk:
      return "ok";
    case DecodeResult::kNoTime:
      return "no_time";
    case DecodeResult::kInvalidJson:
      return "invalid_json";
    case DecodeResult::kNotAnObject:
      return "not_an_object";
    case DecodeResult::kTooLarge:
      return "too_large";
    case DecodeResult::kTooDeep:
      return "too_deep";
  }
  return "unknown";
}

// The walk. Each step takes the number of a structural position and returns the one behind what it
// read, or 0 after `error_` was set (no step can end at 0: the root's bracket is there).
//
// Invariant: `at_[n_]` is the text's size, and a step reads `at_[i + 1]` only where i < n_.
class Decoder::Impl : public FieldReader {
 public:
  Impl(const Format& format, const FieldTable& fields, DecoderOptions options)
      : plan_(format, fields),
        options_(options),
        depth_max_(std::clamp(options.depth_max, 1, kDepthHardMax)),
        bytes_max_(std::min(static_cast<size_t>(std::max<int64_t>(options.record_bytes_max, 0)),
                            kRecordBytesHardMax)),
        event_fields_(static_cast<size_t>(fields.size())),
        all_values_slot_(fields.Find(kAllValuesField)),
        guesses_(plan_),
        values_(plan_.slots()),
        ranks_(plan_.slots(), kNoRank),
        unread_(plan_.slots()),
        later_(plan_.slots()),
        open_(static_cast<size_t>(depth_max_) + 1) {
    BONGSU_CHECK(options_.later.size() <= later_.size());
    std::copy(options_.later.begin(), options_.later.end(), later_.begin());
    const auto read_at_once = [this](uint32_t slot, const PlanCondition& when) {
      later_[slot] = 0;
      if (when.slot >= 0) later_[static_cast<size_t>(when.slot)] = 0;
    };
    for (const PlanTime& time : plan_.times()) read_at_once(time.slot, time.when);
    for (const PlanConditional& path : plan_.conditionals()) read_at_once(path.from, path.when);
    for (const uint32_t slot : plan_.raw_slots()) later_[slot] = 0;
    any_later_ = std::find(later_.begin(), later_.end(), 1) != later_.end();
  }

  DecodeResult Decode(const Record& record, Event* event);
  const DecoderCounters& counters() const { return counters_; }

  bool Read(std::span<const int> slots) override;
  bool ReadAll() override;
  void Written(std::span<const int> slots, std::string_view* written) const override;
  bool repaired() const override { return repaired_; }
  void ReadAllValues() override;
  std::string_view json() const override { return {bytes_, size_}; }

 private:
  DecodeResult Parse(const Record& record);
  bool TakeText(std::string_view bytes);
  bool BuildIndex(std::string_view bytes, uint32_t slack);
  void ClearValues();
  bool Holds(const PlanCondition& when) const;
  void AssignConditional();
  void FindTime(Event* event);
  std::optional<EventTimeNs> ReadTime(const PlanTime& time);

  uint32_t WalkObject(const PlanNode& node, uint32_t i, int depth);
  uint32_t WalkArray(const PlanNode& node, uint32_t i, int depth);
  uint32_t ReadInto(const PlanNode& node, uint32_t i, int depth);
  uint32_t ReadArray(uint32_t i, int depth, Value* value);
  uint32_t ReadItem(uint32_t i, int depth, Value* value);
  uint32_t Skip(uint32_t i, int depth);
  void CollectAllValues();
  bool ReadUnread(size_t slot);
  bool Improves(size_t slot, uint16_t rank);
  uint32_t ReadOnlyText(const PlanNode& node, uint32_t i);
  std::string_view StringAt(uint32_t i) const;
  bool ReadText(uint32_t i, Value* value);
  const PlanNode* FindChild(const PlanNode& node, std::string_view key, uint32_t* link);
  void Assign(const PlanNode& node, Value value);
  void AssignRanked(uint32_t slot, uint32_t rank, Value value);
  void AssignCollected();
  uint32_t Fail(DecodeResult error) {
    error_ = error;
    return 0;
  }
  char* Scratch(size_t size);

  // One value that was found inside an array of objects.
  struct Collected {
    uint32_t slot;
    uint32_t rank;
    uint32_t order;
    Value value;
  };

  const DecodePlan plan_;
  const DecoderOptions options_;
  const int depth_max_;
  const size_t bytes_max_;
  const size_t event_fields_;
  const int all_values_slot_;  // -1: nobody asked
  DecoderCounters counters_;

  // The record at hand.
  const char* bytes_ = nullptr;
  size_t size_ = 0;
  const uint32_t* at_ = nullptr;
  uint32_t n_ = 0;
  DecodeResult error_ = DecodeResult::kOk;
  bool repaired_ = false;
  int collecting_ = 0;  // how many arrays of objects the walk is in

  // Memory that is kept from record to record; its bound is a few times record_bytes_max.
  StructuralIndex index_;
  KeyGuesses guesses_;
  LatestMinute latest_minute_;
  std::vector<Value> values_;     // by slot
  std::vector<uint16_t> ranks_;   // of values_
  std::vector<uint32_t> unread_;  // by slot: where its value begins; 0: it is in values_, or absent
  std::vector<uint8_t> later_;    // by slot: whether it is left unread
  std::vector<uint32_t> touched_;  // slots that the record has
  bool any_later_ = false;
  bool all_values_read_ = false;
  bool text_ = false;          // the record is no JSON: TakeText
  std::vector<char> open_;     // brackets that are open, from [1]
  std::string copy_;           // the record with padding
  std::string repair_;         // the record with its UTF-8 repaired
  std::vector<char> scratch_;  // unescaped strings; never grows while a record is decoded
  size_t scratch_used_ = 0;
  std::vector<Value> stack_;  // members of the arrays that are being read
  std::vector<Collected> collected_;
  ValueArena arena_;
};

DecodeResult Decoder::Impl::Decode(const Record& record, Event* event) {
  ++counters_.records;
  ClearValues();
  event->fields = std::span<const Value>(values_.data(), event_fields_);
  event->time = 0;
  event->has_time = false;
  event->seq = PackSeq(record.partition, record.offset);
  event->raw = record.bytes;
  event->reader = any_later_ ? this : nullptr;
  const DecodeResult result = Parse(record);
  if (result != DecodeResult::kOk) {
    ClearValues();  // no half-read record
    return result;
  }
  if (repaired_) ++counters_.repaired_utf8;
  if (text_) event->reader = nullptr;  // all of it is there
  AssignConditional();
  FindTime(event);
  return event->has_time ? DecodeResult::kOk : DecodeResult::kNoTime;
}

// A record has a few of the hundreds of fields that thousands of rules ask for.
void Decoder::Impl::ClearValues() {
  for (const uint32_t slot : touched_) {
    values_[slot] = Value();
    ranks_[slot] = kNoRank;
    unread_[slot] = 0;
  }
  touched_.clear();
  if (all_values_read_) values_[static_cast<size_t>(all_values_slot_)] = Value();
  all_values_read_ = false;
  text_ = false;
  arena_.Reset();
  stack_.clear();
  collected_.clear();
  scratch_used_ = 0;
  collecting_ = 0;
  repaired_ = false;
  error_ = DecodeResult::kOk;
}

bool Decoder::Impl::BuildIndex(std::string_view bytes, uint32_t slack) {
  bytes_ = bytes.data();
  size_ = bytes.size();
  if (kAlwaysCopy || slack < kJsonPadding) {
    ++counters_.copied;
    copy_.assign(bytes);
    copy_.append(kJsonPadding, '\0');
    bytes_ = copy_.data();
  }
  StructuralIndex::Result result = index_.Build(bytes_, size_);
  if (result == StructuralIndex::Result::kInvalidUtf8) {
    RepairUtf8(bytes, &repair_);
    size_ = repair_.size();
    repair_.append(kJsonPadding, '\0');
    bytes_ = repair_.data();
    repaired_ = true;
    result = index_.Build(bytes_, size_);
  }
  at_ = index_.positions();
  n_ = index_.size();
  return result == StructuralIndex::Result::kOk;
}

DecodeResult Decoder::Impl::Parse(const Record& record) {
  if (record.bytes.size() > bytes_max_) return DecodeResult::kTooLarge;
  // A shipper that sends a file's first line may have left it its byte order mark.
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  std::string_view bytes = record.bytes;
  if (bytes.starts_with(kMark)) bytes.remove_prefix(kMark.size());
  if (!plan_.raw_nodes().empty() && TakeText(bytes)) return DecodeResult::kOk;
  if (!BuildIndex(bytes, record.slack)) return DecodeResult::kInvalidJson;
  const bool object = bytes_[at_[0]] == '{';
  if (!object || options_.validate == Validate::kFull) {
    const DecodeResult valid = ValidateJson(bytes_, index_, depth_max_, &open_);
    if (valid != DecodeResult::kOk) return valid;
    if (!object) return DecodeResult::kNotAnObject;
  }
  // Twice where all values are collected: a string may then be unescaped for itself, too.
  const size_t scratch = all_values_slot_ >= 0 ? 2 * size_ : size_;
  if (scratch_.size() < scratch + kUnescapeSlack) scratch_.resize(2 * scratch + kUnescapeSlack);
  const uint32_t end = WalkObject(plan_.root(), 0, 1);
  if (end == 0) return error_;
  if (end != n_) return DecodeResult::kInvalidJson;  // something follows the object
  if (all_values_slot_ >= 0 && later_[static_cast<size_t>(all_values_slot_)] == 0) ReadAllValues();
  return DecodeResult::kOk;
}

bool Decoder::Impl::Read(std::span<const int> slots) {
  for (const int slot : slots) {
    if (unread_[static_cast<size_t>(slot)] != 0 && !ReadUnread(static_cast<size_t>(slot)))
      return false;
  }
  return true;
}

bool Decoder::Impl::ReadAll() {
  for (const uint32_t slot : touched_) {
    if (unread_[slot] != 0 && !ReadUnread(slot)) return false;
  }
  ReadAllValues();
  return true;
}

void Decoder::Impl::Written(std::span<const int> slots, std::string_view* written) const {
  for (const int slot : slots) {
    const uint32_t i = unread_[static_cast<size_t>(slot)];
    *written++ =
        i == 0 ? std::string_view() : std::string_view(bytes_ + at_[i], at_[i + 1] - at_[i]);
  }
}

void Decoder::Impl::ReadAllValues() {
  if (all_values_slot_ < 0 || all_values_read_) return;
  CollectAllValues();
  all_values_read_ = true;
}

bool Decoder::Impl::ReadUnread(size_t slot) {
  const uint32_t i = unread_[slot];
  unread_[slot] = 0;
  if (bytes_[at_[i]] != '"') {
    values_[slot] = ReadScalar(TrimJsonEnd(bytes_ + at_[i], bytes_ + at_[i + 1]));
    return !values_[slot].is_absent();
  }
  const bool repaired = repaired_;
  if (!ReadText(i, &values_[slot])) return false;
  if (repaired_ && !repaired) ++counters_.repaired_utf8;
  return true;
}

// A record of a format with `raw:` that is no JSON object: its text is the event. False for what
// begins like an object, which may be a broken one, and for what holds nothing.
bool Decoder::Impl::TakeText(std::string_view bytes) {
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || bytes[first] == '{') return false;
  // The end of its line is no part of it: rules ask what a text ends with.
  if (bytes.ends_with('\n')) bytes.remove_suffix(1);
  if (bytes.ends_with('\r')) bytes.remove_suffix(1);
  RepairUtf8(bytes, &repair_);
  repaired_ = repair_ != bytes;
  const Value text = Value::String(repair_);
  for (const PlanNode* node : plan_.raw_nodes()) Assign(*node, text);
  if (all_values_slot_ >= 0) {
    values_[static_cast<size_t>(all_values_slot_)] = Value::Array(arena_.Store({&text, 1}));
    all_values_read_ = true;
  }
  text_ = true;
  return true;
}

// Every position that begins a value: a bracket does not, nor a string that a colon follows.
void Decoder::Impl::CollectAllValues() {
  const auto [error, repaired] = std::pair(error_, repaired_);
  stack_.clear();
  for (uint32_t i = 0; i < n_; ++i) {
    const char c = bytes_[at_[i]];
    if (c == ',' || c == ':' || (c | 0x20) == '{' || (c | 0x20) == '}') continue;
    if (c == '"' && i + 1 < n_ && bytes_[at_[i + 1]] == ':') continue;
    if (stack_.size() == kAllValuesMax) {
      ++counters_.array_items_capped;
      // The original text is searched in any case.
      for (size_t raw = 0; raw < plan_.raw_slots().size(); ++raw) {
        const Value& text = values_[plan_.raw_slots()[raw]];
        if (text.is_string()) stack_[stack_.size() - 1 - raw] = text;
      }
      break;
    }
    Value value;
    if (c == '"') {
      if (!ReadText(i, &value)) value = Value::String(StringAt(i));
    } else {
      value = ReadScalar(TrimJsonEnd(bytes_ + at_[i], bytes_ + at_[i + 1]));
      // Text that is no JSON, where nobody looks: `validate: read` lets it pass.
      if (value.is_null_or_absent()) continue;
    }
    stack_.push_back(value);
  }
  values_[static_cast<size_t>(all_values_slot_)] = Value::Array(arena_.Store(stack_));
  stack_.clear();
  error_ = error;
  if (repaired_ && !repaired) ++counters_.repaired_utf8;
}

// Whether a value of this rank is the slot's; the ranks of what was there before go.
inline bool Decoder::Impl::Improves(size_t slot, uint16_t rank) {
  if (rank >= ranks_[slot])
    return false;  // a better path had one, or the same key was there before
  if (ranks_[slot] == kNoRank) touched_.push_back(static_cast<uint32_t>(slot));
  ranks_[slot] = rank;
  return true;
}

// ReadInto for the usual case, a string for one slot. The value is built where it stays: building
// it elsewhere and copying it stalls the processor, which cannot forward several small stores to
// one larger load.
inline uint32_t Decoder::Impl::ReadOnlyText(const PlanNode& node, uint32_t i) {
  const auto slot = static_cast<size_t>(node.only_slot);
  if (!Improves(slot, node.only_rank)) return i + 1;
  if (later_[slot] != 0) {
    unread_[slot] = i;
    values_[slot] = Value();
    return i + 1;
  }
  return ReadText(i, &values_[slot]) ? i + 1 : 0;
}

// The string at `i` as it is written, without its quotes.
inline std::string_view Decoder::Impl::StringAt(uint32_t i) const {
  const char* begin = bytes_ + at_[i] + 1;
  const char* end = bytes_ + at_[i + 1] - 1;
  while (*end != '"') --end;  // only white space is between the quote and the next position
  return {begin, static_cast<size_t>(end - begin)};
}

// The string at `i`: a view into the record, or unescaped into scratch memory.
inline bool Decoder::Impl::ReadText(uint32_t i, Value* value) {
  const std::string_view text = StringAt(i);
  if (!HasBackslash(text.data(), text.size())) {
    *value = Value::String(text);
    return true;
  }
  char* out = Scratch(text.size());
  char* out_end = Unescape(text, out, &repaired_);
  if (out_end == nullptr) return Fail(DecodeResult::kInvalidJson) != 0;
  scratch_used_ += static_cast<size_t>(out_end - out);
  *value = Value::String({out, static_cast<size_t>(out_end - out)});
  return true;
}

// Room for an unescaped string. Each string of a record is unescaped at most once for its field and
// once among all values, and none grows: Parse has made room for that.
char* Decoder::Impl::Scratch(size_t size) {
  BONGSU_CHECK(size + kUnescapeSlack <= scratch_.size() - scratch_used_);
  return scratch_.data() + scratch_used_;
}

// `i` is at the '{'; `depth` counts this object.
uint32_t Decoder::Impl::WalkObject(const PlanNode& node, uint32_t i, int depth) {
  if (depth > depth_max_) return Fail(DecodeResult::kTooDeep);
  const char* const bytes = bytes_;
  const uint32_t* const at = at_;
  const uint32_t n = n_;
  ++i;
  if (i < n && bytes[at[i]] == '}') return i + 1;
  uint32_t* link = guesses_.First(node);
  for (;;) {
    // Key, colon, value, and a comma or bracket: four positions at least.
    if (n - i < 4 || i > n) return Fail(DecodeResult::kInvalidJson);
    const char* const key = bytes + at[i] + 1;
    if (key[-1] != '"' || bytes[at[i + 1]] != ':') return Fail(DecodeResult::kInvalidJson);
    const KnownKey* known = &guesses_.at(*link);
    const PlanNode* child = nullptr;
    if (known->Matches(key)) [[likely]] {
      child = known->child;
    } else {
      const char* key_end = bytes + at[i + 1] - 1;
      while (*key_end != '"') --key_end;  // only white space is between the quote and the colon
      child = FindChild(node, {key, static_cast<size_t>(key_end - key)}, link);
      if (error_ != DecodeResult::kOk) return 0;
    }
    link = guesses_.After(node, *link);
    i += 2;
    const char first = bytes[at[i]];
    if (child == nullptr && first == '"') {
      ++i;
    } else if (child == nullptr) {
      i = Skip(i, depth);
    } else if (first == '"' && child->only_slot >= 0 && collecting_ == 0) {
      i = ReadOnlyText(*child, i);
    } else {
      i = ReadInto(*child, i, depth);
    }
    if (i == 0) return 0;
    if (i >= n) return Fail(DecodeResult::kInvalidJson);
    const char next = bytes[at[i++]];
    if (next == ',') continue;
    if (next == '}') return i;
    return Fail(DecodeResult::kInvalidJson);
  }
}

// `i` is at the '[' of an array through which needed paths lead: its objects are walked, and what
// they have is collected.
uint32_t Decoder::Impl::WalkArray(const PlanNode& node, uint32_t i, int depth) {
  if (depth > depth_max_) return Fail(DecodeResult::kTooDeep);
  ++i;
  if (i < n_ && bytes_[at_[i]] == ']') return i + 1;
  ++collecting_;
  for (;;) {
    if (i >= n_) return Fail(DecodeResult::kInvalidJson);
    const char c = bytes_[at_[i]];
    if (c == '{') {
      i = WalkObject(node, i, depth + 1);
    } else if (c == '[') {
      i = WalkArray(node, i, depth + 1);
    } else {
      i = Skip(i, depth);
    }
    if (i == 0) return 0;
    if (i >= n_) return Fail(DecodeResult::kInvalidJson);
    const char next = bytes_[at_[i++]];
    if (next == ',') continue;
    if (next != ']') return Fail(DecodeResult::kInvalidJson);
    break;
  }
  if (--collecting_ == 0) AssignCollected();
  return i;
}

// Reads the value at `i`, which is what `node` stands for. `depth` is that of the object around it.
uint32_t Decoder::Impl::ReadInto(const PlanNode& node, uint32_t i, int depth) {
  const char c = bytes_[at_[i]];
  if (node.only_slot >= 0 && collecting_ == 0 && (c == '-' || (c >= '0' && c <= '9'))) {
    const auto slot = static_cast<size_t>(node.only_slot);
    if (!Improves(slot, node.only_rank)) return i + 1;
    if (later_[slot] != 0) {
      unread_[slot] = i;
      values_[slot] = Value();
      return i + 1;
    }
    values_[slot] = ReadScalar(TrimJsonEnd(bytes_ + at_[i], bytes_ + at_[i + 1]));
    return values_[slot].is_absent() ? Fail(DecodeResult::kInvalidJson) : i + 1;
  }
  Value value;
  if (c == '{' && node.has_children) {
    const uint32_t end = WalkObject(node, i, depth + 1);
    if (end == 0 || !node.has_targets()) return end;
    const char* begin = bytes_ + at_[i];
    Assign(node, Value::Object({begin, static_cast<size_t>(bytes_ + at_[end - 1] + 1 - begin)}));
    return end;
  }
  uint32_t end = 0;
  if (node.has_targets()) {
    end = ReadItem(i, depth, &value);
    if (end == 0) return 0;
    Assign(node, value);
    if (c != '[' || !node.has_children) return end;
  }
  // A second look at the array for what lies inside its objects.
  if (c == '[') return WalkArray(node, i, depth + 1);
  return Skip(i, depth);
}

// Any value, whole.
uint32_t Decoder::Impl::ReadItem(uint32_t i, int depth, Value* value) {
  const char* begin = bytes_ + at_[i];
  switch (*begin) {
    case '"':
      return ReadText(i, value) ? i + 1 : 0;
    case '[':
      return ReadArray(i, depth + 1, value);
    case '{': {
      const uint32_t end = Skip(i, depth);
      if (end == 0) return 0;
      *value = Value::Object({begin, static_cast<size_t>(bytes_ + at_[end - 1] + 1 - begin)});
      return end;
    }
    default:
      *value = ReadScalar(TrimJsonEnd(begin, bytes_ + at_[i + 1]));
      return value->is_absent() ? Fail(DecodeResult::kInvalidJson) : i + 1;
  }
}

// `i` is at the '['; `depth` counts this array.
uint32_t Decoder::Impl::ReadArray(uint32_t i, int depth, Value* value) {
  if (depth > depth_max_) return Fail(DecodeResult::kTooDeep);
  const size_t base = stack_.size();
  ++i;
  if (i < n_ && bytes_[at_[i]] == ']') {
    *value = Value::Array({});
    return i + 1;
  }
  for (;;) {
    if (i >= n_) return Fail(DecodeResult::kInvalidJson);
    if (stack_.size() - base == kArrayItemsMax) {
      i = Skip(i, depth);
    } else {
      Value item;
      i = ReadItem(i, depth, &item);
      stack_.push_back(item);
    }
    if (i == 0) return 0;
    if (i >= n_) return Fail(DecodeResult::kInvalidJson);
    const char next = bytes_[at_[i++]];
    if (next == ']') break;
    if (next != ',') return Fail(DecodeResult::kInvalidJson);
    if (stack_.size() - base == kArrayItemsMax) ++counters_.array_items_capped;
  }
  *value = Value::Array(arena_.Store(std::span<const Value>(stack_).subspan(base)));
  stack_.resize(base);
  return i;
}

// Over one value that nobody asked for. Strings, numbers and literals have one position; of objects
// and arrays the brackets are checked.
uint32_t Decoder::Impl::Skip(uint32_t i, int depth) {
  const char* const bytes = bytes_;
  const uint32_t* const at = at_;
  const uint32_t n = n_;
  char c = bytes[at[i]];
  if (c == '"') return i + 1;
  if ((c | 0x20) != '{') {  // neither '{' nor '['
    if (c == ',' || c == ':' || (c | 0x20) == '}') return Fail(DecodeResult::kInvalidJson);
    return i + 1;
  }
  char* const open = open_.data();
  int level = depth;
  for (; i < n; ++i) {
    c = bytes[at[i]];
    if ((c | 0x20) == '{') {
      if (++level > depth_max_) return Fail(DecodeResult::kTooDeep);
      open[level] = c;
    } else if ((c | 0x20) == '}') {
      if (open[level] + 2 != c) return Fail(DecodeResult::kInvalidJson);  // ASCII: '[' + 2 is ']'
      if (--level == depth) return i + 1;
    }
  }
  return Fail(DecodeResult::kInvalidJson);
}

// The child for a key that was not guessed; the guess at `*link` becomes this key. Sets error_
// where an escape in it is wrong.
const PlanNode* Decoder::Impl::FindChild(const PlanNode& node, std::string_view key,
                                         uint32_t* link) {
  if (!HasBackslash(key.data(), key.size())) {
    const JsonKey text(key.data(), key.size());
    const PlanNode* child = plan_.Find(node, text);
    *link = guesses_.Learn(node, text, child);
    return child;
  }
  *link = 0;
  std::string plain(key.size() + kUnescapeSlack, '\0');
  bool repaired = false;
  const char* end = Unescape(key, plain.data(), &repaired);
  if (end == nullptr) {
    Fail(DecodeResult::kInvalidJson);
    return nullptr;
  }
  return plan_.Find(node, JsonKey(plain.data(), static_cast<size_t>(end - plain.data())));
}

void Decoder::Impl::AssignRanked(uint32_t slot, uint32_t rank, Value value) {
  if (value.type() == ValueType::kNull) rank |= kNullRank;
  if (!Improves(slot, static_cast<uint16_t>(rank))) return;
  unread_[slot] = 0;
  values_[slot] = value;
}

void Decoder::Impl::Assign(const PlanNode& node, Value value) {
  for (uint32_t t = node.targets_begin; t != node.targets_end; ++t) {
    const PlanTarget& target = *plan_.target(t);
    if (collecting_ == 0) {
      AssignRanked(target.slot, target.rank, value);
    } else if (value.is_array()) {
      for (const Value& item : value.items()) {
        collected_.push_back(
            {target.slot, target.rank, static_cast<uint32_t>(collected_.size()), item});
      }
    } else {
      collected_.push_back(
          {target.slot, target.rank, static_cast<uint32_t>(collected_.size()), value});
    }
  }
}

// Behind the outermost array: what its objects had, as one array for each slot, from each slot's
// best path.
void Decoder::Impl::AssignCollected() {
  std::sort(collected_.begin(), collected_.end(), [](const Collected& a, const Collected& b) {
    return std::tie(a.slot, a.rank, a.order) < std::tie(b.slot, b.rank, b.order);
  });
  for (size_t begin = 0; begin < collected_.size();) {
    const auto [slot, rank] = std::pair(collected_[begin].slot, collected_[begin].rank);
    stack_.clear();
    size_t end = begin;
    for (; end < collected_.size() && collected_[end].slot == slot; ++end) {
      if (collected_[end].rank != rank) continue;
      if (stack_.size() < kArrayItemsMax) {
        stack_.push_back(collected_[end].value);
      } else {
        ++counters_.array_items_capped;
      }
    }
    AssignRanked(slot, rank, Value::Array(arena_.Store(stack_)));
    begin = end;
  }
  collected_.clear();
  stack_.clear();
}

std::optional<EventTimeNs> Decoder::Impl::ReadTime(const PlanTime& time) {
  const Value& value = values_[time.slot];
  const bool text = value.is_string();
  if (!text && !value.is_number()) return std::nullopt;
  switch (time.encoding) {
    case TimeEncoding::kRfc3339:
      return text ? ParseRfc3339(value.text(), &latest_minute_) : std::nullopt;
    case TimeEncoding::kPattern:
      return time.pattern->Parse(value.text(), &latest_minute_);
    case TimeEncoding::kEpochS:
      return ParseEpoch(value.text(), EpochUnit::kSeconds);
    case TimeEncoding::kEpochMs:
      return ParseEpoch(value.text(), EpochUnit::kMillis);
    case TimeEncoding::kEpochUs:
      return ParseEpoch(value.text(), EpochUnit::kMicros);
    case TimeEncoding::kEpochNs:
      return ParseEpoch(value.text(), EpochUnit::kNanos);
  }
  return std::nullopt;
}

bool Decoder::Impl::Holds(const PlanCondition& when) const {
  if (when.slot < 0) return true;
  const std::string_view text = values_[static_cast<size_t>(when.slot)].text();
  return std::any_of(when.texts.begin(), when.texts.end(),
                     [text](const std::string& one) { return EqualsIgnoringCase(text, one); });
}

// Behind the record's end, where what the conditions ask is known.
void Decoder::Impl::AssignConditional() {
  for (const PlanConditional& path : plan_.conditionals()) {
    if (ranks_[path.from] != kNoRank && Holds(path.when))
      AssignRanked(path.slot, path.rank, values_[path.from]);
  }
}

void Decoder::Impl::FindTime(Event* event) {
  for (const PlanTime& time : plan_.times()) {
    if (!Holds(time.when)) continue;
    if (const std::optional<EventTimeNs> found = ReadTime(time)) {
      event->time = *found;
      event->has_time = true;
      return;
    }
  }
}

Decoder::Decoder(const Format& format, const FieldTable& fields, DecoderOptions options)
    : impl_(std::make_unique<Impl>(format, fields, options)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

DecodeResult Decoder::Decode(const Record& record, Event* event) {
  return impl_->Decode(record, event);
}
const DecoderCounters& Decoder::counters() const { return impl_->counters(); }

}  // namespace bongsu
