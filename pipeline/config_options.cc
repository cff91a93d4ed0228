#include "pipeline/config_options.h"

#include "state/check.h"

namespace bongsu {
namespace {

OptionSection Top() {  // NOLINT(readability-function-size): a table
  return {
      "",
      "",
      {
          {.path = "application",
           .required = true,
           .example = "soc-prod",
           .doc = "The consumer group, the beginning of default topic names, and the owner of "
                  "the state."},
          {.path = "instance",
           .example = "${HOSTNAME}",
           .doc = "This process's name within the application: the static group member and "
                  "part of the client id. "
                  "Default: the host's name."},
          {.path = "kafka",
           .type = OptionType::kStringMap,
           .example = "{bootstrap.servers: kafka-1:9092}",
           .doc = "librdkafka's properties as they stand (brokers, TLS, SASL, tuning). A value "
                  "may be {file: path}: the "
                  "file's content, without the newline at its end."},
          {.path = "sources",
           .type = OptionType::kMapList,
           .required = true,
           .example = "[{name: firewall, ...}]",
           .doc = "The streams of logs."},
          {.path = "rules",
           .type = OptionType::kStringList,
           .example = "[rules/]",
           .doc = "Sigma rules: files and folders (*.yml and *.yaml, recursively), relative to "
                  "the configuration's folder. Detections, correlations and filters."},
          {.path = "rules_topic",
           .example = "soc.rules",
           .doc = "A compacted Kafka topic of one partition with rules, beside or in place of "
                  "files: key: the rule's path or id, value: YAML as in a file, no value: "
                  "deleted. Read to its end before the first event; later changes are a reload "
                  "(deploy/OPERATIONS.md)."},
          {.path = "rules_strict",
           .type = OptionType::kBool,
           .default_text = "false",
           .example = "true",
           .doc = "A rule that cannot be loaded is an error. Otherwise it is left out, with a "
                  "warning. With exchange: kafka and a rules_topic always true: what one instance "
                  "leaves out, all would have to."},
          {.path = "rules_skip_status",
           .type = OptionType::kStringList,
           .default_text = "[deprecated, unsupported]",
           .example = "[deprecated, unsupported, experimental]",
           .doc = "Rules with one of these statuses are left out."},
          {.path = "placeholders",
           .type = OptionType::kStringMap,
           .example = "{Administrators: [adm_*, root]}",
           .doc = "What %name% stands for in rule items with the modifier expand: a text or a "
                  "list. A rule with a placeholder that is not here is left out."},
          {.path = "filter_condition",
           .type = OptionType::kEnum,
           .default_text = "keep",
           .choices = {"keep", "exclude"},
           .example = "exclude",
           .doc = "What the condition of a Sigma filter means. keep: an alert needs it to hold, "
                  "too, so that authors write 'not selection' (as pySigma has it). exclude: an "
                  "alert needs it not to hold (as the specification's example has it). A filter "
                  "may say it itself, under its filter: key: bongsu: {condition_means: exclude}."},
          {.path = "operators",
           .type = OptionType::kMapList,
           .example = "[{name: inbound-then-shell, type: interval_join, ...}]",
           .doc = "Correlations that Sigma has no word for."},
          {.path = "sinks",
           .type = OptionType::kMap,
           .required = true,
           .example = "{alerts: {topic: soc.alerts}}",
           .doc = "Where alerts, late events and dead letters go."},
          {.path = "state",
           .type = OptionType::kMap,
           .example = "{path: /var/lib/bongsu, memory: 1GiB}",
           .doc = "The operators' state."},
          {.path = "delivery",
           .type = OptionType::kEnum,
           .choices = {"at_least_once", "exactly_once"},
           .example = "at_least_once",
           .doc =
               "exactly_once needs Kafka on all sides, or files on all sides, and is the default "
               "there: a crash neither loses nor repeats an alert (readers of Kafka use "
               "isolation.level=read_committed). A mixture must say at_least_once: after a "
               "crash alerts may come again, with the same ids, and none is lost."},
          {.path = "exchange",
           .type = OptionType::kEnum,
           .default_text = "in_process",
           .choices = {"in_process", "kafka"},
           .example = "in_process",
           .doc = "How events reach the shard of their key. in_process: one instance owns "
                  "everything, others wait. kafka: through the topic <application>.exchange, one "
                  "to many instances; needs Kafka on all sides."},
          {.path = "epoch",
           .type = OptionType::kDuration,
           .default_text = "250ms",
           .min = kMillisecondNs,
           .max = kMinuteNs,
           .example = "1s",
           .doc = "How often outputs are flushed."},
          {.path = "threads",
           .type = OptionType::kInt,
           .unit = "threads",
           .default_text = "0",
           .min = 0,
           .max = 256,
           .example = "4",
           .doc = "Worker threads; each decodes and owns shards. 0: one for each core."},
          {.path = "http",
           .type = OptionType::kMap,
           .example = "{listen: 127.0.0.1:9464}",
           .doc =
               "Metrics and health over HTTP (deploy/OPERATIONS.md). Without it there are none."},
          {.path = "logging",
           .type = OptionType::kMap,
           .example = "{format: json}",
           .doc = "The log on standard error."},
      }};
}

OptionSection Source() {
  return {
      "sources[]",
      "One stream of logs.",
      {
          {.path = "name",
           .required = true,
           .example = "firewall",
           .doc = "Unique; part of incident identities."},
          {.path = "topics",
           .type = OptionType::kStringList,
           .example = "[logs.firewall]",
           .doc = "Kafka topics; or files."},
          {.path = "files",
           .type = OptionType::kStringList,
           .example = "[\"fw/*.jsonl\"]",
           .doc = "Globs of JSON-lines files, plain, gzip or zstd; relative to the "
                  "configuration's folder. Each is read to its end once, not followed; until then "
                  "it keeps its name."},
          {.path = "format",
           .type = OptionType::kNameOrMap,
           .required = true,
           .example = "suricata-eve",
           .doc =
               "A format by name (suricata-eve, sysmon-nxlog, windows-event, winlogbeat, ecs, "
               "ocsf, zeek, sentinel), a map with time, fields, entities, raw and logsource (and "
               "base: a name to start from), or a file that holds such a map "
               "(./formats/own.yaml)."},
          {.path = "tenant",
           .example = "acme",
           .doc = "Put in front of every key, so that tenants never meet."},
          {.path = "validate",
           .type = OptionType::kEnum,
           .default_text = "read",
           .choices = {"read", "full"},
           .example = "full",
           .doc = "read: the values that are asked for and the record's structure are checked. "
                  "full: every value is."},
          {.path = "on_idle",
           .type = OptionType::kEnum,
           .default_text = "hold",
           .choices = {"hold", "wall_clock"},
           .example = "wall_clock",
           .doc = "When all partitions are quiet: hold the watermark, or let it follow the wall "
                  "clock up to now - live_bound, for a source that was live, and no further than "
                  "time.quiet_bound behind its newest event."},
          {.path = "until",
           .type = OptionType::kEnum,
           .default_text = "forever",
           .choices = {"forever", "end"},
           .example = "end",
           .doc = "Kafka only. end: stop at the end that the topics had at the start."},
          {.path = "record_bytes_max",
           .type = OptionType::kBytes,
           .default_text = "1MiB",
           .min = 1024,
           .max = int64_t{256} << 20,
           .example = "4MiB",
           .doc = "Larger records go to the dead letters."},
          {.path = "depth_max",
           .type = OptionType::kInt,
           .unit = "levels",
           .default_text = "64",
           .min = 1,
           .max = 1000,
           .example = "32",
           .doc = "Records nested deeper go to the dead letters."},
          {.path = "time",
           .type = OptionType::kMap,
           .example = "{out_of_orderness: 5s}",
           .doc = "Event time."},
      }};
}

OptionSection SourceTime() {
  return {
      "sources[].time",
      "Event time of a source.",
      {
          {.path = "out_of_orderness",
           .type = OptionType::kDuration,
           .default_text = "5s",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "30s",
           .doc = "How far a record may usually lie behind the newest of its partition: the "
                  "watermark is that much behind."},
          {.path = "allowed_lateness",
           .type = OptionType::kDuration,
           .default_text = "1m",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "10m",
           .doc = "How far behind the watermark an event still takes part; older ones go to the "
                  "late stream."},
          {.path = "max_future_skew",
           .type = OptionType::kDuration,
           .default_text = "10m",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "1h",
           .doc = "How far ahead of the wall clock an event's time may be; beyond it goes to the "
                  "late stream as future."},
          {.path = "idle_timeout",
           .type = OptionType::kDuration,
           .default_text = "30s",
           .min = kMillisecondNs,
           .max = 366 * kDayNs,
           .example = "10s",
           .doc = "A partition that was read to its end and is quiet for so long no longer holds "
                  "the watermark back."},
          {.path = "live_bound",
           .type = OptionType::kDuration,
           .default_text = "2m",
           .min = 0,
           .max = kDayNs,
           .example = "1m",
           .doc =
               "A source is live while its newest event is at most so far behind the wall clock. "
               "With on_idle: wall_clock, how far the watermark stays behind it."},
          {.path = "quiet_bound",
           .type = OptionType::kDuration,
           .default_text = "0s",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "8h",
           .doc = "With on_idle: wall_clock, how long the source may have nothing to say: the "
                  "watermark follows the wall clock so far beyond its newest event. What log "
                  "shipping that stood still delivers afterwards is late by as much; 0s: never."},
          {.path = "source_silent",
           .type = OptionType::kDuration,
           .default_text = "15m",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "1h",
           .doc = "A source of topics that was read to its end and has had no record for so long "
                  "raises one alert, source_silent. 0s: none."},
          {.path = "max_lag",
           .type = OptionType::kDuration,
           .default_text = "10m",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "6h",
           .doc = "How far a partition of a topic may be behind live sources that feed a common "
                  "operator. One that stays further behind for so long is waited for no longer: "
                  "its older events are late, and the alert source_lagging is raised. 0s: it is "
                  "waited for however long it takes."},
          {.path = "backfill_ahead",
           .type = OptionType::kDuration,
           .default_text = "10m",
           .min = 0,
           .max = 366 * kDayNs,
           .example = "1h",
           .doc = "While a backlog is read, how far a partition may be ahead of the slowest that "
                  "feeds a common operator: beyond it reading pauses, so that state does not pile "
                  "up. 0s: any."},
      }};
}

OptionSection SinksSection() {
  return {"sinks",
          "Where results go.",
          {
              {.path = "alerts",
               .type = OptionType::kMap,
               .required = true,
               .example = "{topic: soc.alerts, format: ocsf}",
               .doc = "Incidents (deploy/ALERTS.md)."},
              {.path = "late",
               .type = OptionType::kMap,
               .example = "{topic: soc.late}",
               .doc = "Events that came too late, or from the future. Default: beside the alerts "
                      "(<application>.late, or "
                      "<alerts>.late.jsonl)."},
              {.path = "dead_letter",
               .type = OptionType::kMap,
               .example = "{topic: soc.dead-letter}",
               .doc = "Records that could not be read. Default: beside the alerts "
                      "(<application>.dead-letter, or "
                      "<alerts>.dead-letter.jsonl)."},
          }};
}

OptionSection AlertsSink() {
  return {
      "sinks.alerts",
      "The alerts.",
      {
          {.path = "topic",
           .example = "soc.alerts",
           .doc = "A Kafka topic, keyed by incident id; or file."},
          {.path = "file",
           .example = "alerts.jsonl",
           .doc = "A file of JSON lines; relative to the configuration's folder."},
          {.path = "format",
           .type = OptionType::kEnum,
           .default_text = "ocsf",
           .choices = {"ocsf", "native"},
           .example = "native",
           .doc = "OCSF Detection Finding, or compact JSON for machines."},
          {.path = "fields",
           .type = OptionType::kStringList,
           .example = "[src_ip, Image]",
           .doc =
               "native only: the carried fields that alerts show. Default: all. Correlations carry "
               "these fields from their events: with other ones they are other rules, whose state "
               "and ids begin anew."},
      }};
}

OptionSection PlainSink(const char* path, const char* doc) {
  return {path,
          doc,
          {
              {.path = "topic", .example = "soc.late", .doc = "A Kafka topic; or file."},
              {.path = "file", .example = "late.jsonl", .doc = "A file of JSON lines."},
          }};
}

OptionSection State() {
  return {
      "state",
      "The operators' state.",
      {
          {.path = "path",
           .example = "/var/lib/bongsu",
           .doc = "A folder. Needed with Kafka; with files only, default: "
                  ".bongsu/<application> in the configuration's folder."},
          {.path = "memory",
           .type = OptionType::kBytes,
           .default_text = "1GiB",
           .min = int64_t{16} << 20,
           .max = int64_t{1} << 40,
           .example = "4GiB",
           .doc = "Memory for state: half for RocksDB, half for the maps in front of it."},
          {.path = "shards",
           .type = OptionType::kInt,
           .unit = "shards",
           .default_text = "16",
           .min = 1,
           .max = 4096,
           .example = "64",
           .doc = "Units of state ownership; fixed when the state is made."},
          {.path = "checkpoint_interval",
           .type = OptionType::kDuration,
           .default_text = "5s",
           .min = kMillisecondNs,
           .max = kHourNs,
           .example = "10s",
           .doc = "At most so long between two checkpoints: what a crash repeats."},
          {.path = "checkpoint_bytes",
           .type = OptionType::kBytes,
           .default_text = "64MiB",
           .min = int64_t{1} << 12,
           .max = int64_t{1} << 36,
           .example = "256MiB",
           .doc = "Changed state that brings a checkpoint before its time. With exactly_once, half "
                  "of it ends an epoch, and what a start after a crash reads back from the "
                  "changelog is about one and a half times as much at most."},
      }};
}

OptionSection Http() {
  return {"http",
          "Metrics and health: /metrics (Prometheus), /healthz and /readyz.",
          {
              {.path = "listen",
               .required = true,
               .example = "127.0.0.1:9464",
               .doc = "Where to listen: an address and a port, or a port alone for this machine "
                      "only. There is no password: let others reach it only behind something "
                      "that asks for one. Port 0: any free one, named in the log."},
          }};
}

OptionSection Logging() {
  return {"logging",
          "The log on standard error.",
          {
              {.path = "format",
               .type = OptionType::kEnum,
               .default_text = "text",
               .choices = {"text", "json"},
               .example = "json",
               .doc = "Text for people, or JSON lines."},
              {.path = "level",
               .type = OptionType::kEnum,
               .default_text = "info",
               .choices = {"debug", "info", "warning", "error"},
               .example = "warning",
               .doc = "The least important kind that is written."},
          }};
}

}  // namespace

const std::vector<OptionSection>& ConfigSections() {
  static const std::vector<OptionSection> sections = {
      Top(),
      Source(),
      SourceTime(),
      SinksSection(),
      AlertsSink(),
      PlainSink("sinks.late", "Late events."),
      PlainSink("sinks.dead_letter", "Dead letters."),
      State(),
      Http(),
      Logging()};
  return sections;
}

const std::vector<OptionDef>& ConfigOptions(std::string_view path) {
  for (const OptionSection& section : ConfigSections()) {
    if (section.path == path) return section.options;
  }
  BONGSU_CHECK_MSG(false, "no such section");
}

const std::vector<ReservedProperty>& ReservedKafkaProperties() {
  static const std::vector<ReservedProperty> reserved = {
      {"group.id", "it is `application`"},
      {"group.instance.id", "it is `instance`"},
      {"enable.auto.commit", "positions are committed with the state"},
      {"enable.auto.offset.store", "positions are committed with the state"},
      {"isolation.level", "read_committed: what was never committed is no log, and no offset"},
      {"enable.partition.eof", "the end of partitions is always watched"},
      {"partition.assignment.strategy", "range, with a static member"},
      {"enable.idempotence", "the producer is always idempotent"},
      {"transactional.id", "it is made of `application` and `instance`"},
  };
  return reserved;
}

}  // namespace bongsu
