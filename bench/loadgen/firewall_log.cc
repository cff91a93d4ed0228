#include "bench/loadgen/firewall_log.h"

namespace bongsu::loadgen {

// Texts made up in the manner of rule sets; numbers from the range for local rules.
const Signature kExploitSignatures[3] = {
    {9000001, "LAB EXPLOIT Web application command injection attempt",
     "Attempted Administrator Privilege Gain", 1},
    {9000002, "LAB EXPLOIT Deserialization of untrusted data in POST body",
     "Attempted Administrator Privilege Gain", 1},
    {9000003, "LAB EXPLOIT Template injection in request header",
     "Attempted Administrator Privilege Gain", 1},
};
const Signature kLateralSignatures[2] = {
    {9000101, "LAB LATERAL Remote service control manager access over SMB",
     "Suspicious Lateral Movement", 1},
    {9000102, "LAB LATERAL WMI remote process execution over DCERPC", "Suspicious Lateral Movement",
     1},
};
const Signature kC2Signatures[2] = {
    {9000201, "LAB MALWARE Beacon check-in to command and control server",
     "Malware Command and Control Activity Detected", 1},
    {9000202, "LAB MALWARE Encrypted tasking channel heartbeat",
     "Malware Command and Control Activity Detected", 1},
};
const Signature kNoiseSignatures[6] = {
    {9000901, "LAB POLICY Cleartext protocol on high port", "Potential Corporate Privacy Violation",
     3},
    {9000902, "LAB INFO Software update user agent", "Misc activity", 3},
    {9000903, "LAB SCAN Many connections to closed ports", "Attempted Information Leak", 2},
    {9000904, "LAB DNS Query for recently registered name", "Potentially Bad Traffic", 2},
    {9000905, "LAB TLS Certificate with unusual lifetime", "Not Suspicious Traffic", 3},
    {9000906, "LAB INFO Session traversal utilities for NAT", "Generic Protocol Command Decode", 3},
};

uint64_t FirewallLog::Head(const Connection& c, std::string_view type, std::string_view proto,
                           int64_t time_ns, Line& line) {
  // Looks like Suricata's hash of the flow, and is unique: the low 24 bits and more are a counter.
  const uint64_t flow_id = (random_.Next() >> 56) << 43 | (++flows_ & 0x7ffffffffffu);
  line.Lit("{\"timestamp\":\"").Time(time_ns, 'T', 6).Lit("+0000\",\"flow_id\":").Number(flow_id);
  line.Lit(",\"in_iface\":\"fw0\",\"event_type\":\"")
      .Text(type)
      .Lit("\",\"src_ip\":\"")
      .Ip(c.src_ip);
  line.Lit("\",\"src_port\":").Number(c.src_port).Lit(",\"dest_ip\":\"").Ip(c.dst_ip);
  line.Lit("\",\"dest_port\":")
      .Number(c.dst_port)
      .Lit(",\"proto\":\"")
      .Text(proto)
      .Lit("\",\"pkt_src\":\"wire/pcap\"");
  line.Lit(",\"community_id\":\"1:")
      .Hex(random_.Next(), 16)
      .Hex(flow_id * 0x9e3779b97f4a7c15u, 16)
      .Lit("\"");
  line.Lit(",\"host\":\"fw-edge-1.corp.example\",\"vlan\":[").Number(10 + c.dst_port % 90).Lit("]");
  return flow_id;
}

void FirewallLog::Flow(int64_t start_ns, int64_t end_ns, Line& line) {
  const uint64_t r = random_.Next();
  line.Lit(",\"flow\":{\"pkts_toserver\":")
      .Number(4 + (r & 63))
      .Lit(",\"pkts_toclient\":")
      .Number(3 + (r >> 8 & 63));
  line.Lit(",\"bytes_toserver\":").Number(300 + (r >> 16 & 0xffff)).Lit(",\"bytes_toclient\":");
  line.Number(400 + (r >> 32 & 0xfffff)).Lit(",\"start\":\"").Time(start_ns, 'T', 6);
  line.Lit("+0000\",\"end\":\"").Time(end_ns, 'T', 6).Lit("+0000\",\"age\":0,\"state\":\"closed\"");
  line.Lit(",\"reason\":\"shutdown\",\"alerted\":false}");
}

void FirewallLog::Traffic(const Connection& c, int64_t time_ns, Line& line) {
  const uint64_t kind = random_.Below(100);
  // A flow is logged when it ends, a fraction of a second after it began.
  const int64_t end_ns = time_ns + static_cast<int64_t>(random_.Below(400'000'000));
  if (kind < 55) {
    Head(c, "flow", "TCP", end_ns, line);
    line.Lit(",\"app_proto\":\"tls\"");
    Flow(time_ns, end_ns, line);
    line.Lit(
        ",\"tcp\":{\"tcp_flags\":\"1b\",\"tcp_flags_ts\":\"1b\",\"tcp_flags_tc\":\"1b\",\"syn\":"
        "true,\"fin\":true,"
        "\"psh\":true,\"ack\":true,\"state\":\"closed\",\"ts_max_regions\":1,\"tc_max_regions\":1}"
        "}");
  } else if (kind < 70) {
    Head(c, "dns", "UDP", time_ns, line);
    line.Lit(",\"dns\":{\"version\":2,\"type\":\"query\",\"id\":").Number(random_.Next() & 0xffff);
    line.Lit(",\"rrname\":\"app")
        .Number(random_.Below(400))
        .Lit(".svc.example\",\"rrtype\":\"A\",\"tx_id\":0,\"opcode\":0}");
    Flow(time_ns, time_ns, line);
    line.Lit("}");
  } else if (kind < 85) {
    Head(c, "http", "TCP", time_ns, line);
    line.Lit(",\"tx_id\":0,\"http\":{\"hostname\":\"intranet").Number(random_.Below(40));
    line.Lit(".corp.example\",\"url\":\"/items/")
        .Number(random_.Below(100000))
        .Lit(
            "?view=list\",\"http_user_agent\":"
            "\"Mozilla/5.0 (Windows NT 10.0; Win64; "
            "x64)\",\"http_content_type\":\"text/html\",\"http_method\":\"GET\","
            "\"protocol\":\"HTTP/1.1\",\"status\":200,\"length\":")
        .Number(random_.Below(60000))
        .Lit("}");
    Flow(time_ns, time_ns, line);
    line.Lit("}");
  } else {
    Head(c, "tls", "TCP", time_ns, line);
    line.Lit(",\"tls\":{\"subject\":\"CN=www")
        .Number(random_.Below(300))
        .Lit(
            ".example\",\"issuerdn\":\"C=XX, O=Example "
            "Trust, CN=Example CA\",\"serial\":\"")
        .Hex(random_.Next(), 16)
        .Lit("\",\"sni\":\"www");
    line.Number(random_.Below(300))
        .Lit(
            ".example\",\"version\":\"TLS 1.3\",\"notbefore\":\"2025-11-01T00:00:00\","
            "\"notafter\":\"2027-11-01T00:00:00\"}");
    Flow(time_ns, time_ns, line);
    line.Lit("}");
  }
}

uint64_t FirewallLog::Alert(const Connection& c, const Signature& signature, int64_t time_ns,
                            Line& line) {
  const uint64_t flow_id = Head(c, "alert", "TCP", time_ns, line);
  line.Lit(",\"alert\":{\"action\":\"allowed\",\"gid\":1,\"signature_id\":").Number(signature.id);
  line.Lit(",\"rev\":2,\"signature\":\"")
      .Text(signature.text)
      .Lit("\",\"category\":\"")
      .Text(signature.category);
  line.Lit("\",\"severity\":").Number(static_cast<uint64_t>(signature.severity));
  line.Lit(
      ",\"metadata\":{\"created_at\":[\"2025_10_01\"],\"updated_at\":[\"2025_12_01\"]}},"
      "\"direction\":\"to_server\"");
  Flow(time_ns, time_ns, line);
  line.Lit("}");
  return flow_id;
}

}  // namespace bongsu::loadgen
