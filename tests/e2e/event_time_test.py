"""Event time on a real broker, with either exchange at once: an empty topic and a source hours behind beside a live
one, an outage of log shipping, and kill -9 in between. Every alert once, none for what was only delayed."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Broker, wait_for  # noqa: E402
from common import *  # noqa: E402,F403
import urllib.request  # noqa: E402

work = work_folder("event_time")
broker = Broker(work, 21692)
MODES = ("in_process", "kafka")
RULES = """
title: A logon
name: logon
logsource: {product: fw}
detection: {sel: {a: '1'}, condition: sel}
---
title: A logoff
name: logoff
logsource: {product: ep}
detection: {sel: {a: '1'}, condition: sel}
---
title: A login to the cloud
name: login
logsource: {product: fw}
detection: {sel: {b: '1'}, condition: sel}
---
title: Seen in the cloud
name: seen
logsource: {product: cloud}
detection: {sel: {b: '1'}, condition: sel}
---
title: No logoff
name: no_logoff
level: high
correlation: {type: temporal, condition: logon and not logoff, group-by: [ip], timespan: 2s}
---
title: Not in the cloud
name: not_in_cloud
level: high
correlation: {type: temporal, condition: login and not seen, group-by: [ip], timespan: 2s}
"""
SOURCE = """  - name: {0}
    topics: [time.{0}]
    format: {{time: [{{path: t, as: epoch_ms}}], logsource: {{product: {0}}}}}
    time: {{out_of_orderness: 500ms, allowed_lateness: 500ms, idle_timeout: 1s, live_bound: 20s, max_lag: 8s, source_silent: {1}}}
"""


def config(mode):
    path = os.path.join(work, mode + ".yaml")
    with open(path, "w") as out:
        out.write(f"""application: time-{mode.replace('_', '-')}
instance: one
rules: [rules]
http: {{listen: 0}}
sources:
{SOURCE.format('fw', '6s')}{SOURCE.format('ep', '0s')}{SOURCE.format('cloud', '0s')}sinks:
  alerts: {{topic: time.{mode}.alerts}}
  late: {{topic: time.{mode}.late}}
  dead_letter: {{topic: time.{mode}.dead}}
kafka: {{bootstrap.servers: "{broker.address}"}}
delivery: exactly_once
exchange: {mode}
epoch: 50ms
state: {{path: {work}/state-{mode}, memory: 64MiB, shards: 4}}
""")
    return path


class Topic:
    """A producer of one topic."""

    def __init__(self, name):
        self.kcat = subprocess.Popen(["kcat", "-P", "-b", broker.address, "-t", "time." + name, "-X", "linger.ms=5"],
                                     stdin=subprocess.PIPE, text=True, bufsize=1)
        self.lock = threading.Lock()

    def put(self, seconds, ip="9.9.9.9", **fields):
        with self.lock:
            # kcat takes its input in pieces of 1,024 bytes, and waits until it has one.
            self.kcat.stdin.write(json.dumps({"t": int(seconds * 1000), "ip": ip, **fields}).ljust(1023) + "\n")
            self.kcat.stdin.flush()


def alerts(mode, title):
    found = [json.loads(line) for line in broker.read_committed(f"time.{mode}.alerts")]
    return sorted(alert["unmapped"]["key"] for alert in found if alert["finding_info"]["title"] == title)


def late(mode, source):
    return [one for one in map(json.loads, broker.read_committed(f"time.{mode}.late")) if one["source"] == source]


def metric(mode, series):
    port = re.findall(r"metrics and health on http://127\.0\.0\.1:(\d+)", open(log(mode), errors="replace").read())[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search("^" + re.escape(series) + " (.*)$", answer.read().decode(), re.M)
    return float(found.group(1)) if found else None


def log(mode):
    return os.path.join(work, mode + ".log")


def begin(mode):
    processes[mode] = start([BONGSU, "run", "-c", config(mode)], log(mode))


def kill_all():
    for mode in MODES:
        processes[mode].send_signal(signal.SIGKILL)
        processes[mode].wait()
        begin(mode)


def everywhere(what, check, seconds=120):
    for mode in MODES:
        wait_for(f"{what}; see {log(mode)}", lambda: processes[mode].poll() is not None or check(mode), seconds)
        need(processes[mode].poll() is None, f"ended with {processes[mode].poll()}; see {log(mode)}")


SILENT = "A source of logs has fallen silent"
LAGS = "A source of logs lags, and its events are late"
os.makedirs(os.path.join(work, "rules"))
with open(os.path.join(work, "rules", "r.yml"), "w") as out:
    out.write(RULES)
processes = {}
broker.start()
over = threading.Event()
try:
    for name in ("fw", "ep", "cloud"):
        broker.topic("time." + name, 1)
    for mode in MODES:
        run([BONGSU, "topics", "create", "-c", config(mode)])
        begin(mode)
    topics = {name: Topic(name) for name in ("fw", "ep", "cloud")}
    shipping = {"fw": True, "ep": False, "cloud": True}
    HOURS = {"fw": 0, "ep": 0, "cloud": 6 * 3600}

    def beat():
        while not over.wait(0.2):
            for source, ships in shipping.items():
                if ships:
                    topics[source].put(time.time() - HOURS[source])
    threading.Thread(target=beat, daemon=True).start()

    # Nothing was ever in `ep`; `cloud` is six hours behind.
    time.sleep(2)
    topics["fw"].put(time.time(), "1.1.1.1", a="1")
    topics["fw"].put(time.time(), "2.2.2.2", b="1")
    topics["cloud"].put(time.time() - HOURS["cloud"], "2.2.2.2", b="1")
    everywhere("nobody waits for an empty topic", lambda mode: alerts(mode, "No logoff") == ["1.1.1.1"])
    everywhere("nobody waits for hours", lambda mode: alerts(mode, "Not in the cloud") == ["2.2.2.2"])
    everywhere("both are named", lambda mode: alerts(mode, LAGS) == ["cloud", "ep"])
    everywhere("in the metrics", lambda mode: metric(mode, 'bongsu_source_lagging{source="cloud"}') == 1)
    topics["cloud"].put(time.time() - HOURS["cloud"], "3.3.3.3", b="1")
    everywhere("its events are late", lambda mode: late(mode, "cloud"))
    print("empty topic, hours behind: ok", flush=True)

    kill_all()
    shipping["ep"] = True
    now = time.time()
    topics["ep"].put(now, "4.4.4.4", a="1")
    topics["fw"].put(now - 0.5, "4.4.4.4", a="1")
    topics["fw"].put(now, "5.5.5.5", a="1")
    everywhere("found after kill -9", lambda mode: "5.5.5.5" in alerts(mode, "No logoff"))
    for mode in MODES:
        need(alerts(mode, "No logoff") == ["1.1.1.1", "5.5.5.5"], f"{mode}: {alerts(mode, 'No logoff')}")
        need(alerts(mode, LAGS) == ["cloud", "ep"], f"{mode}: named again: {alerts(mode, LAGS)}")
        need(not late(mode, "ep"), f"{mode}: the first events of a topic are late")
    print("the first events of the topic, kill -9: ok", flush=True)

    # Log shipping stands still, and then delivers what it has kept.
    shipping["fw"] = False
    outage = time.time() + 1
    everywhere("the outage is seen", lambda mode: alerts(mode, SILENT) == ["fw"])
    everywhere("in the metrics", lambda mode: metric(mode, 'bongsu_source_silent{source="fw"}') == 1)
    topics["ep"].put(outage + 1, "6.6.6.6", a="1")
    kill_all()
    time.sleep(12)
    now = time.time()
    for tenth in range(int((now - outage) * 10)):
        topics["fw"].put(outage + tenth / 10)
        if tenth == 5:
            topics["fw"].put(outage + tenth / 10, "6.6.6.6", a="1")
            topics["fw"].put(outage + tenth / 10, "7.7.7.7", a="1")
    shipping["fw"] = True
    everywhere("what was buffered", lambda mode: "7.7.7.7" in alerts(mode, "No logoff"))
    for mode in MODES:
        need(alerts(mode, "No logoff") == ["1.1.1.1", "5.5.5.5", "7.7.7.7"], f"{mode}: {alerts(mode, 'No logoff')}")
        need(alerts(mode, SILENT) == ["fw"], f"{mode}: {alerts(mode, SILENT)}")
        need(not late(mode, "fw"), f"{mode}: what was buffered is late: {late(mode, 'fw')[:1]}")
        with open(os.path.join(work, mode + ".alerts.jsonl"), "w") as out:
            out.write("".join(line + "\n" for line in broker.read_committed(f"time.{mode}.alerts")))
        ocsf_valid(os.path.join(work, mode + ".alerts.jsonl"))
    print("outage, kill -9: ok", flush=True)
    for mode in MODES:
        processes[mode].send_signal(signal.SIGTERM)
        need(processes[mode].wait(timeout=60) == 0, f"{mode} ended with {processes[mode].returncode}; see {log(mode)}")
finally:
    over.set()
    for process in processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()
    broker.stop()
