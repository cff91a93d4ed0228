"""What the fault tests share: a real broker that can be hurt, bongsu instances that can be killed, and a
read-committed look at what came out.

A test compares with an undisturbed run on the same topics: every incident, the same id, the same final
content, none missing, none created twice.
"""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from common import *  # noqa: E402,F401,F403
import common  # noqa: E402


class Broker:
    """deploy/local-kafka in a folder of its own."""

    def __init__(self, work, port, properties=""):
        self.data = os.path.join(work, "broker")
        self.properties = os.path.join(work, "broker.properties")
        with open(self.properties, "w") as out:
            out.write(properties)
        self.port = port
        self.address = f"127.0.0.1:{port}"

    def _do(self, *words):
        jars = os.path.join(os.path.dirname(common.BUILD), "kafka-jars")
        return common.run([os.path.join(common.SOURCE, "deploy", "local-kafka"), *words, "--data", self.data,
                           "--port", str(self.port), "--jars", jars, "--properties", self.properties])

    def start(self):
        self._do("start")

    def stop(self):
        self._do("stop")

    def pid(self):
        with open(os.path.join(self.data, "pid")) as text:
            return int(text.read())

    def kill(self):
        """kill -9, and a start that finds the log as the crash left it."""
        os.kill(self.pid(), signal.SIGKILL)
        time.sleep(0.2)
        os.unlink(os.path.join(self.data, "pid"))
        self.start()

    def pause(self, seconds):
        os.kill(self.pid(), signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.pid(), signal.SIGCONT)

    def topic(self, name, partitions):
        self._do("topic", name, str(partitions))

    def read_committed(self, topic):
        """All committed records of a topic, in partition order."""
        return subprocess.run(["kcat", "-b", self.address, "-t", topic, "-C", "-e", "-q", "-X", "isolation.level=read_committed"],
                              check=True, stdout=subprocess.PIPE).stdout.decode().splitlines()


class Application:
    """One application name on the broker: its configuration, topics, and instances."""

    def __init__(self, work, broker, name, extra=""):
        self.work, self.broker, self.name, self.extra = work, broker, name, extra

    def config(self, instance="one", until_end=True, epoch="20ms", checkpoint="200ms", state=None):
        with open(os.path.join(common.SOURCE, "deploy", "samples", "quickstart.yaml")) as sample:
            text = sample.read()
        until = "\n    until: end" if until_end else ""
        for source in ("firewall", "endpoint"):
            text = text.replace(f'files: ["${{BONGSU_SAMPLE}}/{source}.jsonl"]', f"topics: [logs.{source}]{until}")
        text = text.replace("application: quickstart", f"application: {self.name}\ninstance: {instance}")
        text = text[:text.index("\nsinks:")] + f"""
sinks:
  alerts: {{topic: {self.name}.alerts}}
  late: {{topic: {self.name}.late}}
  dead_letter: {{topic: {self.name}.dead}}
kafka:
  bootstrap.servers: "{self.broker.address}"
  fetch.message.max.bytes: "16384"   # small steps: many epochs
delivery: exactly_once
state: {{path: {state or os.path.join(self.work, 'state-' + self.name + '-' + instance)}, checkpoint_interval: {checkpoint}}}
epoch: {epoch}
{self.extra}"""
        path = os.path.join(self.work, f"{self.name}-{instance}.yaml")
        with open(path, "w") as out:
            out.write(text)
        return path

    def log(self, instance="one"):
        return os.path.join(self.work, f"{self.name}-{instance}.log")

    def create_topics(self):
        common.run([common.BONGSU, "topics", "create", "-c", self.config()])

    def start(self, instance="one", config=None, **environment):
        return common.start([common.BONGSU, "run", "-c", config or self.config(instance)], self.log(instance), **environment)

    def says(self, text, instance="one"):
        with open(self.log(instance), errors="replace") as log:
            return text in log.read()

    def incidents(self):
        """Incident id -> final content. Two creations of one incident fail."""
        last, created = {}, set()
        for line in self.broker.read_committed(f"{self.name}.alerts"):
            alert = json.loads(line)
            alert["metadata"].pop("logged_time", None)
            uid = alert["finding_info"]["uid"]
            if alert["activity_id"] == 1:
                common.need(uid not in created, f"{self.name}: incident {uid} was created twice")
                created.add(uid)
            last[uid] = alert
        common.need(set(last) == created, f"{self.name}: an incident was updated that was never created")
        return last

    def finish(self, instance="one", seconds=180):
        """A run without faults, to the end of the topics."""
        process = self.start(instance)
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            common.need(False, f"{self.name}: no end within {seconds} s; see {self.log(instance)}")
        common.need(status == 0, f"{self.name}: a restart ended with {status}; see {self.log(instance)}")


def wait_for(what, check, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if check():
            return
        time.sleep(0.05)
    common.need(False, f"not within {seconds} s: {what}")


def same(application, expected):
    """The application's committed incidents are those of the undisturbed run."""
    got = application.incidents()
    common.need(set(got) == set(expected),
                f"{application.name}: missing {sorted(set(expected) - set(got))[:3]}, invented {sorted(set(got) - set(expected))[:3]} "
                f"({len(set(expected) - set(got))} and {len(set(got) - set(expected))} of {len(expected)})")
    for uid, alert in got.items():
        for part in ("count", "evidences"):
            common.need(alert.get(part) == expected[uid].get(part), f"{application.name}: {uid} has another {part}")
    return got


def produce(broker, truth, events=250000, stories=30, seed=1):
    """Sample logs with planted attacks on logs.firewall and logs.endpoint."""
    broker.topic("logs.firewall", 4)
    broker.topic("logs.endpoint", 3)
    return common.run([common.LOADGEN, "--kafka", broker.address, "--topics", "logs.firewall,logs.endpoint", "--truth", truth,
                       "--events", str(events), "--stories", str(stories), "--seed", str(seed)])
