"""On a real Kafka broker: the planted attacks are found; a second instance waits and takes nothing; kill -9
and a broker's restart lose nothing; what passes check starts."""
import json
import os
import random
import signal
import subprocess
import time

from common import *

work = work_folder("kafka")
PORT = 21092
DATA = os.path.join(work, "broker")
JARS = os.path.join(os.path.dirname(BUILD), "kafka-jars")
KAFKA = os.path.join(SOURCE, "deploy", "local-kafka")
BROKER = f"127.0.0.1:{PORT}"


def kafka(*words):
    return run([KAFKA, *words, "--data", DATA, "--port", str(PORT), "--jars", JARS])


def config(name, application, instance, until="", broker=BROKER, topic="logs.firewall", fields=""):
    with open(os.path.join(SOURCE, "deploy", "samples", "quickstart.yaml")) as sample:
        text = sample.read()
    text = text.replace('files: ["${BONGSU_SAMPLE}/firewall.jsonl"]', f"topics: [{topic}]{until}")
    text = text.replace('files: ["${BONGSU_SAMPLE}/endpoint.jsonl"]', f"topics: [logs.endpoint]{until}")
    text = text.replace("application: quickstart", f"application: {application}\ninstance: {instance}")
    text = text[:text.index("\nsinks:")] + f"""
sinks:
  alerts: {{topic: {application}.alerts}}
  late: {{topic: {application}.late}}
  dead_letter: {{topic: {application}.dead}}
kafka: {{bootstrap.servers: "{broker}"}}
delivery: at_least_once
state: {{path: {work}/state-{name}, checkpoint_interval: 100ms}}
epoch: 20ms
"""
    path = os.path.join(work, name + ".yaml")
    with open(path, "w") as out:
        out.write(text)
    return path


def topics(application):
    for name in ("alerts", "late", "dead"):
        kafka("topic", f"{application}.{name}", "2")


def alerts_on(topic):
    """All alert lines of a topic, in partition order."""
    return subprocess.run(["kcat", "-b", BROKER, "-t", topic, "-C", "-e", "-q"], check=True,
                          stdout=subprocess.PIPE).stdout.decode().splitlines()


def wait_for(what, check, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if check():
            return
        time.sleep(0.2)
    need(False, f"not within {seconds} s: {what}")


def folded(lines):
    """Incident id -> final content; repeats are allowed, with the same id, at least once."""
    last = {}
    for line in lines:
        alert = json.loads(line)
        alert["metadata"].pop("logged_time", None)
        last[alert["finding_info"]["uid"]] = alert
    return last


def main():
    kafka("start")
    for name, partitions in (("logs.firewall", 4), ("logs.endpoint", 3)):
        kafka("topic", name, str(partitions))
    topics("base")
    topics("killed")
    truth = os.path.join(work, "truth.jsonl")
    print(run([LOADGEN, "--kafka", BROKER, "--topics", "logs.firewall,logs.endpoint", "--truth", truth,
               "--events", "500000", "--stories", "40", "--seed", str(SEED % 1000)]))

    # Undisturbed, to the end.
    base = config("base", "base", "one", until="\n    until: end")
    need("ok" in run([BONGSU, "check", "-c", base]), "check does not pass")
    print(run([BONGSU, "run", "-c", base]))
    path = os.path.join(work, "alerts.jsonl")
    lines = alerts_on("base.alerts")
    with open(path, "w") as out:
        out.write("\n".join(lines) + "\n")
    print(run([LOADGEN, "verify", "--truth", truth, "--alerts", path]))
    ocsf_valid(path)
    expected = folded(lines)

    # check fails as run would.
    need("does not exist" in run([BONGSU, "check", "-c", config("t", "base", "one", topic="logs.nowhere")], status=1), "missing topic")
    run([BONGSU, "check", "-c", config("b", "base", "one", broker="127.0.0.1:1")], status=1)

    # kill -9 again and again, and a broker that restarts in between.
    killed = config("killed", "killed", "one", until="\n    until: end")
    log = os.path.join(work, "killed.log")
    for kills in range(200):
        process = start([BONGSU, "run", "-c", killed], log)
        if kills == 5:
            time.sleep(0.4)
            kafka("stop")
            kafka("start")
        try:
            status = process.wait(timeout=random.uniform(0.05, 0.3) if kills < 12 else 120)
            need(status == 0, f"a restart ended with {status}; see {log}")
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    got = folded(alerts_on("killed.alerts"))
    # Ids differ between applications in nothing: same topics, same rules.
    need(set(got) == set(expected), f"after {kills} kills: missing {len(set(expected) - set(got))}, invented {len(set(got) - set(expected))}")
    for uid, alert in got.items():
        if alert["count"] > 2 or expected[uid]["count"] > 2:
            need(alert["count"] == expected[uid]["count"], f"{uid} has another final content")
            need(alert["evidences"] == expected[uid]["evidences"], f"{uid} has other evidence")
    need(kills > 0, "nothing was killed")
    print(f"{kills} kills and a broker restart: {len(got)} incidents equal")

    # A second instance waits, says so, and takes nothing; it takes over when the first has left.
    topics("two")
    first = start([BONGSU, "run", "-c", config("first", "two", "a")], os.path.join(work, "first.log"))
    wait_for("the first instance reads", lambda: "reading 7 partitions" in open(os.path.join(work, "first.log")).read())
    second_config = config("second", "two", "b")
    second = start([BONGSU, "run", "-c", second_config, "--report", os.path.join(work, "second.json")], os.path.join(work, "second.log"))
    wait_for("the second says that it waits", lambda: "instance 'a' of application 'two' is running" in open(os.path.join(work, "second.log")).read())
    time.sleep(2)
    second.send_signal(signal.SIGTERM)
    need(second.wait(30) == 0, "the waiting instance does not stop cleanly")
    with open(os.path.join(work, "second.json")) as report:
        need(json.load(report)["records"] == 0, "the second instance read something")
    wait_for("the first finds what it must", lambda: set(folded(alerts_on("two.alerts"))) >= set(expected), 120)
    first.send_signal(signal.SIGTERM)
    need(first.wait(30) == 0, "the first instance does not stop cleanly")
    need(set(folded(alerts_on("two.alerts"))) == set(expected), "the instance that read did not find what it must")
    print("passed")


try:
    main()
finally:
    kafka("stop")
