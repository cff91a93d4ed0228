"""Rules from a compacted topic of a real broker: read to the end before the first event, changed and deleted while it
runs, refused when broken, the same after a kill, and no incident lost or doubled while they change under load."""
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Application, Broker, same, wait_for  # noqa: E402
from common import *  # noqa: E402,F403

work = work_folder("rules_topic")
TOPIC = "soc.rules"


def rule(number, image, level="low"):
    return f"""title: Rule {number}
id: 6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6c{number:02}
logsource: {{category: process_creation, product: windows}}
detection:
  sel: {{Image|endswith: '\\{image}'}}
  condition: sel
level: {level}
"""


def event(broker, image, second):
    """A process start on logs.endpoint."""
    line = json.dumps({"UtcTime": f"2026-03-01 10:00:{second:02}.000", "EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational",
                       "Hostname": "host-1", "Image": f"C:\\Windows\\{image}", "ProcessId": second, "User": "u"})
    subprocess.run(["kcat", "-b", broker.address, "-t", "one.endpoint", "-P"], input=line.encode() + b"\n", check=True)


CONFIG = """application: {name}
instance: one
kafka: {{bootstrap.servers: "{address}"}}
sources:
  - name: endpoint
    topics: [one.endpoint]
    format: sysmon-nxlog
    time: {{out_of_orderness: 0s, allowed_lateness: 0s}}
rules_topic: soc.rules
sinks: {{alerts: {{topic: {name}.alerts}}}}
state: {{path: {state}}}
http: {{listen: 0}}
epoch: 20ms
"""


class Live:
    """An instance over the topic that alerts each process start that a rule finds."""

    def __init__(self, broker, name):
        self.broker, self.name = broker, name
        self.state = os.path.join(work, f"state-{name}")
        self.config = os.path.join(work, f"{name}.yaml")
        with open(self.config, "w") as out:
            out.write(CONFIG.format(name=name, address=broker.address, state=self.state))
        self.process = None
        self.starts = 0

    def log(self):
        return os.path.join(work, f"{self.name}-{self.starts}.log")

    def text(self):
        if not os.path.exists(self.log()):
            return ""
        with open(self.log(), errors="replace") as log:
            return log.read()

    def start(self):
        self.starts += 1
        self.process = start([BONGSU, "run", "-c", self.config], self.log())
        wait_for(f"the run; see {self.log()}", lambda: self.process.poll() is not None or "starting with empty state" in self.text()
                 or "resuming from the last checkpoint" in self.text())
        need(self.process.poll() is None, f"it ended; see {self.log()}")

    def metric(self, name):
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self.text()).group(1))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            found = re.search(f"^{re.escape(name)} (\\S+)$", answer.read().decode(), re.M)
        return float(found.group(1)) if found else None

    def alerts(self):
        """(rule's title, image) of each; the topic's partitions have no order between them."""
        found = []
        for line in self.broker.read_committed(f"{self.name}.alerts"):
            alert = json.loads(line)
            found.append((alert["finding_info"]["title"], re.search(r"[a-z]+\.exe", json.dumps(alert["evidences"])).group(0)))
        return sorted(found)

    def expect(self, alerts):
        wait_for(f"{alerts} among {self.name}'s alerts", lambda: len(self.alerts()) >= len(alerts), seconds=30)
        need(self.alerts() == sorted(alerts), f"alerts {self.alerts()}, not {sorted(alerts)}; see {self.log()}")


def changes(broker):
    live = Live(broker, "live")
    broker.topic("one.endpoint", 1)
    run([BONGSU, "topics", "create", "-c", live.config])
    said = run([BONGSU, "run", "-c", live.config], status=2)
    need("holds no rules" in said, f"an empty topic is not refused: {said}")
    broker.publish_rule(TOPIC, "win/one.yml", rule(1, "one.exe"))
    broker.publish_rule(TOPIC, "gone.yml", rule(9, "one.exe"))
    broker.publish_rule(TOPIC, "gone.yml", None)
    said = run([BONGSU, "check", "-c", live.config])
    need("1 rules from 1 files" in said, said)
    # The first event is there before the rules are read: it waits for them.
    event(broker, "one.exe", 1)
    live.start()
    expected = [("Rule 1", "one.exe")]
    try:
        live.expect(expected)
        need(live.metric('bongsu_rules_topic_version{set="in_force"}') == 2, "another version")
        # A change, a new rule, and a rule that goes.
        broker.publish_rule(TOPIC, "win/one.yml", rule(1, "two.exe"))
        broker.publish_rule(TOPIC, "win/three.yml", rule(3, "three.exe"))
        wait_for("the reload", lambda: live.metric('bongsu_rules_topic_version{set="in_force"}') == 4)
        need("reloaded: operators: 0 kept; rules: 0 kept, 1 changed" in live.text(), f"what changed is not said; see {live.log()}")
        for second, image in ((2, "one.exe"), (3, "two.exe"), (4, "three.exe")):
            event(broker, image, second)
        expected += [("Rule 1", "two.exe"), ("Rule 3", "three.exe")]
        live.expect(expected)
        broker.publish_rule(TOPIC, "win/one.yml", None)
        wait_for("the reload", lambda: live.metric('bongsu_rules_topic_version{set="in_force"}') == 5)
        need(live.metric('bongsu_rules{kind="detection"}') == 1, "the deleted rule is still there")
        # A broken set is refused whole, by name, and the old one stays.
        broker.publish_rule(TOPIC, "win/four.yml", rule(4, "two.exe"))
        broker.publish_rule(TOPIC, "win/broken.yml", rule(5, "five.exe").replace("detection:", "detections:"))
        wait_for("the refusal", lambda: live.metric("bongsu_reload_refused") == 1)
        need("the reload is refused, the running rules stay" in live.text() and "soc.rules[win/broken.yml]:" in live.text(),
             f"the broken rule is not named; see {live.log()}")
        need(live.metric('bongsu_rules_topic_version{set="in_force"}') == 5, "a refused set is in force")
        need(live.metric('bongsu_rules_topic_version{set="read"}') == 7, "the refused set is not shown")
        event(broker, "two.exe", 5)
        event(broker, "three.exe", 6)
        expected += [("Rule 3", "three.exe")]
        live.expect(expected)
        # Killed: the set that ran runs again, although the topic has no such set any more.
        live.process.kill()
        live.process.wait()
        event(broker, "two.exe", 7)
        event(broker, "three.exe", 8)
        live.start()
        expected += [("Rule 3", "three.exe")]
        live.expect(expected)
        need("the newest set of the rules topic is refused" in live.text() and "soc.rules[win/broken.yml]:" in live.text(),
             f"the restart does not say what it runs; see {live.log()}")
        wait_for("the metrics", lambda: live.metric("bongsu_reload_refused") == 1)
        # Mended, the whole set comes into force, with the rule that had waited for it.
        broker.publish_rule(TOPIC, "win/broken.yml", rule(5, "five.exe"))
        wait_for("the reload", lambda: live.metric('bongsu_rules_topic_version{set="in_force"}') == 8)
        # Said once the engine has started with them: a snapshot may lie between.
        wait_for("it no longer counts as refused", lambda: live.metric("bongsu_reload_refused") == 0)
        event(broker, "two.exe", 9)
        event(broker, "five.exe", 10)
        expected += [("Rule 4", "two.exe"), ("Rule 5", "five.exe")]
        live.expect(expected)
        # A record without a key could never be replaced or deleted (a compacted topic takes none at all).
        need(live.metric('bongsu_rules_topic_records_total{kind="ignored"}') == 0, "a record was ignored")
        live.process.terminate()
        need(live.process.wait(30) == 0, "no clean stop")
    finally:
        if live.process.poll() is None:
            live.process.kill()
            live.process.wait()
    print("changes: as they must be", flush=True)


def wrong_topics(broker):
    """What the topic must be is found before anything is read."""
    live = Live(broker, "wrong")
    for name, partitions, policy, says in (("two.partitions", 2, "compact", "2 partitions"), ("not.compacted", 1, "delete", "cleanup.policy")):
        broker.tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", name, "--partitions", str(partitions),
                    "--config", f"cleanup.policy={policy}")
        broker.publish_rule(name, "one", rule(1, "one.exe"))
        with open(live.config, "w") as out:
            out.write(CONFIG.format(name="wrong", address=broker.address, state=live.state).replace("soc.rules", name))
        said = run([BONGSU, "topics", "check", "-c", live.config], status=1)
        need(says in said, f"topics check does not find it: {said}")
        said = run([BONGSU, "check", "-c", live.config], status=1)
        need(says in said, f"check does not find it: {said}")
    with open(live.config, "w") as out:
        out.write(CONFIG.format(name="wrong", address=broker.address, state=live.state).replace("soc.rules", "no.such.topic"))
    run([BONGSU, "run", "-c", live.config], status=1)   # as for any missing topic: a service manager tries again
    said = run([BONGSU, "check", "-c", live.config], status=1)
    need("no.such.topic" in said and "bongsu topics create" in said, f"a missing topic is not named: {said}")
    print("wrong topics: refused", flush=True)


def under_load(broker):
    """Rules come and go by the topic while events arrive: the operators' incidents stay the same."""
    for topic, partitions in (("logs.firewall", 4), ("logs.endpoint", 3)):
        broker.topic(topic, partitions)
    app = Application(work, broker, "load", "rules_topic: load.rules\n")
    app.create_topics()
    broker.publish_rule("load.rules", "one.yml", rule(1, "no-such-program.exe"))
    load = start([LOADGEN, "--kafka", broker.address, "--topics", "logs.firewall,logs.endpoint", "--truth", os.path.join(work, "truth.jsonl"),
                  "--events", "150000", "--limit-rate", "12000", "--stories", "60", "--seed", str(SEED % 1000)], os.path.join(work, "load.log"))
    process = app.start(config=app.config(until_end=False))
    published = 0
    while load.poll() is None:
        published += 1
        broker.publish_rule("load.rules", "two.yml", rule(2, f"no-such-program-{published}.exe") if published % 3 else None)
        time.sleep(random.uniform(0, 1.5))   # some come together, some alone
    need(load.returncode == 0, "the load generator failed")
    process.terminate()
    need(process.wait(60) == 0, f"no clean stop; see {app.log()}")
    with open(app.log(), errors="replace") as log:
        done = log.read().count("reloaded: operators: 3 kept")
    need(done > 1, f"{done} reloads; see {app.log()}")
    app.finish()
    base = Application(work, broker, "base")
    base.create_topics()
    base.finish()
    got = same(app, base.incidents())
    need(len(got) > 10, "next to nothing was found")
    print(f"under load: {published} records, {done} reloads, {len(got)} incidents equal", flush=True)


def main():
    broker = Broker(work, 21592)
    broker.start()
    try:
        changes(broker)
        wrong_topics(broker)
        under_load(broker)
    finally:
        broker.stop()
    print("passed")


main()
