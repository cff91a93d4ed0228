"""What happens to source topics while they are read. Retention that overtakes a reader ends it, with either setting of
auto.offset.reset: nothing is skipped in silence.

A topic gets more partitions while it is read, by an application that began at its end (auto.offset.reset: latest):
what comes to the new ones is read from their first record on, with either exchange and either delivery, every alert
once; also by a process that was down when the topic grew."""
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Broker, wait_for  # noqa: E402
from common import *  # noqa: E402,F403

work = work_folder("source_topics")
broker = Broker(work, 21792)
MODES = {"one": ("in_process", "exactly_once"), "shared": ("kafka", "exactly_once"), "repeats": ("in_process", "at_least_once")}
RULE = """
title: A logon
name: logon
level: high
logsource: {product: fw}
detection: {sel: {a: '1'}, condition: sel}
"""


def config(mode):
    exchange, delivery = MODES[mode]
    path = os.path.join(work, mode + ".yaml")
    with open(path, "w") as out:
        out.write(f"""application: growth-{mode}
instance: one
rules: [rules]
sources:
  - name: fw
    topics: [growth]
    format: {{time: [{{path: t, as: epoch_ms}}], logsource: {{product: fw}}, raw: true}}
sinks:
  alerts: {{topic: growth.{mode}.alerts, format: native}}
  late: {{topic: growth.{mode}.late}}
  dead_letter: {{topic: growth.{mode}.dead}}
kafka: {{bootstrap.servers: "{broker.address}", auto.offset.reset: latest, topic.metadata.refresh.interval.ms: "1000"}}
delivery: {delivery}
exchange: {exchange}
epoch: 50ms
state: {{path: {work}/state-{mode}, memory: 64MiB, shards: 4}}
""")
    return path


def put(partition, *numbers):
    """A logon each; its time is its number."""
    lines = "".join(json.dumps({"t": (1_700_000_000 + number) * 1000, "a": "1"}) + "\n" for number in numbers)
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", "growth", "-p", str(partition)], input=lines, text=True, check=True)


def grow(count):
    broker.tool("org.apache.kafka.tools.TopicCommand", "--alter", "--topic", "growth", "--partitions", str(count))


def overtaken(reset):
    """Stopped for a moment, while all that it has not read is removed."""
    name = f"gone-{reset}"
    topic = name
    broker.tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", topic, "--partitions", "1")
    path = os.path.join(work, name + ".yaml")
    with open(config("one")) as one, open(path, "w") as out:
        out.write(one.read().replace("growth-one", name).replace("[growth]", f"[{topic}]").replace("growth.one", name)
                  .replace("state-one", "state-" + name)
                  .replace("auto.offset.reset: latest", f'auto.offset.reset: {reset}, fetch.message.max.bytes: "4096", '
                           'queued.max.messages.kbytes: "16"'))
    run([BONGSU, "topics", "create", "-c", path])
    lines = "".join(json.dumps({"t": 1_700_000_000_000, "a": "2", "text": "x" * 900}) + "\n" for _ in range(60_000))
    if reset == "earliest":
        subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic], input=lines, text=True, check=True)
    process = start([BONGSU, "run", "-c", path], log(name))
    wait_for(f"{name} reads", lambda: process.poll() is not None or (os.path.exists(log(name)) and reading(name) > 0))
    process.send_signal(signal.SIGSTOP)
    if reset == "latest":
        subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic], input=lines, text=True, check=True)
    broker.delete_records(topic, {0: 59_990})
    process.send_signal(signal.SIGCONT)
    need(process.wait(timeout=60) == 1, f"it ended with {process.returncode}, not 1; see {log(name)}")
    with open(log(name), errors="replace") as text:
        need("not in the topic any more" in text.read(), f"it does not say why; see {log(name)}")


def log(mode):
    return os.path.join(work, mode + ".log")


def alerts(mode):
    found = [json.loads(line) for line in broker.read_committed(f"growth.{mode}.alerts")]
    return sorted(alert["first_time"][11:19] for alert in found)


def begin(mode):
    processes[mode] = start([BONGSU, "run", "-c", config(mode)], log(mode))


def reading(mode):
    with open(log(mode), errors="replace") as text:
        return text.read().count("reading 1 ")


def everywhere(expected, what):
    """22:13:20 and so many seconds."""
    times = [f"22:13:{20 + number}" for number in sorted(expected)]
    for mode in MODES:
        wait_for(f"{what}: {mode} has {alerts(mode)}, not {times}; see {log(mode)}",
                 lambda: processes[mode].poll() is not None or alerts(mode) == times)
        need(processes[mode].poll() is None, f"ended with {processes[mode].poll()}; see {log(mode)}")


os.makedirs(os.path.join(work, "rules"))
with open(os.path.join(work, "rules", "r.yml"), "w") as out:
    out.write(RULE)
processes = {}
broker.start()
try:
    broker.tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", "growth", "--partitions", "1")
    put(0, 1)   # before the start: not ours
    for mode in MODES:
        run([BONGSU, "topics", "create", "-c", config(mode)])
        begin(mode)
    for mode in MODES:
        wait_for(f"{mode} reads", lambda: reading(mode) > 0 or processes[mode].poll() is not None)
    put(0, 2)
    everywhere([2], "a first event")
    grow(3)
    put(1, 3, 4)   # long before anybody looks at the topic again
    put(2, 5)
    everywhere([2, 3, 4, 5], "new partitions")
    for process in processes.values():
        process.terminate()
    for mode, process in processes.items():
        need(process.wait(timeout=60) == 0, f"no clean stop; see {log(mode)}")
    grow(4)
    put(3, 6)
    put(0, 7)
    for mode in MODES:
        begin(mode)
    everywhere([2, 3, 4, 5, 6, 7], "a partition that came while it was down")
    for process in processes.values():
        process.terminate()
    for mode, process in processes.items():
        need(process.wait(timeout=60) == 0, f"no clean stop; see {log(mode)}")
    for reset in ("earliest", "latest"):
        overtaken(reset)
    print("passed: three new partitions, 6 alerts each, with either exchange and either delivery")
finally:
    broker.stop()
