"""What the fault tests share: a real broker that can be hurt, bongsu instances that can be killed, and a
read-committed look at what came out.

A test compares with an undisturbed run on the same topics: every incident, the same id, the same final
content, none missing, none created twice.
"""
import json
import os
import re  # noqa: F401
import shutil  # noqa: F401
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from common import *  # noqa: E402,F401,F403
import common  # noqa: E402


PROXIED = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},PROXIED://127.0.0.1:{through}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
"""


class Broker:
    """deploy/local-kafka in a folder of its own."""

    def __init__(self, work, port, properties="", proxy=None):
        """`proxy`: the port of a Proxy, to which clients of port + 2 are sent."""
        if proxy is not None:
            properties += PROXIED.format(port=port, controller=port + 1, through=port + 2, proxy=proxy)
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

    def tool(self, name, *arguments):
        """One of Kafka's own tools, by its class."""
        jars = os.path.join(os.path.dirname(common.BUILD), "kafka-jars")
        return common.run(["java", "-cp", os.path.join(jars, "lib", "*"),
                           f"-Dlog4j2.configurationFile={self.data}/log4j2.properties", name,
                           "--bootstrap-server", self.address, *arguments])

    def delete_topic(self, name):
        self.tool("org.apache.kafka.tools.TopicCommand", "--delete", "--topic", name)

    def delete_records(self, topic, before):
        """Deletes what lies before the offsets, by partition; -1: everything."""
        path = os.path.join(self.data, "delete.json")
        with open(path, "w") as out:
            json.dump({"version": 1, "partitions": [{"topic": topic, "partition": partition, "offset": offset}
                                                    for partition, offset in before.items()]}, out)
        self.tool("org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", path)

    def stop(self):
        self._do("stop")

    def pid(self):
        with open(os.path.join(self.data, "pid")) as text:
            return int(text.read())

    def kill(self, seconds_down=0.2):
        """kill -9, and a start that finds the log as the crash left it."""
        os.kill(self.pid(), signal.SIGKILL)
        # On a busy machine a killed process takes its time, and a start would find its port listening.
        wait_for("the killed broker is gone", lambda: not self.listening())
        time.sleep(seconds_down)
        os.unlink(os.path.join(self.data, "pid"))
        self.start()

    def listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def pause(self, seconds):
        os.kill(self.pid(), signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.pid(), signal.SIGCONT)

    def topic(self, name, partitions):
        self._do("topic", name, str(partitions))

    def publish_rule(self, topic, key, value):
        """One record of a rules topic; no value: a tombstone."""
        path = self.data + "-record"
        with open(path, "w") as out:
            out.write(value or "")
        arguments = ["kcat", "-b", self.address, "-t", topic, "-P"]
        if value is None:
            result = subprocess.run([*arguments, "-Z", "-K", ":"], input=f"{key}:\n".encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        else:
            result = subprocess.run([*arguments, "-k", key, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        common.need(result.returncode == 0, result.stdout.decode())

    def read_committed(self, topic):
        """All committed records of a topic, in partition order."""
        return subprocess.run(["kcat", "-b", self.address, "-t", topic, "-C", "-e", "-q", "-X", "isolation.level=read_committed"],
                              check=True, stdout=subprocess.PIPE).stdout.decode().splitlines()


class Application:
    """One application name on the broker: its configuration, topics, and instances."""

    def __init__(self, work, broker, name, extra="", kafka=None, address=None, logs="logs", delivery="exactly_once"):
        """`kafka`: more of its properties; `address`: another than the broker's own (a proxy's); `logs`: what the
        names of the topics that it reads begin with."""
        self.logs = logs
        self.delivery = delivery
        self.work, self.broker, self.name, self.extra = work, broker, name, extra
        self.kafka = {"fetch.message.max.bytes": "16384", **(kafka or {})}   # small steps: many epochs
        self.address = address or broker.address

    def state(self, instance="one"):
        return os.path.join(self.work, f"state-{self.name}-{instance}")

    def config(self, instance="one", until_end=True, epoch="20ms", checkpoint="200ms", state=None, name=None):
        """`name`: of the file and the log, where two run under one instance name."""
        with open(os.path.join(common.SOURCE, "deploy", "samples", "quickstart.yaml")) as sample:
            text = sample.read()
        until = "\n    until: end" if until_end else ""
        for source in ("firewall", "endpoint"):
            text = text.replace(f'files: ["${{BONGSU_SAMPLE}}/{source}.jsonl"]', f"topics: [{self.logs}.{source}]{until}")
        text = text.replace("application: quickstart", f"application: {self.name}\ninstance: {instance}")
        text = text[:text.index("\nsinks:")] + f"""
sinks:
  alerts: {{topic: {self.name}.alerts}}
  late: {{topic: {self.name}.late}}
  dead_letter: {{topic: {self.name}.dead}}
kafka:
  bootstrap.servers: "{self.address}"
{chr(10).join(f'  {name}: "{value}"' for name, value in self.kafka.items())}
delivery: {self.delivery}
state: {{path: {state or self.state(name or instance)}, checkpoint_interval: {checkpoint}}}
epoch: {epoch}
{self.extra}"""
        path = os.path.join(self.work, f"{self.name}-{name or instance}.yaml")
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
        if not os.path.exists(self.log(instance)):
            return False
        with open(self.log(instance), errors="replace") as log:
            return text in log.read()

    def says_last(self, text, instance="one"):
        """Among the last lines of the log."""
        with open(self.log(instance), errors="replace") as log:
            return text in "".join(log.read().splitlines(True)[-12:])

    def text_after(self, mark, instance="one"):
        """What the log says behind the newest `mark`."""
        with open(self.log(instance), errors="replace") as log:
            return log.read().rpartition(mark)[2]

    def incidents(self):
        """Incident id -> final content. Two creations of one incident fail, where it is to be exactly once."""
        last, created = {}, set()
        for line in self.broker.read_committed(f"{self.name}.alerts"):
            alert = json.loads(line)
            alert["metadata"].pop("logged_time", None)
            uid = alert["finding_info"]["uid"]
            if alert["activity_id"] == 1:
                common.need(uid not in created or self.delivery == "at_least_once", f"{self.name}: incident {uid} was created twice")
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
