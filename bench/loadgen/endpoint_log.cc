#include "bench/loadgen/endpoint_log.h"

#include <iterator>

namespace bongsu::loadgen {
namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;

// Fixed padding as a real collector adds it: the same in every record.
constexpr char kProvider[] =
    "\",\"ProviderGuid\":\"{00000000-5a5a-4c4c-b0b0-000000000001}\",\"host\":\"collector.corp."
    "example\",\"AccountType\":"
    "\"User\",\"Opcode\":\"Info\",\"SourceModuleType\":\"im_msvistalog\",\"SourceModuleName\":"
    "\"eventlog\","
    "\"AccountName\":\"SYSTEM\",\"Domain\":\"NT "
    "AUTHORITY\",\"@version\":\"1\",\"OpcodeValue\":0,\"Severity\":\"INFO\","
    "\"SeverityValue\":2,\"SourceName\":\"Microsoft-Windows-Sysmon\",\"Channel\":\"Microsoft-"
    "Windows-Sysmon/Operational\","
    "\"Keywords\":-9223372036854775808,\"UserID\":\"S-1-5-18\",\"EventType\":\"INFO\",\"port\":"
    "64545,\"RuleName\":\"-\","
    "\"tags\":[\"generated\"]";

constexpr std::string_view kImages[] = {
    R"(C:\\Windows\\System32\\svchost.exe)",
    R"(C:\\Program Files\\Example Office\\office.exe)",
    R"(C:\\Program Files\\Example Browser\\browser.exe)",
    R"(C:\\Windows\\explorer.exe)",
    R"(C:\\Program Files\\Example Agent\\agent.exe)",
    R"(C:\\Windows\\System32\\SearchIndexer.exe)",
    R"(C:\\Program Files\\Example Mail\\mail.exe)",
    R"(C:\\Windows\\System32\\lsass.exe)",
};

constexpr std::string_view kTrace =
    R"(C:\\Windows\\SYSTEM32\\ntdll.dll+9c534|C:\\Windows\\System32\\KERNELBASE.dll+2730e|)"
    R"(C:\\Program Files\\Example )"
    R"(Agent\\sensor.dll+1a172|C:\\Program Files\\Example Agent\\sensor.dll+19e3b|)"
    R"(C:\\Windows\\SYSTEM32\\ntdll.dll+3081d|)"
    R"(C:\\Windows\\SYSTEM32\\ntdll.dll+345b4|C:\\Windows\\System32\\KERNEL32.DLL+17bd4|)"
    R"(C:\\Windows\\SYSTEM32\\ntdll.dll+6ce51)";

}  // namespace

// A web server that starts a shell.
const ProgramStart kShellStarts[4] = {
    {R"(C:\\Windows\\System32\\cmd.exe)", R"(cmd.exe /c whoami /all)",
     R"(C:\\Windows\\System32\\inetsrv\\w3wp.exe)", "Cmd.Exe", "Windows Command Processor"},
    {R"(C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe)",
     R"(powershell.exe -nop -w hidden -c \"Get-ChildItem C:\\inetpub\")",
     R"(C:\\Windows\\System32\\inetsrv\\w3wp.exe)", "PowerShell.EXE", "Windows PowerShell"},
    {R"(C:\\Windows\\System32\\cmd.exe)", R"(cmd.exe /c net user)",
     R"(C:\\Program Files\\Example App\\httpd.exe)", "Cmd.Exe", "Windows Command Processor"},
    {R"(C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe)",
     R"(powershell.exe -nop -c hostname)", R"(C:\\Program Files\\Example App\\httpd.exe)",
     "PowerShell.EXE", "Windows PowerShell"},
};
// A shell started from afar: by the service manager, or by WMI.
const ProgramStart kRemoteStarts[4] = {
    {R"(C:\\Windows\\System32\\cmd.exe)",
     R"(C:\\Windows\\System32\\cmd.exe /C start /b update.cmd)",
     R"(C:\\Windows\\System32\\services.exe)", "Cmd.Exe", "Windows Command Processor"},
    {R"(C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe)",
     R"(powershell -noP -sta -w 1 -enc ZQBjAGgAbwA=)",
     R"(C:\\Windows\\System32\\wbem\\WmiPrvSE.exe)", "PowerShell.EXE", "Windows PowerShell"},
    {R"(C:\\Windows\\System32\\cmd.exe)", R"(cmd.exe /Q /c cd \\ 1> out.txt)",
     R"(C:\\Windows\\System32\\wbem\\WmiPrvSE.exe)", "Cmd.Exe", "Windows Command Processor"},
    {R"(C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe)",
     R"(powershell -enc dwBoAG8AYQBtAGkA)", R"(C:\\Windows\\System32\\services.exe)",
     "PowerShell.EXE", "Windows PowerShell"},
};
// A program that runs from a folder for temporary files.
const ProgramStart kDropperStarts[3] = {
    {R"(C:\\Users\\Public\\AppData\\Local\\Temp\\invoice_viewer.exe)",
     R"(\"invoice_viewer.exe\" --quiet)", R"(C:\\Windows\\explorer.exe)", "-", "-"},
    {R"(C:\\Users\\Public\\AppData\\Local\\Temp\\upd7f3a.exe)", R"(upd7f3a.exe /s)",
     R"(C:\\Program Files\\Example Mail\\mail.exe)", "-", "-"},
    {R"(C:\\Users\\Public\\AppData\\Local\\Temp\\helper.exe)", R"(helper.exe -k 1)",
     R"(C:\\Program Files\\Example Browser\\browser.exe)", "-", "-"},
};
const ProgramStart kNoiseStarts[12] = {
    {kImages[1], R"(\"office.exe\" /n \"report.docx\")", kImages[3], "OFFICE.EXE",
     "Example Office"},
    {kImages[2], R"(\"browser.exe\" --type=renderer)", kImages[2], "browser.exe",
     "Example Browser"},
    {kImages[6], R"(\"mail.exe\")", kImages[3], "mail.exe", "Example Mail"},
    {R"(C:\\Windows\\System32\\taskhostw.exe)", R"(taskhostw.exe KEYROAMING)", kImages[0],
     "taskhostw.exe", "Host Process for Windows Tasks"},
    {R"(C:\\Windows\\System32\\conhost.exe)",
     R"(\\??\\C:\\Windows\\system32\\conhost.exe 0xffffffff -ForceV1)", kImages[4], "CONHOST.EXE",
     "Console Window Host"},
    {R"(C:\\Windows\\System32\\cmd.exe)", R"(cmd.exe /c backup.cmd)", kImages[3], "Cmd.Exe",
     "Windows Command Processor"},
    {R"(C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe)",
     R"(powershell.exe -File inventory.ps1)", kImages[4], "PowerShell.EXE", "Windows PowerShell"},
    {kImages[0], R"(C:\\Windows\\system32\\svchost.exe -k netsvcs -p)",
     R"(C:\\Windows\\System32\\services.exe)", "svchost.exe", "Host Process for Windows Services"},
    {R"(C:\\Windows\\System32\\wbem\\WmiPrvSE.exe)",
     R"(C:\\Windows\\system32\\wbem\\wmiprvse.exe -secured -Embedding)", kImages[0], "Wmiprvse.exe",
     "WMI Provider Host"},
    {R"(C:\\Windows\\System32\\ipconfig.exe)", R"(ipconfig /all)",
     R"(C:\\Windows\\System32\\cmd.exe)", "ipconfig.exe", "IP Configuration Utility"},
    {kImages[4], R"(\"agent.exe\" --check-in)", R"(C:\\Windows\\System32\\services.exe)",
     "agent.exe", "Example Agent"},
    {R"(C:\\Windows\\System32\\dllhost.exe)",
     R"(C:\\Windows\\system32\\DllHost.exe /Processid:{00000000-0000})", kImages[0], "dllhost.exe",
     "COM Surrogate"},
};

uint64_t EndpointLog::Head(HostId host, int event_id, std::string_view category, int64_t time_ns,
                           Line& line) {
  const uint64_t record = network_.NextRecord(host);
  line.Lit("{\"EventTime\":\"").Time(time_ns - 5 * kHourNs, ' ', 0).Lit("\",\"Hostname\":\"");
  Network::AppendName(host, line);
  line.Lit("\",\"host_ip\":\"")
      .Ip(Network::Ip(host))
      .Lit("\",\"EventID\":")
      .Number(static_cast<uint64_t>(event_id));
  line.Lit(",\"Task\":")
      .Number(static_cast<uint64_t>(event_id))
      .Lit(",\"Version\":5,\"RecordNumber\":")
      .Number(record);
  line.Lit(",\"UtcTime\":\"")
      .Time(time_ns, ' ', 3)
      .Lit("\",\"@timestamp\":\"")
      .Time(time_ns + 1'200'000'000, 'T', 3);
  line.Lit("Z\",\"EventReceivedTime\":\"").Time(time_ns - 5 * kHourNs + 1'200'000'000, ' ', 0);
  line.Lit("\",\"Category\":\"").Text(category).Text({kProvider, sizeof(kProvider) - 1});
  line.Lit(",\"ExecutionProcessID\":")
      .Number(1000 + host % 4000)
      .Lit(",\"ThreadID\":")
      .Number(2000 + (record & 4095));
  return record;
}

void EndpointLog::Guid(HostId host, Line& line) {
  const uint64_t r = random_.Next();
  line.Lit("{5a5a")
      .Hex(host, 4)
      .Lit("-")
      .Hex(r, 4)
      .Lit("-")
      .Hex(r >> 16, 4)
      .Lit("-")
      .Hex(r >> 32, 4)
      .Lit("-");
  line.Hex(r >> 20, 12).Lit("}");
}

void EndpointLog::Hashes(std::string_view image, Line& line) {
  const uint64_t seed = image.size() * 0x9e3779b97f4a7c15u;
  const auto part = [seed](uint64_t n) { return seed * (2 * n + 31); };
  line.Lit(",\"Hashes\":\"SHA1=").Hex(part(1), 16).Hex(part(2), 16).Hex(part(3), 8);
  line.Lit(",MD5=").Hex(part(4), 16).Hex(part(5), 16);
  line.Lit(",SHA256=").Hex(part(6), 16).Hex(part(7), 16).Hex(part(8), 16).Hex(part(9), 16);
  line.Lit(",IMPHASH=").Hex(part(10), 16).Hex(part(11), 16).Lit("\"");
}

void EndpointLog::User(HostId host, Line& line) {
  line.Lit("CORP\\\\");
  Network::AppendUser(host, line);
}

void EndpointLog::Tail(HostId host, int event_id, std::string_view category, std::string_view image,
                       int64_t time_ns, uint64_t record, Line& line) {
  line.Lit(",\"ProcessId\":\"")
      .Number(1000 + (record * 4 & 0xffff))
      .Lit("\",\"Message\":\"")
      .Text(category);
  line.Lit(":\\r\\nRuleName: -\\r\\nUtcTime: ").Time(time_ns, ' ', 3).Lit("\\r\\nProcessId: ");
  line.Number(1000 + (record * 4 & 0xffff)).Lit("\\r\\nImage: ").Text(image).Lit("\\r\\nUser: ");
  User(host, line);
  line.Lit("\\r\\nComputer: ");
  Network::AppendName(host, line);
  line.Lit("\\r\\nDetails: event ").Number(static_cast<uint64_t>(event_id));
  line.Lit(
          " of the monitoring driver, forwarded by the collector of the site; see the runbook of "
          "the operations team for "
          "its fields.\\r\\nRecord: ")
      .Number(record)
      .Lit("\"}");
}

uint64_t EndpointLog::Start(HostId host, const ProgramStart& program, int64_t time_ns, Line& line) {
  constexpr std::string_view kCategory = "Process Create (rule: ProcessCreate)";
  const uint64_t record = Head(host, 1, kCategory, time_ns, line);
  line.Lit(",\"ProcessGuid\":\"");
  Guid(host, line);
  line.Lit("\",\"Image\":\"")
      .Text(program.image)
      .Lit("\",\"CommandLine\":\"")
      .Text(program.command_line);
  line.Lit("\",\"ParentImage\":\"").Text(program.parent_image).Lit("\",\"ParentCommandLine\":\"");
  line.Text(program.parent_image).Lit("\",\"ParentProcessId\":\"").Number(600 + (record & 1023));
  line.Lit("\",\"ParentProcessGuid\":\"");
  Guid(host, line);
  line.Lit("\",\"OriginalFileName\":\"")
      .Text(program.original_name)
      .Lit("\",\"Description\":\"")
      .Text(program.description);
  line.Lit(
      "\",\"Product\":\"Example\",\"Company\":\"Example "
      "Company\",\"FileVersion\":\"10.0.1\",\"CurrentDirectory\":"
      "\"C:\\\\Windows\\\\system32\\\\\",\"IntegrityLevel\":\"Medium\",\"TerminalSessionId\":\"1\","
      "\"LogonId\":\"0x");
  line.Hex(host * 2654435761u, 6).Lit("\",\"User\":\"");
  User(host, line);
  line.Lit("\"");
  Hashes(program.image, line);
  Tail(host, 1, kCategory, program.image, time_ns, record, line);
  return record;
}

uint64_t EndpointLog::Connect(HostId host, std::string_view image, const Connection& c,
                              int64_t time_ns, Line& line) {
  constexpr std::string_view kCategory = "Network connection detected (rule: NetworkConnect)";
  const uint64_t record = Head(host, 3, kCategory, time_ns, line);
  line.Lit(",\"ProcessGuid\":\"");
  Guid(host, line);
  line.Lit("\",\"Image\":\"").Text(image).Lit("\",\"Protocol\":\"tcp\",\"Initiated\":\"");
  if (c.src_ip == Network::Ip(host)) {
    line.Lit("true");
  } else {
    line.Lit("false");
  }
  line.Lit("\",\"SourceIsIpv6\":\"false\",\"SourceIp\":\"")
      .Ip(c.src_ip)
      .Lit("\",\"SourcePort\":\"")
      .Number(c.src_port);
  line.Lit(
      "\",\"SourceHostname\":\"-\",\"SourcePortName\":\"-\",\"DestinationIsIpv6\":\"false\","
      "\"DestinationIp\":\"");
  line.Ip(c.dst_ip).Lit("\",\"DestinationPort\":\"").Number(c.dst_port);
  line.Lit("\",\"DestinationHostname\":\"-\",\"DestinationPortName\":\"-\",\"User\":\"");
  User(host, line);
  line.Lit("\"");
  Tail(host, 3, kCategory, image, time_ns, record, line);
  return record;
}

void EndpointLog::Noise(HostId host, uint32_t peer, int64_t time_ns, Line& line) {
  const uint64_t kind = random_.Below(100);
  const std::string_view image = kImages[random_.Below(std::size(kImages))];
  if (kind < 15) {
    Start(host, kNoiseStarts[random_.Below(std::size(kNoiseStarts))], time_ns, line);
    return;
  }
  if (kind < 40) {
    const Connection connection{Network::Ip(host),
                                static_cast<uint16_t>(49152 + random_.Below(16000)), peer, 443};
    Connect(host, image, connection, time_ns, line);
    return;
  }
  struct Kind {
    int event_id;
    std::string_view category;
  };
  constexpr Kind kKinds[] = {{7, "Image loaded (rule: ImageLoad)"},
                             {10, "Process accessed (rule: ProcessAccess)"},
                             {11, "File created (rule: FileCreate)"},
                             {13, "Registry value set (rule: RegistryEvent)"}};
  const Kind& other = kKinds[kind < 60 ? 0 : kind < 75 ? 1 : kind < 88 ? 2 : 3];
  const uint64_t record = Head(host, other.event_id, other.category, time_ns, line);
  line.Lit(",\"ProcessGuid\":\"");
  Guid(host, line);
  line.Lit("\",\"Image\":\"").Text(image).Lit("\"");
  const uint64_t r = random_.Below(100'000);
  switch (other.event_id) {
    case 7:
      line.Lit(",\"ImageLoaded\":\"C:\\\\Windows\\\\System32\\\\lib")
          .Number(r % 500)
          .Lit(
              ".dll\",\"Signed\":\"true\","
              "\"Signature\":\"Example Company\",\"SignatureStatus\":\"Valid\"");
      Hashes(image, line);
      break;
    case 10:
      line.Lit(",\"SourceImage\":\"")
          .Text(image)
          .Lit("\",\"TargetImage\":\"")
          .Text(kImages[r % std::size(kImages)]);
      line.Lit("\",\"GrantedAccess\":\"0x1000\",\"CallTrace\":\"").Text(kTrace).Lit("\"");
      break;
    case 11:
      line.Lit(",\"TargetFilename\":\"C:\\\\Users\\\\Public\\\\Documents\\\\file")
          .Number(r)
          .Lit(".tmp\"");
      break;
    default:
      line.Lit(",\"TargetObject\":\"HKLM\\\\System\\\\CurrentControlSet\\\\Services\\\\svc")
          .Number(r % 300);
      line.Lit("\\\\Start\",\"Details\":\"DWORD (0x00000002)\"");
  }
  line.Lit(",\"User\":\"");
  User(host, line);
  line.Lit("\"");
  Tail(host, other.event_id, other.category, image, time_ns, record, line);
}

}  // namespace bongsu::loadgen
