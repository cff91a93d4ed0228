"""exchange: kafka, on a real broker: one, two and three instances find exactly what one in_process instance
finds on the same topics, whatever comes and goes; and others pause for a rebalance at most a second.
"""
import json
import os
import random
import re
import signal
import subprocess
import time
import urllib.request

from cluster import *

work = work_folder("exchange")
broker = Broker(work, 21492)
KILLS = int(os.environ.get("BONGSU_KILLS", 8))
RUNNING = []
POINTS = ("bundle_sent", "offsets_sent", "end_txn_sent", "committed", "merged")


class Shared(Application):
    """An application whose instances share the work."""

    def __init__(self, name, logs="logs", more="", **config):
        super().__init__(work, broker, name, extra=f"exchange: kafka\nthreads: 1\n{more}", logs=logs)
        self.config_of = config
        self.processes = {}
        RUNNING.append(self)

    def config(self, instance="one", **other):
        return super().config(instance, **{**self.config_of, **other})

    def begin(self, *instances, **environment):
        for instance in instances:
            self.processes[instance] = self.start(instance, **environment)

    def kill(self, instance, how=signal.SIGKILL):
        process = self.processes.pop(instance)
        process.send_signal(how)
        return process.wait(60)

    def await_end(self, seconds=240):
        """Every instance comes to the end of the topics by itself."""
        end = time.time() + seconds
        for instance, process in list(self.processes.items()):
            try:
                status = process.wait(timeout=max(1, end - time.time()))
            except subprocess.TimeoutExpired:
                self.kill_all()
                need(False, f"{self.name}: instance {instance} has no end; see {self.log(instance)}")
            need(status == 0, f"{self.name}: instance {instance} ended with {status}; see {self.log(instance)}")
        self.processes.clear()

    def kill_all(self):
        for instance in list(self.processes):
            self.kill(instance)

    def text(self, instance):
        with open(self.log(instance), errors="replace") as log:
            return log.read()

def instances_agree(expected, count):
    application = Shared(f"shared-{count}")
    application.create_topics()
    application.begin(*[f"i{n}" for n in range(count)])
    application.await_end()
    print(f"{count} instance(s): {len(same(application, expected))} incidents equal", flush=True)


def assigned(application, instance):
    """What the group last gave to an instance: (partitions, shards, kept, gained), and how often it gave."""
    found = re.findall(r"assigned (\d+) source partitions and (\d+) shards: (\d+) shards kept, (\d+) gained",
                       application.text(instance))
    return tuple(int(n) for n in found[-1]) if found else None, len(found)


def owned(application, *instances, starts=()):
    """The instances read all shards between them; `starts`: how often an instance must have begun."""
    total = 0
    for instance in instances:
        text = application.text(instance)
        begun = len(re.findall(r"info: (?:starting with|resuming)", text))
        last = re.findall(r"info: (starting with|resuming|assigned|reading)[^\n]*", text)
        shards = re.findall(r"info: reading \d+ source partitions and (\d+) shards", text)
        if not last or last[-1] != "reading" or begun < dict(starts).get(instance, 1):
            return False
        total += int(shards[-1])
    return total == 16


def comes_and_goes():
    """Logs arrive while instances are killed, stopped, added and lost for good."""
    application = Shared("churn", until_end=False, epoch="100ms")
    application.create_topics()
    truth = os.path.join(work, "churn-truth.jsonl")
    for topic, partitions in (("logs.firewall", 4), ("logs.endpoint", 3)):
        broker.topic(topic, partitions)
    load = start([LOADGEN, "--kafka", broker.address, "--topics", "logs.firewall,logs.endpoint", "--truth", truth,
                  "--events", "800000", "--limit-rate", "10000", "--stories", "60", "--seed", str(SEED % 1000)],
                 os.path.join(work, "load.log"))
    application.begin("a", "b", "c")
    wait_for("three instances share the work", lambda: owned(application, "a", "b", "c"))
    # Killed, and back within its session: nobody else notices.
    before = {name: assigned(application, name)[1] for name in "ac"}
    application.kill("b")
    application.begin("b")
    wait_for("b is back", lambda: owned(application, "a", "b", "c", starts={"b": 2}))
    need(before == {name: assigned(application, name)[1] for name in "ac"}, "others were disturbed by a quick restart")
    # A fourth: the others give some away and keep the rest.
    application.begin("d")
    wait_for("d has a part", lambda: owned(application, "a", "b", "c", "d"))
    need(assigned(application, "a")[0][2] > 0, "a kept nothing when d came")
    # Stopped cleanly, and back with its disk.
    need(application.kill("c", signal.SIGTERM) == 0, f"c did not stop cleanly; see {application.log('c')}")
    application.begin("c")
    wait_for("c is back", lambda: owned(application, "a", "b", "c", "d", starts={"c": 2}))
    # Stopped for so long that its part is given away (SIGSTOP), and then it goes on: a zombie among others.
    application.processes["b"].send_signal(signal.SIGSTOP)
    wait_for("the stopped one's part is taken over", lambda: owned(application, "a", "c", "d"), seconds=90)
    dropped = application.text("b").count("reading ")
    application.processes["b"].send_signal(signal.SIGCONT)
    wait_for("the zombie has a part again", lambda: application.text("b").count("reading ") > dropped
             and owned(application, "a", "b", "c", "d", starts={"b": 2}), seconds=90)
    # Gone for good, in the middle of its work: the others take over and speak for its partitions.
    application.kill("d")
    wait_for("d's part is taken over", lambda: owned(application, "a", "b", "c"), seconds=90)
    need(load.wait(120) == 0, "the load generator failed")
    for name in "abc":
        need(application.kill(name, signal.SIGTERM) == 0, f"{name} did not stop cleanly; see {application.log(name)}")
    pauses = [int(ms) for name in "abcd" for ms in re.findall(r"paused for (\d+) ms", application.text(name))]
    print(f"pauses of a rebalance in ms: {sorted(pauses)}", flush=True)
    base = Application(work, broker, "churn-base")
    base.create_topics()
    base.finish()
    expected = base.incidents()
    application.config_of = {"epoch": "100ms"}
    application.begin("a", "b", "c")
    application.await_end()
    late = sum(len(broker.read_committed(f"{name}.late")) for name in ("churn", "churn-base"))
    need(late == 0, f"{late} events were called late")
    print(f"came and went: {len(same(application, expected))} incidents equal", flush=True)


NEWER = """operators:
  - name: newer
    type: interval_join
    title: Newer
    left: {source: firewall, key: dest_ip, detection: {sel: {event_type: alert}, condition: sel}}
    right: {source: endpoint, key: host_ip, detection: {sel: {EventID: 1}, condition: sel}}
    within: {before: 0s, after: 1s}
"""


def different_rules():
    """An instance with one more operator joins: the one that does not know it ends and says so, comes back with
    the same rules, and what the others find is what they find alone."""
    # Topics of its own: a second load beside the first would be late or not as it happens.
    for topic, partitions in (("rules.firewall", 4), ("rules.endpoint", 3)):
        broker.topic(topic, partitions)
    application = Shared("rules", logs="rules", until_end=False, epoch="100ms")
    application.create_topics()

    def newer(instance, **config):
        path = application.config(instance, **config)
        with open(path) as file:
            text = file.read()
        with open(path, "w") as out:
            out.write(text.replace("operators:\n", NEWER, 1))
        return path
    load = start([LOADGEN, "--kafka", broker.address, "--topics", "rules.firewall,rules.endpoint", "--truth",
                  os.path.join(work, "rules-truth.jsonl"), "--events", "300000", "--limit-rate", "10000", "--stories", "20",
                  "--seed", str(SEED % 1000 + 1)], os.path.join(work, "load.log"))
    application.begin("a")
    wait_for("a reads", lambda: owned(application, "a"))
    application.processes["b"] = application.start("b", config=newer("b"))
    status = application.processes.pop("a").wait(120)
    need(status == 1 and "newer configuration" in application.text("a"), f"a ended with {status}; see {application.log('a')}")
    need(application.processes["b"].poll() is None, f"b has ended too; see {application.log('b')}")
    application.processes["a"] = application.start("a", config=newer("a"))
    wait_for("both share the work", lambda: owned(application, "a", "b", starts={"a": 2}), seconds=90)
    need(load.wait(120) == 0, "the load generator failed")
    for name in "ab":
        need(application.kill(name, signal.SIGTERM) == 0, f"{name} did not stop cleanly; see {application.log(name)}")
    for name in "ab":
        application.processes[name] = application.start(name, config=newer(name, until_end=True))
    application.await_end()
    base = Application(work, broker, "rules-base", logs="rules")
    base.create_topics()
    base.finish()
    expected = base.incidents()
    found = {uid: alert for uid, alert in application.incidents().items() if alert["finding_info"]["title"] != "Newer"}
    need(set(found) == set(expected), f"{len(set(expected) - set(found))} missing, {len(set(found) - set(expected))} invented")
    print(f"different rules: {len(found)} incidents equal", flush=True)


RULES = """title: A process
id: 6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6c01
name: process
level: low
logsource: {{category: process_creation, product: windows}}
detection: {{sel: {{EventID: 1}}, condition: sel}}
---
title: Of the topic
id: 6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6c02
level: low
correlation: {{type: event_count, rules: [process], group-by: [Hostname], timespan: {span}s, condition: {{gte: {least}}}}}
"""


def in_force(application, instance):
    """The version of the rules topic that an instance runs."""
    port = re.findall(r"http://127\.0\.0\.1:(\d+)", application.text(instance))[-1]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            found = re.search(r'^bongsu_rules_topic_version\{set="in_force"\} (\S+)$', answer.read().decode(), re.M)
    except OSError:
        return None   # it has just begun
    return float(found.group(1)) if found else None


def rules_by_topic():
    """The rules topic changes the operators of three instances under load, now and then with a broken set, while they
    are killed: nobody ends by it, and what has not changed is found as if nothing had been."""
    for topic, partitions in (("turn.firewall", 4), ("turn.endpoint", 3)):
        broker.topic(topic, partitions)
    application = Shared("turn", logs="turn", more="rules_topic: turn.rules\nhttp: {listen: 0}\n", until_end=False, epoch="100ms")
    application.create_topics()
    # A broken rule would be left out of a set of files; all instances would have to leave out the same.
    broker.publish_rule("turn.rules", "one", RULES.format(span=5, least=20).replace("detection:", "detections:"))
    said = run([BONGSU, "check", "-c", application.config("a")], status=2)
    need("turn.rules[one]:" in said, f"a broken set is taken: {said}")
    broker.publish_rule("turn.rules", "one", RULES.format(span=5, least=20))
    load = start([LOADGEN, "--kafka", broker.address, "--topics", "turn.firewall,turn.endpoint", "--truth",
                  os.path.join(work, "turn-truth.jsonl"), "--events", "200000", "--limit-rate", "10000", "--stories", "30",
                  "--seed", str(SEED % 1000 + 2)], os.path.join(work, "turn-load.log"))
    application.begin("a", "b", "c")
    wait_for("three instances share the work", lambda: owned(application, "a", "b", "c"))
    published = 0
    while load.poll() is None:
        published += 1
        rules = RULES.format(span=5 + published, least=20)
        broker.publish_rule("turn.rules", "one", rules.replace("detection:", "detections:") if published % 4 == 0 else rules)
        time.sleep(random.uniform(0.5, 4))
        if published % 3 == 0:
            killed = random.choice("abc")
            application.kill(killed)
            time.sleep(random.uniform(0, 2))
            application.begin(killed)
        for name, process in application.processes.items():
            need(process.poll() is None, f"{name} ended with {process.poll()}; see {application.log(name)}")
    need(load.returncode == 0, "the load generator failed")
    broker.publish_rule("turn.rules", "one", RULES.format(span=900, least=3))   # a set that everybody takes
    newest = published + 2   # behind the two before the load
    for name in "abc":
        process = application.processes[name]
        wait_for(f"{name} runs version {newest}",
                 lambda: process.poll() is not None or in_force(application, name) == newest)
        need(process.poll() is None, f"{name} ended with {process.poll()}; see {application.log(name)}")
        need(application.kill(name, signal.SIGTERM) == 0, f"{name} did not stop cleanly; see {application.log(name)}")
    reloads = [application.text(name).count("reloaded: operators: 3 kept, ") for name in "abc"]
    need(sum(reloads) >= 4, f"{reloads} reloads")
    application.config_of = {"epoch": "100ms"}
    application.begin("a", "b", "c")
    application.await_end()
    base = Application(work, broker, "turn-base", logs="turn")
    base.create_topics()
    base.finish()
    expected = base.incidents()
    found = application.incidents()
    of_topic = {uid for uid, alert in found.items() if alert["finding_info"]["title"] == "Of the topic"}
    need(len(of_topic) > 0, "the topic's rules have found nothing")
    application.incidents = lambda: {uid: alert for uid, alert in found.items() if uid not in of_topic}
    print(f"rules by topic: {published} sets, {reloads} reloads, {len(same(application, expected))} incidents equal, {len(of_topic)} of the topic", flush=True)


def killed_at_points(expected):
    """kill -9 at the points of an epoch, one of two instances, again and again."""
    for point in POINTS:
        application = Shared("at-" + point.replace("_", "-"))
        application.create_topics()
        application.begin("a")
        application.begin("b", BONGSU_FAILPOINT=f"{point}:{random.randint(1, 3)}")
        process = application.processes.pop("b")
        status = process.wait(timeout=120)
        need(status in (0, -signal.SIGKILL), f"{point}: b ended with {status}; see {application.log('b')}")
        application.begin("b")
        application.await_end()
        print(f"{point} ({'killed' if status else 'not reached'}): {len(same(application, expected))} incidents equal", flush=True)


def killed_in_the_registry():
    """What a dead instance had begun to register stands in nobody's way: brokers would end it after 15 s and more."""
    for topic in ("registry.firewall", "registry.endpoint"):
        broker.topic(topic, 1)
    application = Shared("registry", logs="registry", until_end=False)
    application.create_topics()
    application.begin("a", BONGSU_FAILPOINT="registry_sent")
    need(application.processes.pop("a").wait(60) == -signal.SIGKILL, "a did not reach registry_sent")
    begun = time.time()
    application.begin("b")
    wait_for("b reads all shards", lambda: owned(application, "b"), 15)
    print(f"killed in the registry: the next one reads after {time.time() - begun:.1f} s", flush=True)
    application.kill_all()


def main():
    broker.start()
    killed_in_the_registry()
    comes_and_goes()
    different_rules()
    rules_by_topic()
    base = Application(work, broker, "base")
    base.create_topics()
    base.finish()
    expected = base.incidents()
    need(len(expected) > 10, f"only {len(expected)} incidents to compare with")
    for count in (1, 2, 3):
        instances_agree(expected, count)
    killed_at_points(expected)
    print("passed")


try:
    main()
finally:
    for application in RUNNING:
        application.kill_all()
    broker.stop()
