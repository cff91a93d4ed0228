// The least that reading the sample logs from files can cost: a parse written by hand for exactly
// these records, simdjson on-demand, in the order in which the fields stand, and the same choice of
// records as the rules of deploy/samples/quickstart.yaml make. What whole_process.py measures
// bongsu against on files.
//
//   bare_parse FIREWALL.jsonl ENDPOINT.jsonl
//
// Prints how many records it read and chose. Exit status 1 when a file or record cannot be read. No
// time is converted, nothing is joined, kept or written, and a field that has moved stops it.
#include <simdjson.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace {

using simdjson::SUCCESS;
namespace ondemand = simdjson::ondemand;

constexpr size_t kBufferBytes = size_t{1} << 20;

bool Text(ondemand::object& object, std::string_view key, std::string_view* out) {
  return object.find_field(key).get_string().get(*out) == SUCCESS;
}

struct Totals {
  uint64_t records = 0;
  uint64_t chosen = 0;
  uint64_t bytes = 0;  // of the fields read: they must not be optimised away
};

bool Firewall(ondemand::object& object, Totals* totals) {
  std::string_view time, type, source, destination;
  if (!Text(object, "timestamp", &time)) return false;
  uint64_t flow = 0;
  if (object.find_field("flow_id").get_uint64().get(flow) != SUCCESS) return false;
  if (!Text(object, "event_type", &type) || !Text(object, "src_ip", &source) ||
      !Text(object, "dest_ip", &destination))
    return false;
  totals->bytes += time.size() + source.size() + destination.size() + (flow & 1);
  if (type == "flow") {  // its time is when it began
    ondemand::object inner;
    if (object.find_field("flow").get_object().get(inner) != SUCCESS) return false;
    if (!Text(inner, "start", &time)) return false;
    totals->bytes += time.size();
  } else if (type == "alert") {
    ondemand::object inner;
    std::string_view signature, category;
    if (object.find_field("alert").get_object().get(inner) != SUCCESS) return false;
    if (!Text(inner, "signature", &signature) || !Text(inner, "category", &category)) return false;
    totals->chosen += category == "Attempted Administrator Privilege Gain" ||
                      category == "Malware Command and Control Activity Detected" ||
                      signature.find("LATERAL") != std::string_view::npos;
  }
  return true;
}

bool Endpoint(ondemand::object& object, Totals* totals) {
  std::string_view host, ip, time, channel, image, command, parent;
  uint64_t id = 0;
  uint64_t record = 0;
  if (!Text(object, "Hostname", &host) || !Text(object, "host_ip", &ip) ||
      object.find_field("EventID").get_uint64().get(id) != SUCCESS ||
      object.find_field("RecordNumber").get_uint64().get(record) != SUCCESS ||
      !Text(object, "UtcTime", &time) || !Text(object, "Channel", &channel))
    return false;
  totals->bytes += host.size() + ip.size() + time.size() + channel.size() + (record & 1);
  if (id != 1) return true;
  if (!Text(object, "Image", &image) || !Text(object, "CommandLine", &command) ||
      !Text(object, "ParentImage", &parent))
    return false;
  totals->bytes += command.size();
  const bool shell = image.ends_with("\\cmd.exe") || image.ends_with("\\powershell.exe");
  const bool by = parent.ends_with("\\w3wp.exe") || parent.ends_with("\\httpd.exe") ||
                  parent.ends_with("\\services.exe") || parent.ends_with("\\WmiPrvSE.exe");
  totals->chosen += (shell && by) || image.find("\\AppData\\Local\\Temp\\") != image.npos;
  return true;
}

bool ParseLine(ondemand::parser& parser, const char* line, size_t size, bool firewall,
               Totals* totals) {
  ondemand::document document;
  ondemand::object object;
  ++totals->records;
  return parser.iterate(line, size, size + simdjson::SIMDJSON_PADDING).get(document) == SUCCESS &&
         document.get_object().get(object) == SUCCESS &&
         (firewall ? Firewall(object, totals) : Endpoint(object, totals));
}

bool ParseFile(const char* path, bool firewall, Totals* totals) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return false;
  ondemand::parser parser;
  std::string buffer(kBufferBytes + simdjson::SIMDJSON_PADDING, '\0');
  size_t kept = 0;
  bool ok = true;
  while (ok) {
    const size_t got = std::fread(buffer.data() + kept, 1, kBufferBytes - kept, file);
    if (got == 0) break;
    const size_t end = kept + got;
    size_t at = 0;
    while (ok) {
      const void* newline = std::memchr(buffer.data() + at, '\n', end - at);
      if (newline == nullptr) break;
      const size_t size = static_cast<const char*>(newline) - (buffer.data() + at);
      ok = ParseLine(parser, buffer.data() + at, size, firewall, totals);
      at += size + 1;
    }
    kept = end - at;
    std::memmove(buffer.data(), buffer.data() + at, kept);
  }
  std::fclose(file);
  return ok && kept == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "bare_parse FIREWALL.jsonl ENDPOINT.jsonl\n");
    return 2;
  }
  Totals totals;
  for (int i = 1; i < 3; ++i) {
    if (ParseFile(argv[i], i == 1, &totals)) continue;
    std::fprintf(stderr, "bare_parse: cannot read %s, record %llu\n", argv[i],
                 static_cast<unsigned long long>(totals.records));
    return 1;
  }
  std::printf("%llu records, %llu chosen, %llu bytes of fields\n",
              static_cast<unsigned long long>(totals.records),
              static_cast<unsigned long long>(totals.chosen),
              static_cast<unsigned long long>(totals.bytes));
  return 0;
}
