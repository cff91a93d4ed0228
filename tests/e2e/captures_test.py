"""On real captures: the correlations that the data's README names are found, with their records."""
import json
import os
import sys

from common import *

if "BONGSU_SHARED" not in os.environ:
    print("SKIPPED: BONGSU_SHARED is not set, so that the real captures are not here")
    sys.exit(77)
captures = os.path.join(os.environ["BONGSU_SHARED"], "data", "joined", "shire-empire")
work = work_folder("captures")
config = os.path.join(work, "c.yaml")
with open(config, "w") as out:
    out.write(f"""
application: captures
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
sinks: {{alerts: {{file: alerts.jsonl}}}}
""")
print(run([BONGSU, "run", "-c", config]))
alerts = alerts_of(os.path.join(work, "alerts.jsonl"))
ocsf_valid(os.path.join(work, "alerts.jsonl"))


def found(rule, time, record):
    """An incident of `rule` whose left event has this time and whose evidence holds this RecordNumber."""
    for alert in alerts.values():
        if alert["finding_info"]["analytic"]["name"] != rule:
            continue
        left, rights = alert["evidences"][0], alert["evidences"][1:]
        if time is not None and not left["data"]["time"].startswith(time):
            continue
        if any(right["data"]["fields"].get("RecordNumber") == record for right in rights):
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
]:
    need(found(rule, time, record), f"not found: {name}")
    print("found:", name)
print("passed")
