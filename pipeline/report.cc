#include "pipeline/report.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "pipeline/json_text.h"

namespace bongsu {
namespace {

using OrderedJson = nlohmann::ordered_json;

uint64_t DeadLetters(const SourceCounters& counters) {
  uint64_t sum = 0;
  for (uint64_t n : counters.dead_letters) sum += n;
  return sum;
}

std::string Bytes(double bytes) {
  if (bytes >= 1 << 30) return fmt::format("{:.2f} GiB", bytes / (1 << 30));
  if (bytes >= 1 << 20) return fmt::format("{:.1f} MiB", bytes / (1 << 20));
  return fmt::format("{:.1f} KiB", bytes / (1 << 10));
}

uint64_t AllRecords(const RunReport& report) {
  uint64_t sum = 0;
  for (const SourceCounters& source : report.totals.counters.sources) sum += source.records;
  return sum;
}

void SourceTable(const RunReport& report, std::string* out) {
  *out += fmt::format("{:<24} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "source", "records", "bytes",
                      "dead letter", "future", "late");
  for (size_t i = 0; i < report.totals.counters.sources.size(); ++i) {
    const SourceCounters& source = report.totals.counters.sources[i];
    *out +=
        fmt::format("{:<24} {:>12} {:>12} {:>12} {:>12} {:>12}\n", report.config->sources[i].name,
                    source.records, Bytes(static_cast<double>(source.bytes)), DeadLetters(source),
                    source.future, source.late);
    for (size_t reason = 0; reason < source.dead_letters.size(); ++reason) {
      if (source.dead_letters[reason] == 0) continue;
      *out += fmt::format("    dead letter: {:<20} {:>12}\n",
                          DecodeResultName(static_cast<DecodeResult>(reason)),
                          source.dead_letters[reason]);
    }
    if (source.repaired_utf8 > 0)
      *out += fmt::format("    repaired UTF-8: {}\n", source.repaired_utf8);
    if (source.fell_silent > 0)
      *out += fmt::format("    fell silent (alert source_silent): {}\n", source.fell_silent);
    if (source.lagged > 0)
      *out += fmt::format("    lagged (alert source_lagging): {}\n", source.lagged);
    if (source.array_items_capped > 0)
      *out += fmt::format("    arrays cut: {}\n", source.array_items_capped);
  }
}

void OperatorRows(const RunReport& report, std::string* out) {
  *out += fmt::format("\n{:<36} {:>24} {:>10} {:>10} {:>8}\n", "operator", "selected", "incidents",
                      "updates", "late");
  for (size_t i = 0; i < report.totals.counters.operators.size(); ++i) {
    const OperatorCounters& op = report.totals.counters.operators[i];
    *out += fmt::format(
        "{:<36.36} {:>24} {:>10} {:>10} {:>8}\n", report.config->operators[i]->rule().title,
        fmt::format("{}", fmt::join(op.selected, " x ")), op.created, op.updated, op.late);
    if (op.key_missing > 0) *out += fmt::format("    without a usable key: {}\n", op.key_missing);
    if (op.key_members_capped > 0)
      *out += fmt::format("    keys capped: {}\n", op.key_members_capped);
    if (op.fields_cut > 0) *out += fmt::format("    values cut: {}\n", op.fields_cut);
    for (const auto& [name, n] : op.named) *out += fmt::format("    {}: {}\n", name, n);
  }
}

double CpuSeconds(uint64_t cpu_ns) { return static_cast<double>(cpu_ns) / 1e9; }

// Rules in a table for people: the noisiest, as many as a screen holds.
constexpr size_t kRulesShown = 40;
constexpr size_t kDearRulesShown = 10;

std::string LastFired(EventTimeNs time) { return time == kMinEventTime ? "" : Rfc3339(time); }

// One rule or operator, as tables and JSON show it.
struct RuleRow {
  std::string name;
  std::string title;
  std::string kind;
  RuleCounters counted;
  bool mute = false;  // its incidents are no alerts
};

// Detections and filters, then correlations and operators. Those that did nothing may still cost.
std::vector<RuleRow> AllRows(const RunReport& report) {
  std::vector<RuleRow> rows;
  const RunCounters& counters = report.totals.counters;
  if (report.config->rules != nullptr) {
    for (size_t i = 0; i < counters.rules.size(); ++i) {
      const sigma::RuleEntry& entry = report.config->rules->entries[i];
      if (entry.rule.kind() == sigma::RuleKind::kCorrelation) continue;  // it is an operator, too
      rows.push_back({sigma::RuleName(entry), entry.rule.metadata.title,
                      std::string(sigma::RuleKindName(entry.rule.kind())), counters.rules[i],
                      entry.mute});
    }
  }
  for (size_t i = 0; i < counters.operators.size(); ++i) {
    const RuleInfo& info = report.config->operators[i]->rule();
    const OperatorCounters& op = counters.operators[i];
    RuleRow row;
    row.name = info.name;
    row.title = info.title;
    row.kind = info.metadata != nullptr ? "correlation" : "operator";
    row.mute = !report.config->operators[i]->emits_alerts();
    for (const uint64_t selected : op.selected) row.counted.matches += selected;
    row.counted.incidents = op.created;
    row.counted.fields_cut = op.fields_cut;
    if (const auto cut = op.named.find("alerts_cut"); cut != op.named.end())
      row.counted.alerts_cut = cut->second;
    row.counted.last_fired = op.last_fired;
    row.counted.cpu_ns = op.cpu_ns;
    rows.push_back(std::move(row));
  }
  return rows;
}

// What did something, the noisiest first.
std::vector<RuleRow> ActiveRows(const RunReport& report) {
  std::vector<RuleRow> rows = AllRows(report);
  std::erase_if(rows, [](const RuleRow& row) {
    return row.counted.matches == 0 && row.counted.filtered == 0;
  });
  std::stable_sort(rows.begin(), rows.end(), [](const RuleRow& a, const RuleRow& b) {
    return a.counted.matches > b.counted.matches;
  });
  return rows;
}

// What cost most, whether it found anything or not.
std::vector<RuleRow> DearestRows(const RunReport& report) {
  std::vector<RuleRow> rows = AllRows(report);
  std::erase_if(rows, [](const RuleRow& row) { return row.counted.cpu_ns == 0; });
  std::stable_sort(rows.begin(), rows.end(), [](const RuleRow& a, const RuleRow& b) {
    return a.counted.cpu_ns > b.counted.cpu_ns;
  });
  if (rows.size() > kDearRulesShown) rows.resize(kDearRulesShown);
  return rows;
}

void CostTable(const std::vector<RuleRow>& rows, std::string* out) {
  if (rows.empty()) return;
  *out += fmt::format("{:<70} {:>14} {:>32}\n", "dearest rules", "CPU s if alone", "last fired");
  for (const RuleRow& row : rows)
    *out += fmt::format("{:<70.70} {:>14.3f} {:>32}\n", row.title, CpuSeconds(row.counted.cpu_ns),
                        LastFired(row.counted.last_fired));
}

void RuleTable(const RunReport& report, std::string* out) {
  const std::vector<RuleRow> rows = ActiveRows(report);
  if (report.config->rules != nullptr)
    *out += fmt::format("\n{}\n", report.config->rules->Summary());
  if (report.config->rules != nullptr && !rows.empty()) {
    *out += fmt::format("{:<70} {:>10} {:>10} {:>10}\n", "rule", "matches", "alerts", "filtered");
    for (size_t i = 0; i < rows.size() && i < kRulesShown; ++i) {
      const RuleCounters& counted = rows[i].counted;
      *out += fmt::format("{:<70.70} {:>10} {:>10} {:>10}\n", rows[i].title, counted.matches,
                          rows[i].mute ? 0 : counted.incidents, counted.filtered);
      if (counted.fields_cut > 0) *out += fmt::format("    values cut: {}\n", counted.fields_cut);
      if (counted.alerts_cut > 0) *out += fmt::format("    alerts cut: {}\n", counted.alerts_cut);
    }
    if (rows.size() > kRulesShown)
      *out += fmt::format("and {} more rules\n", rows.size() - kRulesShown);
  }
  CostTable(DearestRows(report), out);
}

OrderedJson RowJson(const RuleRow& row) {
  return {{"rule", row.name},
          {"title", row.title},
          {"kind", row.kind},
          {"matches", row.counted.matches},
          {"incidents", row.counted.incidents},
          {"alerts", !row.mute},
          {"filtered", row.counted.filtered},
          {"fields_cut", row.counted.fields_cut},
          {"alerts_cut", row.counted.alerts_cut},
          {"last_fired", LastFired(row.counted.last_fired)},
          {"cpu_seconds", CpuSeconds(row.counted.cpu_ns)}};
}

OrderedJson RulesJson(const RunReport& report) {
  const sigma::RuleSet& rules = *report.config->rules;
  OrderedJson json;
  json["files"] = rules.files;
  json["detections"] = rules.Count(sigma::RuleKind::kDetection);
  json["correlations"] = rules.Count(sigma::RuleKind::kCorrelation);
  json["filters"] = rules.Count(sigma::RuleKind::kFilter);
  json["bound_nowhere"] = report.config->binding->unbound.size();
  json["left_out"] = OrderedJson::array();
  for (const sigma::SkippedRule& skipped : rules.skipped) {
    json["left_out"].push_back({{"rule", skipped.label},
                                {"title", skipped.title},
                                {"file", skipped.where.file},
                                {"line", skipped.where.line},
                                {"why", skipped.why}});
  }
  json["active"] = OrderedJson::array();
  for (const RuleRow& row : ActiveRows(report)) json["active"].push_back(RowJson(row));
  json["dearest"] = OrderedJson::array();
  for (const RuleRow& row : DearestRows(report)) json["dearest"].push_back(RowJson(row));
  return json;
}

// The kernel's other figure, getrusage's, begins with the peak of the process that started this
// one.
int64_t PeakBytes(int64_t otherwise) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoll(line.c_str() + 6, nullptr, 10) * 1024;
  }
  return otherwise;
}

}  // namespace

Usage MeasureUsage(int64_t start_ns, const Clock& clock) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  Usage result;
  result.wall_s = static_cast<double>(clock.MonotonicNs() - start_ns) / 1e9;
  result.cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  result.rss_peak_bytes = PeakBytes(int64_t{usage.ru_maxrss} * 1024);  // Linux counts KiB
  return result;
}

std::string ReportText(const RunReport& report) {
  std::string out = fmt::format("bongsu: {}\n\n", report.outcome);
  SourceTable(report, &out);
  if (!report.config->operators.empty()) OperatorRows(report, &out);
  RuleTable(report, &out);
  const auto records = static_cast<double>(AllRecords(report));
  const Usage& usage = report.usage;
  out += fmt::format(
      "\n{:.2f} s wall, {:.2f} s CPU, {:.0f} events/s, {:.0f} events per CPU-second, {} peak "
      "memory\n",
      usage.wall_s, usage.cpu_s, records / std::max(usage.wall_s, 1e-9),
      records / std::max(usage.cpu_s, 1e-9), Bytes(static_cast<double>(usage.rss_peak_bytes)));
  const EngineTotals& totals = report.totals;
  out += fmt::format(
      "{} epochs, {} checkpoints, {} state entries put, {} written, {} expired unwritten, {} disk "
      "reads\n",
      totals.epochs, totals.checkpoints, totals.state.entries_put, totals.state.entries_frozen,
      totals.state.entries_expired_unwritten, totals.state.disk_seeks);
  if (totals.unsendable > 0)
    out += fmt::format("{} outputs were too large for their sink and went to the dead letters\n",
                       totals.unsendable);
  return out;
}

std::string ReportJson(const RunReport& report) {
  OrderedJson json;
  json["outcome"] = report.outcome;
  json["application"] = report.config->application;
  json["instance"] = report.config->instance;
  for (size_t i = 0; i < report.totals.counters.sources.size(); ++i) {
    const SourceCounters& source = report.totals.counters.sources[i];
    OrderedJson one;
    one["name"] = report.config->sources[i].name;
    one["records"] = source.records;
    one["bytes"] = source.bytes;
    one["events"] = source.events;
    one["dead_letters"] = OrderedJson::object();
    for (size_t reason = 0; reason < source.dead_letters.size(); ++reason) {
      if (source.dead_letters[reason] == 0) continue;
      one["dead_letters"][std::string(DecodeResultName(static_cast<DecodeResult>(reason)))] =
          source.dead_letters[reason];
    }
    one["future"] = source.future;
    one["late"] = source.late;
    one["repaired_utf8"] = source.repaired_utf8;
    one["fell_silent"] = source.fell_silent;
    one["lagged"] = source.lagged;
    one["array_items_capped"] = source.array_items_capped;
    json["sources"].push_back(std::move(one));
  }
  for (size_t i = 0; i < report.totals.counters.operators.size(); ++i) {
    const OperatorCounters& op = report.totals.counters.operators[i];
    OrderedJson one;
    one["name"] = report.config->operators[i]->rule().name;
    one["type"] = report.config->operators[i]->rule().type;
    const auto& inputs = report.config->operators[i]->inputs();
    for (size_t port = 0; port < inputs.size(); ++port)
      one["selected"][inputs[port].name] = op.selected[port];
    one["incidents"] = op.created;
    one["last_fired"] = LastFired(op.last_fired);
    one["cpu_seconds"] = CpuSeconds(op.cpu_ns);
    one["updates"] = op.updated;
    one["forwarded"] = op.forwarded;
    one["late"] = op.late;
    one["key_missing"] = op.key_missing;
    one["key_members_capped"] = op.key_members_capped;
    one["fields_cut"] = op.fields_cut;
    one["counters"] = op.named;
    json["operators"].push_back(std::move(one));
  }
  if (report.config->rules != nullptr) json["rules"] = RulesJson(report);
  const auto records = static_cast<double>(AllRecords(report));
  json["records"] = AllRecords(report);
  json["wall_seconds"] = report.usage.wall_s;
  json["cpu_seconds"] = report.usage.cpu_s;
  json["events_per_second"] = records / std::max(report.usage.wall_s, 1e-9);
  json["events_per_cpu_second"] = records / std::max(report.usage.cpu_s, 1e-9);
  json["memory"] = {{"peak_bytes", report.usage.rss_peak_bytes},
                    {"state_bytes", report.totals.state_memory_bytes},
                    {"block_cache_bytes", report.store_memory.block_cache},
                    {"write_buffer_bytes", report.store_memory.write_buffers},
                    {"table_reader_bytes", report.store_memory.table_readers}};
  json["state"] = {{"entries_put", report.totals.state.entries_put},
                   {"entries_written", report.totals.state.entries_frozen},
                   {"entries_expired_unwritten", report.totals.state.entries_expired_unwritten},
                   {"disk_seeks", report.totals.state.disk_seeks},
                   {"segments_evicted", report.totals.state.segments_evicted},
                   {"rows_written", report.store.rows_written},
                   {"bytes_written", report.store.bytes_written},
                   {"commit_seconds", static_cast<double>(report.store.commit_ns_total) / 1e9}};
  json["epochs"] = report.totals.epochs;
  json["epoch_commit_seconds"] = report.totals.commit_times.seconds;
  json["checkpoints"] = report.totals.checkpoints;
  json["unsendable"] = report.totals.unsendable;
  json["reader_waits"] = report.totals.reader_waits;
  json["output_backlog_bytes_peak"] = report.totals.output_backlog_bytes_peak;
  json["backfill_holds"] = report.totals.holds;
  json["recoveries"] = report.totals.recoveries;
  if (report.config->exchange == ExchangeMode::kKafka) {
    const Ownership::Counters& owned = report.totals.ownership;
    json["exchange"] = {{"rebalances", owned.rebalances},
                        {"shards_kept", owned.shards_kept},
                        {"shards_gained", owned.shards_gained},
                        {"shards_lost", owned.shards_lost},
                        {"pause_seconds_max", static_cast<double>(owned.pause_ns_max) / kSecondNs},
                        {"removed_inputs", report.totals.counters.removed_inputs}};
  }
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

absl::Status WriteReportFile(const std::string& path, const RunReport& report) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) {
    return absl::UnavailableError(
        fmt::format("cannot write the report {}: {}", path, std::strerror(errno)));
  }
  const std::string json = ReportJson(report);
  const bool written = std::fwrite(json.data(), 1, json.size(), file) == json.size();
  if (std::fclose(file) != 0 || !written) {
    return absl::UnavailableError(
        fmt::format("cannot write the report {}: {}", path, std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace bongsu
