"""The built-in formats serve rules; the rule pack: every rule passes its own tests and has both kinds, and on the real captures (BONGSU_SHARED) the pack finds
the attacks that the data's README names."""
import os
import subprocess
import sys
import time

from common import *

pack = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "deploy", "rules")
formats = os.path.join(os.path.dirname(os.path.abspath(__file__)), "format_rules")
print(run([BONGSU, "test", formats]))
tested = subprocess.run([BONGSU, "test", pack, "--complete"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(tested.stdout[-4000:])
need(tested.returncode == 0, "the pack's own tests failed")

work = work_folder("rules")


def stopped_while_loading():
    """Rules that take long to load do not keep the process from ending."""
    rules = os.path.join(work, "slow.yml")
    os.mkfifo(rules)   # nobody writes into it
    config = os.path.join(work, "slow.yaml")
    with open(config, "w") as out:
        out.write("application: slow\nrules: [slow.yml]\nsources: [{name: s, files: [none.jsonl], format: sysmon-nxlog}]\n"
                  "sinks: {alerts: {file: alerts.jsonl}}\n")
    process = start([BONGSU, "run", "-c", config], os.path.join(work, "slow.log"))
    time.sleep(1)
    need(process.poll() is None, "it does not wait for the rules")
    process.terminate()
    need(process.wait(10) == 0, "it did not end while it loaded")
    print("stopped while loading: ended", flush=True)


stopped_while_loading()
if "BONGSU_SHARED" not in os.environ:
    print("SKIPPED in part: BONGSU_SHARED is not set, so that the real captures are not here")
    sys.exit(0)
data = os.path.join(os.environ["BONGSU_SHARED"], "data")


def recorded_tests():
    """The development data's regression events in the layout of SigmaHQ's repository."""
    corpus = os.path.join(work, "corpus")
    os.makedirs(corpus)
    run(["tar", "--zstd", "-xf", os.path.join(data, "sigma-rules.tar.zst"), "-C", corpus])
    regression = os.path.join(data, "sigma-regression")
    events = subprocess.run(["zstd", "-dc", os.path.join(regression, "events.jsonl.zst")], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.split("\n")
    matches = {}
    with open(os.path.join(regression, "expected.tsv")) as lines:
        for rule, matching, *_ in (line.rstrip("\n").split("\t") for line in lines):
            matches[rule] = len(matching.split(","))
    with open(os.path.join(regression, "index.tsv")) as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines][1:]
    for rule, first, last, path in rows:
        folder = os.path.join("regression_data", path[:-len(".yml")])
        os.makedirs(os.path.join(corpus, folder))
        with open(os.path.join(corpus, folder, "x.json"), "w") as out:
            out.write("\n".join(json.dumps(json.loads(line), indent=2) for line in events[int(first) - 1:int(last)]))
        with open(os.path.join(corpus, folder, "info.yml"), "w") as out:
            out.write(f"rule_metadata: [{{id: {rule}, title: x}}]\nregression_tests_info:\n  - {{name: Positive, type: evtx, "
                      f"match_count: {matches[rule]}, path: {folder}/x.evtx}}\n")
    folders = [os.path.join(corpus, name) for name in sorted(os.listdir(corpus)) if name.startswith(("rules", "regression"))]
    tested = subprocess.run([BONGSU, "test"] + folders, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    print(tested.stdout)
    need(f"{len(rows)} tests: {len(rows)} passed" in tested.stdout, "recorded tests failed")


recorded_tests()
captures = os.path.join(data, "joined", "shire-empire")
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
