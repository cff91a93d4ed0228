"""The built-in formats serve rules; the rule pack: every rule passes its own tests and has both kinds, and on the real captures (BONGSU_SHARED) the pack finds
the attacks that the data's README names."""
import os
import subprocess
import sys

from common import *

pack = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "deploy", "rules")
formats = os.path.join(os.path.dirname(os.path.abspath(__file__)), "format_rules")
print(run([BONGSU, "test", formats]))
tested = subprocess.run([BONGSU, "test", pack, "--complete"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(tested.stdout[-4000:])
need(tested.returncode == 0, "the pack's own tests failed")

work = work_folder("rules")
if "BONGSU_SHARED" not in os.environ:
    print("SKIPPED in part: BONGSU_SHARED is not set, so that the real captures are not here")
    sys.exit(0)
captures = os.path.join(os.environ["BONGSU_SHARED"], "data", "joined", "shire-empire")
config = os.path.join(work, "c.yaml")
with open(config, "w") as out:
    out.write(f"""
application: rules
sources:
  - name: firewall
    files: ["{captures}/*/suricata_eve*.jsonl.zst"]
    format: suricata-eve
    time: {{out_of_orderness: 10m}}
  - name: endpoint
    files: ["{captures}/*/host.jsonl.zst"]
    format: sysmon-nxlog
    time: {{out_of_orderness: 10m}}
rules: [{pack}]
sinks: {{alerts: {{file: alerts.jsonl, format: native}}}}
""")
print(run([BONGSU, "run", "-c", config]))
alerts = {}
with open(os.path.join(work, "alerts.jsonl")) as lines:
    for line in lines:
        alert = json.loads(line)
        alerts[alert["id"]] = alert


def found(name, key, first):
    """An incident of the rule whose key holds `key`, around the time `first` (a prefix)."""
    return any(alert["sigma"].get("title") == name and key.lower() in alert.get("key", "").lower() and
               (alert["first_time"].startswith(first) or any(e["time"].startswith(first) for e in alert["evidence"]))
               for alert in alerts.values())


for what, name, key, first in [
    ("1 PsExec: the call and its logon", "Remote execution on the wire, with a logon from the same host", "172.18.39.5",
     "2020-09-20T16:16:5"),
    ("1 PsExec: a service after the logon", "Service installed after a logon over the network", "WORKSTATION6",
     "2020-09-20T16:16:5"),
    ("1 PsExec: a shell after the logon", "Shell for another host after its logon", "WORKSTATION6", "2020-09-20T16:16:5"),
    ("1 PsExec: the callback in both logs", "Script host connects out, and the firewall lets it", "63854",
     "2020-09-20T16:17:01"),
    ("2 WMI: the call and its logon", "Remote execution on the wire, with a logon from the same host", "172.18.39.5",
     "2020-09-21T04:14:5"),
    ("2 WMI: the callback in both logs", "Script host connects out, and the firewall lets it", "55186", "2020-09-21T04:14:5"),
    ("3 WinRM: the callback in both logs", "Script host connects out, and the firewall lets it", "50611",
     "2020-09-20T21:09:1"),
    ("4 DCSync: replication in a user's session", "Directory replication over a user's network logon", "0x69099c7",
     "2020-09-21T22:59:14"),
]:
    need(found(name, key, first), f"not found: {what}")
    print("found:", what)
print("passed")
