"""`bongsu explain --state` beside a running instance on a real broker: what its state holds of a correlation's group, and
why that is no incident yet."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Broker, wait_for  # noqa: E402
from common import *  # noqa: E402,F403

work = work_folder("explain_state")
RULES = r"""title: A program
name: program
logsource: {category: process_creation, product: windows}
detection: {sel: {Image|endswith: '\one.exe'}, condition: sel}
---
title: Another program
name: another
logsource: {category: process_creation, product: windows}
detection: {sel: {Image|endswith: '\two.exe'}, condition: sel}
---
title: Three programs
name: three
correlation: {type: event_count, rules: [program], group-by: [User], timespan: 1m, condition: {gte: 3}}
---
title: Fewer than two programs
name: few
correlation: {type: event_count, rules: [program], group-by: [User], timespan: 1h, condition: {lt: 2}}
---
title: One and another
name: both
correlation: {type: temporal, rules: [program, another], group-by: [User], timespan: 1m}
"""
CONFIG = """application: explained
instance: one
kafka: {{bootstrap.servers: "{address}"}}
sources:
  - name: endpoint
    topics: [explained.endpoint]
    format: sysmon-nxlog
    time: {{out_of_orderness: 0s, allowed_lateness: 0s}}
rules: [{work}/rules.yml]
operators:
  - name: join
    type: interval_join
    left: {{source: endpoint, key: User, detection: {{a: {{Image|endswith: '\\one.exe'}}, condition: a}}}}
    right: {{source: endpoint, key: User, detection: {{b: {{Image|endswith: '\\two.exe'}}, condition: b}}}}
    within: {{after: 1m}}
sinks: {{alerts: {{topic: explained.alerts}}}}
state: {{path: {work}/state, checkpoint_interval: 200ms}}
epoch: 20ms
"""
config = os.path.join(work, "explained.yaml")


def event(broker, image, user, second):
    line = json.dumps({"UtcTime": f"2026-03-01 10:00:{second:02}.000", "EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational",
                       "Hostname": "host-1", "Image": f"C:\\Windows\\{image}", "ProcessId": second, "User": user})
    subprocess.run(["kcat", "-b", broker.address, "-t", "explained.endpoint", "-P"], input=line.encode() + b"\n", check=True)


def explain(rule, key, status=None):
    result = subprocess.run([BONGSU, "explain", rule, "-c", config, "--state", "--key", key], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    need(status is None or result.returncode == status, f"explain {rule} ended with {result.returncode}, not {status}: {result.stdout}")
    return result.stdout


def says(rule, key, status, *words):
    """The state reaches the disk a moment later."""
    wait_for(f"{words} of {rule}, {key}; it says {explain(rule, key)}", lambda: all(word in explain(rule, key) for word in words), seconds=30)
    explain(rule, key, status)


def run_through(broker):
    with open(os.path.join(work, "rules.yml"), "w") as out:
        out.write(RULES)
    with open(config, "w") as out:
        out.write(CONFIG.format(address=broker.address, work=work))
    broker.topic("explained.endpoint", 1)
    run([BONGSU, "topics", "create", "-c", config])
    need("there is no state" in explain("three", "joe", 2), "a folder without state is not named")
    log = os.path.join(work, "explained.log")
    process = start([BONGSU, "run", "-c", config], log)
    try:
        event(broker, "one.exe", "joe", 1)
        event(broker, "one.exe", "joe", 2)
        event(broker, "two.exe", "ann", 3)
        says("three", "joe", 1, "'Three programs' did not fire for key 'joe'", "at most 2 events of the key within 60 s, the rule wants gte 3",
             "seen, 2 events of the key", "endpoint, explained.endpoint[0] at 1", "as of epoch", "watermark of the rule's sources: 2026-03-01T10:00:03")
        says("both", "joe", 1, "did not fire for key 'joe'", "step 'another' has only other keys: 'ann' (1)")
        says("join", "joe", 1, "did not fire for key 'joe'", "step 'right' has only other keys: 'ann' (1)")
        says("few", "joe", 1, "did not fire for key 'joe'", "seen, 2 events of the key")
        says("three", "eve", 2, "cannot be said: the state holds no event of the key 'eve'")
        # What fires afterwards is told as well.
        event(broker, "two.exe", "joe", 4)
        event(broker, "one.exe", "joe", 5)
        says("three", "joe", 0, "'Three programs' fired for key 'joe': 3 events")
        says("both", "joe", 0, "fired for key 'joe'")
        says("join", "joe", 0, "fired for key 'joe'")
        need("it has no state" in explain("program", "joe", 2), "a detection is not refused")
        need(process.poll() is None, f"the instance ended; see {log}")
        process.terminate()
        need(process.wait(30) == 0, "no clean stop")
        says("three", "joe", 0, "fired for key 'joe': 3 events")
        # A rule that has changed has not seen what was read before it.
        with open(os.path.join(work, "rules.yml"), "w") as out:
            out.write(RULES.replace("{lt: 2}", "{lt: 3}"))
        process = start([BONGSU, "run", "-c", config], log)
        event(broker, "one.exe", "joe", 6)
        says("few", "joe", 1, "did not fire for key 'joe'", "seen, 1 events of the key",
             "events up to 2026-03-01T10:00:05")
        process.terminate()
        need(process.wait(30) == 0, "no clean stop")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main():
    broker = Broker(work, 21594)
    broker.start()
    try:
        run_through(broker)
    finally:
        broker.stop()
    print("passed")


main()
