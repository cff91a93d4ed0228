"""Metrics and health, scraped while bongsu runs: from files, and on a real broker, where lag, watermarks,
readiness and health follow what happens."""
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Application, Broker, wait_for  # noqa: E402
from common import *  # noqa: E402,F403
from proxy import Proxy, Rule  # noqa: E402

work = work_folder("metrics")
HTTP = "http: {listen: 0}\n"
PROXY = 21196
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)')


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return 0, ""


def parse(text):
    """Series -> value; everything that the text format asks for is checked."""
    series, kinds, helped = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            need(line.split(" ", 3)[2] not in helped, f"two HELPs: {line}")
            helped.add(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            need(name not in kinds and name in helped, f"TYPE out of order: {line}")
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            need(match is not None, f"not the text format: {line!r}")
            name = match.group(1)
            base = re.sub("_(bucket|sum|count)$", "", name) if name not in kinds else name
            need(base in kinds, f"no TYPE before {line!r}")
            key = name + (match.group(2) or "")
            need(key not in series, f"twice: {key}")
            series[key] = float(match.group(3))
    return series


def port_of(log, process):
    found = []

    def listens():
        need(process.poll() is None, f"ended with {process.poll()}; see {log}")
        found[:] = re.findall(r"metrics and health on http://127\.0\.0\.1:(\d+)", open(log, errors="replace").read())
        return bool(found)
    wait_for("the address in the log", listens)
    return int(found[-1])


def metrics(port):
    status, text = get(port, "/metrics")
    return parse(text) if status == 200 else {}


def files():
    """Scraped until it ends by itself; what it said last agrees with the report."""
    run([LOADGEN, "--events", "600000", "--stories", "20", "--out", work, "--seed", str(SEED % 1000)])
    config = quickstart_config(os.path.join(work, "files.yaml"), HTTP)
    log, report = os.path.join(work, "files.log"), os.path.join(work, "files.json")
    process = start([BONGSU, "run", "-c", config, "--report", report], log, BONGSU_SAMPLE=work)
    port = port_of(log, process)
    last, seen = {}, 0
    while process.poll() is None:
        now = metrics(port)
        if now:
            seen += 1
            for name, value in now.items():
                need(not name.split("{")[0].endswith("_total") or value >= last.get(name, 0), f"{name} went back to {value}")
            last = now
        time.sleep(0.02)
    need(process.returncode == 0, f"ended with {process.returncode}; see {log}")
    need(seen > 0, "never scraped")
    with open(report) as text:
        for source in json.load(text)["sources"]:
            read = last[f'bongsu_source_records_total{{source="{source["name"]}"}}']
            need(read <= source["records"], f"{source['name']}: {read} records scraped, {source['records']} in the report")
    print(f"files: {seen} scrapes", flush=True)


def busy_port():
    """One clear message, and nothing is read."""
    log = os.path.join(work, "busy.log")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = quickstart_config(os.path.join(work, "busy.yaml"),
                                   f"http: {{listen: {taken.getsockname()[1]}}}\n")
        out = run([BONGSU, "run", "-c", config], status=1, BONGSU_SAMPLE=work)
        need("cannot listen on 127.0.0.1" in out and "in use" in out, f"no clear message: {out}")


def on_kafka(broker):
    for name, partitions in (("logs.firewall", 4), ("logs.endpoint", 3)):
        broker.topic(name, partitions)
    load = [LOADGEN, "--kafka", broker.address, "--topics", "logs.firewall,logs.endpoint", "--truth",
            os.path.join(work, "truth.jsonl"), "--events", "100000", "--stories", "20"]
    run(load + ["--seed", "1"])
    app = Application(work, broker, "metered", HTTP)
    app.create_topics()
    config = app.config(until_end=False)
    process = app.start(config=config)
    try:
        port = port_of(app.log(), process)
        wait_for("ready", lambda: get(port, "/readyz")[0] == 200)
        need(get(port, "/healthz")[0] == 200, "not healthy")
        records = 'bongsu_source_records_total{source="%s"}'
        total = lambda now: sum(now.get(records % name, 0) for name in ("firewall", "endpoint"))  # noqa: E731
        wait_for("everything is read", lambda: total(metrics(port)) == 100000)
        wait_for("no lag", lambda: metrics(port).get('bongsu_source_lag_records{source="firewall"}') == 0)
        now = metrics(port)
        need(now['bongsu_phase{phase="running"}'] == 1, "not the phase")
        need(now["bongsu_epochs_total"] > 0 and now["bongsu_commit_seconds_count"] > 0, "no epochs")
        need(now['bongsu_commit_seconds_bucket{le="+Inf"}'] == now["bongsu_commit_seconds_count"], "a torn histogram")
        need(now['bongsu_source_partitions{source="firewall"}'] == 4, "not 4 partitions")
        need(now['bongsu_operator_incidents_total{operator="inbound-exploit-then-shell"}'] > 0, "no incidents")
        need(any(name.startswith('bongsu_source_watermark_held_by{source="firewall",partition="logs.firewall[') for name in now),
             "nobody holds the watermark")
        need(now['bongsu_restore_shards_done'] == now['bongsu_restore_shards'] == 16, "the restore is not shown")
        # A stopped process falls behind and is not alive; the brokers know how far.
        lag = 'bongsu_source_lag_records{source="firewall"}'
        before = total(now)
        os.kill(process.pid, signal.SIGSTOP)
        run(load + ["--seed", "2"])
        os.kill(process.pid, signal.SIGCONT)
        wait_for("the second load is read", lambda: total(metrics(port)) >= before + 100000)
        wait_for("no lag again", lambda: metrics(port).get(lag) == 0)
        # Brokers that are away leave the lag unknown, and do not make a restart look useful.
        os.kill(broker.pid(), signal.SIGSTOP)
        try:
            time.sleep(3)
            need(get(port, "/healthz")[0] == 200, "a broker's pause makes it unhealthy")
            need(metrics(port)["bongsu_epochs_total"] > 0, "no metrics without brokers")
        finally:
            os.kill(broker.pid(), signal.SIGCONT)
        # A second instance waits, is alive, and is not ready.
        second = app.start("two", app.config("two", until_end=False))
        try:
            other = port_of(app.log("two"), second)
            wait_for("the second waits", lambda: "waiting" in get(other, "/readyz")[1])
            need(metrics(other)['bongsu_phase{phase="waiting"}'] == 1, "no metrics while it waits")
            need(get(other, "/readyz")[0] == 503 and get(other, "/healthz")[0] == 200, "the second is not waiting")
        finally:
            second.terminate()
            second.wait(30)
        process.terminate()
        need(process.wait(30) == 0, "no clean stop")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def behind(broker, proxy):
    """An instance whose fetches take long: its lag is there, in records and in seconds, while it reads."""
    app = Application(work, broker, "slow", HTTP, address=f"127.0.0.1:{PROXY}")
    app.create_topics()
    proxy.rules = [Rule("Fetch", "delay", 1, 0.3)]
    process = app.start(config=app.config(until_end=False))
    try:
        port = port_of(app.log(), process)
        records, seconds = 'bongsu_source_lag_records{source="firewall"}', 'bongsu_source_lag_seconds{source="firewall"}'
        seen = []

        def lags():
            now = metrics(port)
            seen.append((now.get(records, 0), now.get(seconds, 0)))
            return seen[-1][0] > 0 and seen[-1][1] > 0
        wait_for("a lag", lags)
        print(f"slow: {seen[-1][0]:.0f} records and {seen[-1][1]:.1f} s behind", flush=True)
    finally:
        process.kill()
        process.wait()


def main():
    files()
    busy_port()
    broker = Broker(work, 21192, proxy=PROXY)
    broker.start()
    proxy = Proxy(PROXY, 21194, seed=SEED)
    proxy.start()
    try:
        on_kafka(broker)
        behind(broker, proxy)
    finally:
        proxy.stop()
        broker.stop()
    print("passed")


main()
