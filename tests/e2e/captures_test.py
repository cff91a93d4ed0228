"""On real captures: the correlations that the data's README names are found, with their records."""
import json
import os
import sys

from common import *

if "BONGSU_SHARED" not in os.environ:
    print("SKIPPED: BONGSU_SHARED is not set, so that the real captures are not here")
    sys.exit(77)
joined = os.path.join(os.environ["BONGSU_SHARED"], "data", "joined")
captures = os.path.join(joined, "shire-empire")
work = work_folder("captures")


def incidents(name, text):
    """All final incidents of one run; nothing may be late or unreadable."""
    folder = os.path.join(work, name)
    os.makedirs(folder)
    with open(os.path.join(folder, "c.yaml"), "w") as out:
        out.write(f"application: {name}\n{text}sinks: {{alerts: {{file: alerts.jsonl}}}}\n")
    report = os.path.join(folder, "report.json")
    print(run([BONGSU, "run", "-c", os.path.join(folder, "c.yaml"), "--report", report]))
    with open(report) as sources:
        for source in json.load(sources)["sources"]:
            need(not source["late"] and not source["dead_letters"] and not source["future"], f"not all was read: {source}")
    ocsf_valid(os.path.join(folder, "alerts.jsonl"))
    return list(alerts_of(os.path.join(folder, "alerts.jsonl")).values())


alerts = incidents("empire", f"""
sources:
  - name: ids
    files: ["{captures}/*/suricata_eve*.jsonl.zst"]
    format: suricata-eve
    time: {{out_of_orderness: 10m}}
  - name: host
    files: ["{captures}/*/host.jsonl.zst"]
    format: sysmon-nxlog
    time: {{out_of_orderness: 10m}}
operators:
  - name: callback
    type: interval_join
    left: {{source: ids, key: [src_ip, src_port, dest_ip, dest_port], detection: {{sel: {{event_type: flow}}, condition: sel}}}}
    right:
      source: host
      key: [SourceIp, SourcePort, DestinationIp, DestinationPort]
      detection: {{sel: {{EventID: 3, Image|endswith: '\\powershell.exe', Initiated: 'true'}}, condition: sel}}
      fields: [RecordNumber]
    within: {{before: 5s, after: 5s}}
  - name: remote-exec-then-callback
    type: interval_join
    left:
      source: ids
      key: dest_ip
      detection: {{sel: {{event_type: alert, alert.signature_id: [2027237, 2027167, 2026849, 2026850]}}, condition: sel}}
    right:
      source: host
      key: SourceIp
      detection: {{sel: {{EventID: 3, Image|endswith: '\\powershell.exe', DestinationIp|cidr: 10.10.10.0/24}}, condition: sel}}
      fields: [RecordNumber]
    within: {{before: 5s, after: 60s}}
  - name: remote-exec-then-shell
    type: interval_join
    left: {{source: remote-exec-then-callback, key: right.Hostname}}
    right:
      source: host
      key: Hostname
      detection:
        shell: {{EventID: 1, Image|endswith: ['\\powershell.exe', '\\cmd.exe']}}
        parent: {{ParentImage|endswith: ['\\services.exe', '\\WmiPrvSE.exe', '\\wsmprovhost.exe', '\\cmd.exe']}}
        condition: shell and parent
      fields: [RecordNumber]
    within: {{before: 60s, after: 60s}}
  - name: rpc-logon
    type: interval_join
    left: {{source: ids, key: [src_ip, src_port], detection: {{sel: {{event_type: flow, app_proto: dcerpc}}, condition: sel}}}}
    right: {{source: host, key: [IpAddress, IpPort], detection: {{sel: {{EventID: 4624}}, condition: sel}}, fields: [TargetLogonId, Hostname]}}
    within: {{before: 10s, after: 20s}}
  - name: dcsync
    type: interval_join
    left: {{source: rpc-logon, key: [right.Hostname, right.TargetLogonId]}}
    right:
      source: host
      key: [Hostname, SubjectLogonId]
      detection: {{sel: {{EventID: 4662, Properties|contains: ['1131f6aa', '1131f6ad']}}, condition: sel}}
      fields: [RecordNumber]
    within: {{before: 20s, after: 60s}}
""")
# One field of the Linux events is a whole XML document; the connection table knows which host has the address.
alerts += incidents("log4shell", f"""
sources:
  - {{name: ids, files: ["{joined}/log4shell-linux/suricata_eve.jsonl.zst"], format: suricata-eve, time: {{out_of_orderness: 10m}}}}
  - name: connections
    files: ["{joined}/log4shell-linux/vminsights_vmconnection.jsonl.zst"]
    format: {{time: [{{path: TimeGenerated, as: rfc3339}}]}}
    time: {{out_of_orderness: 10m}}
  - name: linux
    files: ["{joined}/log4shell-linux/syslog_sysmon.jsonl.zst"]
    format: {{time: [{{path: TimeGenerated, as: rfc3339}}]}}
    time: {{out_of_orderness: 10m}}
operators:
  - name: java-fetches
    type: interval_join
    left: {{source: ids, key: [src_ip, dest_ip, dest_port], detection: {{sel: {{event_type: flow, dest_port: [1389, 8888]}}, condition: sel}}}}
    right: {{source: connections, key: [SourceIp, DestinationIp, DestinationPort], detection: {{sel: {{ProcessName: java}}, condition: sel}}, fields: [Computer]}}
    within: {{before: 5m, after: 5m}}
  - name: java-fetches-then-shell
    type: interval_join
    left: {{source: java-fetches, key: right.Computer}}
    right:
      source: linux
      key: Computer
      detection: {{sel: {{SyslogMessage|contains|all: ['<EventID>1</EventID>', '/bash<', 'java']}}, condition: sel}}
    within: {{before: 5m, after: 5m}}
""")
# Local time on a twelve-hour clock without its half, and two kinds of events whose own time is days behind.
alerts += incidents("pandalab", f"""
sources:
  - name: zeek
    files: ["{joined}/pandalab-lsass/campaign_01/zeek.jsonl.zst"]
    format: {{time: [{{path: ts, as: epoch_s}}]}}
    time: {{out_of_orderness: 1h}}
  - name: host
    files: ["{joined}/pandalab-lsass/campaign_01/host.jsonl.zst"]
    format:
      base: sysmon-nxlog
      time:
        - {{path: '@timestamp', pattern: '%Y-%m-%dT%H:%M:%S%fZ', zone: '-19:00', when: {{EventID: 3}}}}
        - {{path: UtcTime, pattern: '%Y-%m-%d %H:%M:%S%f', zone: UTC, when: {{Channel: Microsoft-Windows-Sysmon/Operational}}}}
        - {{path: '@timestamp', pattern: '%Y-%m-%dT%H:%M:%S%fZ', zone: '-19:00'}}
    time: {{out_of_orderness: 1h}}
operators:
  - name: payload-calls
    type: interval_join
    left: {{source: zeek, key: [id.orig_h, id.orig_p, id.resp_h, id.resp_p], detection: {{sel: {{_path: conn}}, condition: sel}}, fields: [uid]}}
    right:
      source: host
      key: [SourceIp, SourcePort, DestinationIp, DestinationPort]
      detection: {{sel: {{EventID: 3, Image|endswith: '_payload.exe'}}, condition: sel}}
      fields: [Hostname, ProcessGuid]
    within: {{before: 30s, after: 30s}}
  - name: download
    type: interval_join
    left: {{source: zeek, key: id.orig_h, detection: {{sel: {{_path: files, mime_type: application/x-dosexec}}, condition: sel}}}}
    right: {{source: payload-calls, key: left.id.orig_h, fields: [right.Hostname]}}
    within: {{after: 5m}}
  - name: download-run-call
    type: interval_join
    left: {{source: download, key: right.right.Hostname, fields: [right.left.id.orig_h]}}
    right: {{source: host, key: Hostname, detection: {{sel: {{EventID: 1, Image|contains: '\\Downloads\\'}}, condition: sel}}, fields: [ProcessGuid]}}
    within: {{before: 5m, after: 5m}}
  - name: then-lsass
    type: interval_join
    left: {{source: download-run-call, key: left.right.right.Hostname}}
    right:
      source: host
      key: Hostname
      detection: {{sel: {{EventID: 10, TargetImage|endswith: '\\lsass.exe', SourceImage|contains: '\\Downloads\\'}}, condition: sel}}
      fields: [GrantedAccess]
    within: {{after: 5m}}
""")


def found(rule, time, record):
    """An incident of `rule` whose left event has this time and one of whose right events has this value in a field."""
    for alert in alerts:
        if alert["finding_info"]["analytic"]["name"] != rule:
            continue
        left, rights = alert["evidences"][0], alert["evidences"][1:]
        if time is not None and not left["data"]["time"].startswith(time):
            continue
        if any(record in right["data"]["fields"].values() for right in rights):
            return True
    return False


for name, rule, time, record in [
    ("1 PsExec: callback", "callback", "2020-09-20T16:17:01.658987", 2975543),
    ("1 PsExec: SVCCTL alert, then callback", "remote-exec-then-callback", "2020-09-20T16:16:56.572139", 2975543),
    ("1 PsExec: then cmd.exe under services.exe", "remote-exec-then-shell", None, 2974514),
    ("2 WMI: callback", "callback", "2020-09-21T04:14:56.068973", 3215683),
    ("2 WMI: alert, then callback", "remote-exec-then-callback", "2020-09-21T04:14:53.646385", 3215683),
    ("2 WMI: then powershell under WmiPrvSE.exe", "remote-exec-then-shell", None, 3215160),
    ("3 WinRM: callback", "callback", "2020-09-20T21:09:12.117366", 3093300),
    ("3 WinRM: alert, then callback", "remote-exec-then-callback", "2020-09-20T21:09:08.574201", 3093300),
    ("3 WinRM: then powershell under wsmprovhost.exe", "remote-exec-then-shell", None, 3092580),
    ("4 DCSync: the flow's logon", "rpc-logon", "2020-09-21T22:59:08.393382", "0x69099c7"),
    ("4 DCSync: replication under that logon", "dcsync", None, 1894180),
    ("5 Log4Shell: java asks LDAP", "java-fetches", "2022-05-11T18:10:21.782074", "UBUNTU5"),
    ("5 Log4Shell: then bash under java", "java-fetches-then-shell", None, "UBUNTU5"),
    ("6 payload: its connection", "payload-calls", "2023-08-16T04:54:34.550755", "192.168.1.41"),
    ("6 payload: downloaded, run, called back", "download-run-call", None, "{81056205-5686-64dc-3b04-000000000800}"),
    ("6 payload: then lsass.exe", "then-lsass", None, "0x1410"),
]:
    need(found(rule, time, record), f"not found: {name}")
    print("found:", name)
print("passed")
