"""Sigma correlations from files: a chain of three levels, order, absence. The planted stories are found and their
decoys are not; and after kill -9 at random moments the alerts are the same, to the last byte."""
import json
import os
import random
import shutil
import subprocess
import time

from common import *

RULES = r"""
title: Logon failed
id: 5f3b0c66-5a0e-4c0e-9d3e-000000000001
name: logon_failed
logsource: {product: windows}
detection: {sel: {EventID: 4625}, condition: sel}
---
title: Logon
name: logon
logsource: {product: windows}
detection: {sel: {EventID: 4624}, condition: sel}
---
title: Service installed
name: service_installed
logsource: {product: windows}
detection: {sel: {EventID: 7045}, condition: sel}
---
title: Log cleared
name: log_cleared
logsource: {product: windows}
detection: {sel: {EventID: 1102}, condition: sel}
---
title: Backup begins
name: backup_begins
logsource: {product: windows}
detection: {sel: {EventID: 14, Source: backup}, condition: sel}
---
title: Backup ends
name: backup_ends
logsource: {product: windows}
detection: {sel: {EventID: 4, Source: backup}, condition: sel}
---
title: Guessed password
name: guessed
level: medium
correlation:
  type: temporal_ordered
  rules: [5f3b0c66-5a0e-4c0e-9d3e-000000000001, logon]
  group-by: [User]  # the correlation above it groups by a field that this one does not
  timespan: 1m
  generate: false
---
title: Takeover
name: takeover
level: high
correlation:
  type: temporal_ordered
  rules: [guessed, service_installed]
  group-by: [Computer]
  timespan: 5m
---
title: Covered takeover
id: 5f3b0c66-5a0e-4c0e-9d3e-000000000009
name: covered
author: A. Author
license: DRL-1.1
level: critical
tags: [attack.defense-evasion, attack.t1070.001]
falsepositives: [None known]
correlation:
  type: temporal
  rules: [takeover, log_cleared]
  group-by: [Computer]
  timespan: 10m
---
title: Backup never ended
name: never_ended
level: low
correlation:
  type: temporal
  condition: backup_begins and not backup_ends
  group-by: [Computer]
  timespan: 2m
"""
CONFIG = """
application: correlation
epoch: 5ms
rules: rules.yml
sources:
  - name: win
    files: ["events.jsonl"]
    format:
      time: [{path: t, as: rfc3339}]
      entities: {host: Computer, user: User}
      logsource: {product: windows}
    time: {out_of_orderness: 5s, allowed_lateness: 1m}
sinks: {alerts: {file: alerts.jsonl}, late: {file: late.jsonl}, dead_letter: {file: dead.jsonl}}
state: {path: state, memory: 64MiB, checkpoint_interval: 20ms}
"""
STORIES = 40
work = work_folder("correlation")


SECOND = 10**9


def event(ns, event_id, host, user="u", source="security"):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1735689600 + ns // SECOND)) + f".{ns % SECOND:09d}Z"
    return ns, json.dumps({"t": stamp, "EventID": event_id, "Computer": host, "User": user, "Source": source,
                                "Pad": "x" * random.randrange(200)})


def story(at, host, decoy):
    """A password guessed, a service installed, the log cleared before or after that; or what only looks like it."""
    def late(seconds, event_id, user="u"):
        return event(at + int(seconds * SECOND), event_id, host, f"{user}-{host}")
    end = [late(80, 7045), late(90, 1102)]
    if decoy == "order":  # the logon is half a second before the failure
        return [late(0, 4624), late(0.5, 4625)] + end
    if decoy == "slow":  # one nanosecond too late: (t - 60 s, t] does not hold its first moment
        return [late(0, 4625), late(60, 4624)] + end
    if decoy == "user":
        return [late(0, 4625, "a"), late(5, 4624, "b")] + end
    return [late(0, 4625), late(59.5, 4624), late(100, 7045), late(random.choice([70, 300]), 1102)]


events, truth = [], {"covered": set(), "never_ended": set()}
for i in range(STORIES):
    decoy = [None, "order", "slow", "user"][i % 4]
    at = random.randrange(3000 * SECOND)
    events += story(at, f"host-{i}", decoy)
    if decoy is None:
        truth["covered"].add(f"host-{i}")
    host = f"backup-{i}"
    events.append(event(at, 14, host, source="backup"))
    if i % 2 == 0:
        events.append(event(at + 119 * SECOND, 4, host, source="backup"))
    else:
        truth["never_ended"].add(host)
for i in range(20000):  # logons that fail, of people who do not come in
    events.append(event(random.randrange(4000 * SECOND), 4625, f"office-{i % 500}", f"u{i % 97}"))
# Up to half a minute out of order.
events.sort(key=lambda one: one[0] + random.randrange(30 * SECOND))
for name, text in (("rules.yml", RULES), ("c.yaml", CONFIG), ("events.jsonl", "".join(line + "\n" for _, line in events))):
    with open(os.path.join(work, name), "w") as out:
        out.write(text)
config = os.path.join(work, "c.yaml")
alerts = os.path.join(work, "alerts.jsonl")


def lines():
    with open(alerts) as found:
        return sorted(found)


def forget():
    for name in ("alerts.jsonl", "late.jsonl", "dead.jsonl"):
        os.remove(os.path.join(work, name))
    shutil.rmtree(os.path.join(work, "state"))


run([BONGSU, "run", "-c", config])
expected = lines()
by_rule = {}
for line in expected:
    alert = json.loads(line)
    found = by_rule.setdefault(alert["unmapped"]["sigma"]["name"], {})
    found[alert["finding_info"]["uid"]] = alert
for name, hosts in truth.items():
    got = sorted(one["unmapped"]["group"]["Computer"] for one in by_rule.get(name, {}).values())
    need(got == sorted(hosts), f"{name}: {got}, not {sorted(hosts)}")
need(set(by_rule) == set(truth), f"alerts of {set(by_rule)}: the rules below a correlation are to be silent")
one = next(iter(by_rule["covered"].values()))
need(one["severity"] == "Critical" and one["unmapped"]["value"] == 2 and one["unmapped"]["threshold"] == "gte 2", one)
need({e["name"] for e in one["evidences"]} == {"Takeover", "Log cleared"}, one["evidences"])
need(one["unmapped"]["sigma"]["author"] == "A. Author" and one["finding_info"]["attacks"], one)
ocsf_valid(alerts)
shown = run([BONGSU, "show", alerts])
need("group: Computer = host-0" in shown and "value: 2, condition gte 2" in shown, shown[:2000])
for name in ("late.jsonl", "dead.jsonl"):
    path = os.path.join(work, name)
    need(os.path.getsize(path) == 0, f"{name} is not empty")
print(f"{len(expected)} alerts as planted")

kills_in_all = 0
for trial in range(4):
    forget()
    kills = 0
    while True:
        process = start([BONGSU, "run", "-c", config], os.path.join(work, "killed.log"))
        try:
            status = process.wait(timeout=random.uniform(0.001, 0.1 + 0.02 * kills))
            need(status == 0, f"a restart ended with {status}; see {work}/killed.log")
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            need(kills < 200, "no end after 200 kills")
    kills_in_all += kills
    got = lines()
    need(got == expected, f"after {kills} kills: missing {set(expected) - set(got)}, too many {set(got) - set(expected)}")
    print(f"trial {trial}: {kills} kills, {len(got)} alerts equal")
need(kills_in_all > 0, "nothing was killed")
print("passed")
