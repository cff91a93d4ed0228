#include "pipeline/result_rows.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace bongsu {
namespace {

using Part = std::vector<std::string>;  // the distinct forms of one part of a key

void AddOnce(std::string form, Part* part) {
  if (std::find(part->begin(), part->end(), form) == part->end()) part->push_back(std::move(form));
}

Part PartOf(const Value& value, bool cased) {
  Part part;
  const auto add = [&](const Value& one) {
    std::string form;
    if (AppendKeyPart(one, cased, &form)) AddOnce(std::move(form), &part);
  };
  if (!value.is_array()) add(value);
  for (const Value& item : value.items()) add(item);
  return part;
}

// The groups of one result.
class Groups {
 public:
  // Each combination of the parts, at most `max`; false: there are more. `row` < 0: none yet.
  bool Add(std::span<const Part> parts, size_t max, int row) {
    std::vector<std::vector<std::string>> keys(1);
    bool whole = true;
    for (const Part& part : parts) {
      std::vector<std::vector<std::string>> longer;
      for (const auto& key : keys) {
        for (const std::string& form : part) {
          if (longer.size() >= max) {
            whole = false;
            break;
          }
          longer.push_back(key);
          longer.back().push_back(form);
        }
      }
      keys = std::move(longer);
    }
    for (auto& key : keys) {
      std::string text;
      for (const std::string& form : key) text += form;
      auto it = index_.find(text);
      if (it == index_.end() && parts_.size() >= kResultGroupsMax) return false;
      if (it == index_.end()) {
        it = index_.emplace(text, parts_.size()).first;
        parts_.push_back(std::move(key));
        groups_.push_back({std::move(text), {}});
      }
      if (row >= 0) groups_[it->second].rows.push_back(static_cast<uint32_t>(row));
    }
    return whole;
  }
  // To each group that has the parts which the row has.
  void AddToMatching(std::span<const Part> parts, uint32_t row) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      bool has = true;
      for (size_t p = 0; p < parts.size() && has; ++p) {
        has = parts[p].empty() ||
              std::find(parts[p].begin(), parts[p].end(), parts_[g][p]) != parts[p].end();
      }
      if (has) groups_[g].rows.push_back(row);
    }
  }
  bool empty() const { return groups_.empty(); }
  std::vector<RowGroup> Take(const std::string& tenant) {
    const std::string front = TenantKey(tenant);
    for (RowGroup& group : groups_) {
      group.key.insert(0, front);
      std::sort(group.rows.begin(), group.rows.end());
    }
    return std::move(groups_);
  }

 private:
  absl::flat_hash_map<std::string, size_t> index_;
  std::vector<std::vector<std::string>> parts_;
  std::vector<RowGroup> groups_;
};

// The distinct values of the rows, one alone as it is.
Value Pooled(std::span<const Value* const> values, std::vector<Value>* pool) {
  const auto add = [pool](const Value& value) {
    if (value.is_null_or_absent() || pool->size() >= kPayloadArrayItemsMax) return;
    if (std::none_of(pool->begin(), pool->end(),
                     [&](const Value& one) { return one.text() == value.text(); }))
      pool->push_back(value);
  };
  for (const Value* value : values) {
    if (!value->is_array()) add(*value);
    for (const Value& item : value->items()) add(item);
  }
  if (pool->empty()) return Value();
  return pool->size() == 1 ? pool->front() : Value::Array(*pool);
}

}  // namespace

ResultRows::ResultRows(const OperatorSpec& spec, const Incident& incident, const FieldTable& fields)
    : same_(static_cast<size_t>(fields.size()), false) {
  for (const Evidence& evidence : incident.evidence) {
    readers_.push_back(std::make_unique<PayloadReader>(evidence.payload));
    carried_.push_back(ReadPayload(*readers_.back()));
  }
  if (spec.pooled_results().empty()) {
    FirstOfEachInput(spec, incident, fields);
    return;
  }
  for (size_t e = 0; e < carried_.size(); ++e) AddRows(spec, e, incident.evidence[e].port, fields);
  // Of an incident without events.
  if (rows_.empty()) rows_.emplace_back(same_.size());
}

void ResultRows::FirstOfEachInput(const OperatorSpec& spec, const Incident& incident,
                                  const FieldTable& fields) {
  std::vector<Value>& row = rows_.emplace_back(same_.size());
  std::vector<bool> seen(spec.inputs().size(), false);
  for (size_t e = 0; e < carried_.size(); ++e) {
    const uint8_t port = incident.evidence[e].port;
    if (seen[port]) continue;
    seen[port] = true;
    const InputSpec& input = spec.inputs()[port];
    for (size_t i = 0; i < carried_[e].size() && i < input.fields.size(); ++i) {
      const int slot = fields.Find(input.name + "." + input.fields[i]);
      if (slot >= 0) row[static_cast<size_t>(slot)] = carried_[e][i];
    }
  }
}

// One row, or those of a result that is itself the event.
void ResultRows::AddRows(const OperatorSpec& spec, size_t evidence, uint8_t port,
                         const FieldTable& fields) {
  const std::vector<Value>& values = carried_[evidence];
  const size_t columns = spec.inputs()[port].fields.size();
  size_t rows = 1;
  for (size_t i = columns; i < values.size(); ++i) rows = std::max(rows, values[i].items().size());
  for (size_t r = 0; r < rows; ++r) {
    std::vector<Value>& row = rows_.emplace_back(same_.size());
    for (const ResultField& field : spec.pooled_results()) {
      const int position = field.positions[port];
      if (position < 0 || static_cast<size_t>(position) >= values.size()) continue;
      const auto at = static_cast<size_t>(position);
      const bool column = columns + at < values.size() && values[columns + at].is_array();
      row[static_cast<size_t>(fields.Find(field.name))] =
          column ? values[columns + at].items()[r] : values[at];
    }
  }
}

void ResultRows::SetAll(int slot, std::string_view text) {
  if (slot < 0) return;
  for (std::vector<Value>& row : rows_) row[static_cast<size_t>(slot)] = Value::String(text);
  same_[static_cast<size_t>(slot)] = true;
}

std::vector<RowGroup> ResultRows::GroupBy(const KeyOptions& options, KeyCounters* counters) const {
  const size_t parts = options.slots.size();
  Groups groups;
  std::vector<Part> forms;  // of each row, one part behind the other
  std::vector<uint32_t> incomplete;
  bool capped = false;
  for (size_t r = 0; r < rows_.size(); ++r) {
    bool complete = true;
    for (const int slot : options.slots) {
      forms.push_back(PartOf(rows_[r][static_cast<size_t>(slot)], options.cased));
      complete = complete && !forms.back().empty();
    }
    if (!complete) {
      incomplete.push_back(static_cast<uint32_t>(r));
      continue;
    }
    const std::span<const Part> own = std::span<const Part>(forms).last(parts);
    if (!groups.Add(own, kKeyMembersMax, static_cast<int>(r))) capped = true;
  }
  if (groups.empty()) {
    std::vector<Part> pooled(parts);
    for (size_t i = 0; i < forms.size(); ++i) {
      for (const std::string& form : forms[i]) AddOnce(form, &pooled[i % parts]);
    }
    for (Part& part : pooled) {
      if (!part.empty()) continue;
      if (!options.keep_missing) {
        ++counters->missing_part;
        return {};
      }
      AppendMissingKeyPart(&part.emplace_back());
    }
    if (!groups.Add(pooled, kPayloadArrayItemsMax, -1)) capped = true;
  }
  for (const uint32_t row : incomplete)
    groups.AddToMatching(std::span<const Part>(forms).subspan(row * parts, parts), row);
  if (capped) ++counters->members_capped;
  return groups.Take(options.tenant);
}

std::vector<uint32_t> ResultRows::Bounded(const RowGroup& group, std::span<const int> slots) const {
  size_t bytes = 0;
  std::string one;
  const auto fits = [&](uint32_t row) {
    one.clear();
    for (const int slot : slots) EncodeValues({&rows_[row][static_cast<size_t>(slot)], 1}, &one);
    bytes += one.size();
    return bytes <= kResultBytesMax;
  };
  std::vector<uint32_t> kept;
  for (const uint32_t row : group.rows) {
    if (kept.size() >= kPayloadArrayItemsMax || (!fits(row) && !kept.empty())) break;
    kept.push_back(row);
  }
  if (kept.size() == group.rows.size()) return kept;
  // Then rather the different ones.
  absl::flat_hash_set<std::string> seen;
  kept.clear();
  bytes = 0;
  for (const uint32_t row : group.rows) {
    if (kept.size() >= kPayloadArrayItemsMax) break;
    const size_t before = bytes;
    const bool room = fits(row) || kept.empty();
    if (!room || !seen.insert(one).second)
      bytes = before;
    else
      kept.push_back(row);
  }
  return kept;
}

bool ResultRows::Encode(const RowGroup& group, std::span<const int> slots, std::string* out) const {
  const std::vector<uint32_t> kept = Bounded(group, slots);
  std::vector<const Value*> column(kept.size());
  const auto of = [&](int slot) {
    for (size_t i = 0; i < kept.size(); ++i) column[i] = &rows_[kept[i]][static_cast<size_t>(slot)];
  };
  for (const int slot : slots) {
    of(slot);
    std::vector<Value> pool;
    const Value value = kept.size() == 1 ? *column[0] : Pooled(column, &pool);
    EncodeValues({&value, 1}, out);
  }
  for (const int slot : slots) {
    if (kept.size() == 1) break;
    of(slot);
    std::vector<Value> items;
    for (const Value* value : column) items.push_back(*value);
    const Value value = same_[static_cast<size_t>(slot)] ? Value() : Value::Array(items);
    EncodeValues({&value, 1}, out);
  }
  return kept.size() == group.rows.size();
}

}  // namespace bongsu
