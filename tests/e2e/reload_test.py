"""Rules are reloaded again and again under load, from Kafka with exactly_once and from files: the incidents of the
operators that did not change are those of an undisturbed run, none missing, none twice. A bad set, and a change of
anything but rules, is refused by name, and the old set stays."""
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Application, Broker, produce, same, wait_for  # noqa: E402
from common import *  # noqa: E402,F403

work = work_folder("reload")
# A fourth operator that comes and goes; its own incidents are left out of the comparison.
EXTRA = r"""  - name: extra
    type: interval_join
    left: {source: firewall, key: src_ip, detection: {sel: {event_type: alert}, condition: sel}}
    right: {source: endpoint, key: host_ip, detection: {sel: {EventID: 1, Image|contains: '\Temp\'}, condition: sel}}
    within: {after: 10s}
"""
RULE = """title: A shell under the web server
id: 6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6b01
logsource: {category: process_creation, product: windows}
detection:
  sel: {ParentImage|endswith: '\\w3wp.exe'}
  condition: sel
level: low
"""


def reload(config, status=0):
    result = subprocess.run([BONGSU, "rules", "reload", "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env={**os.environ, "BONGSU_SAMPLE": work}, timeout=150)
    need(status is None or result.returncode == status, f"reload ended with {result.returncode}, not {status}: {result.stdout}")
    return result.stdout


def write(path, text):
    with open(path + ".new", "w") as out:
        out.write(text)
    os.rename(path + ".new", path)


def read(path):
    with open(path) as text:
        return text.read()


def reload_until_end(process, config):
    """Alternates between the set and the one with the extra operator; by command and by signal."""
    plain = read(config)
    more = plain.replace("\nsinks:", "\n" + EXTRA + "\nsinks:", 1)
    done = 0
    while process.poll() is None:
        write(config, more if done % 2 == 0 else plain)
        if done % 4 == 3:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
        if "reloaded: operators:" in reload(config, status=None):
            done += 1
        time.sleep(0.1)   # let it read something
    write(config, plain)
    need(process.returncode == 0, f"ended with {process.returncode}")
    return done


def own(alerts):
    return {uid: alert for uid, alert in alerts.items() if "extra" not in json.dumps(alert["finding_info"])}


def files():
    run([LOADGEN, "--events", "800000", "--stories", "80", "--out", work, "--seed", str(SEED % 1000)])
    config = quickstart_config(os.path.join(work, "files.yaml"), "epoch: 5ms\n")
    run([BONGSU, "run", "-c", config], BONGSU_SAMPLE=work)
    alerts = os.path.join(work, "alerts.jsonl")
    expected = alerts_of(alerts)
    for name in ("alerts", "late", "dead-letter"):
        os.remove(os.path.join(work, name + ".jsonl"))
    shutil.rmtree(os.path.join(work, "state"))
    log = os.path.join(work, "files.log")
    process = start([BONGSU, "run", "-c", config], log, BONGSU_SAMPLE=work)
    wait_for("the run", lambda: "starting with empty state" in read(log))
    done = reload_until_end(process, config)
    need(done > 0, f"it never reloaded; see {log}")
    got = own(alerts_of(alerts))
    need(set(got) == set(expected), f"{done} reloads: missing {len(set(expected) - set(got))}, invented {len(set(got) - set(expected))}")
    for uid, alert in got.items():
        for part in ("count", "evidences"):
            need(alert[part] == expected[uid][part], f"{uid} has another {part}")
    print(f"files: {done} reloads, {len(got)} incidents equal", flush=True)


def on_kafka(broker):
    produce(broker, os.path.join(work, "truth.jsonl"), events=250000, stories=60)
    base = Application(work, broker, "base")
    base.create_topics()
    base.finish()
    expected = base.incidents()
    app = Application(work, broker, "reloaded")
    app.create_topics()
    config = app.config()
    process = app.start(config=config)
    wait_for("the run", lambda: app.says("starting with empty state"))
    done = reload_until_end(process, config)
    need(done > 0, f"it never reloaded; see {app.log()}")
    app.incidents = lambda whole=app.incidents: own(whole())
    got = same(app, expected)
    print(f"Kafka: {done} reloads, {len(got)} incidents equal", flush=True)


def refusals(broker):
    """On a running instance: what is refused, what is said, and what a changed operator loses."""
    rules = os.path.join(work, "rules")
    os.makedirs(rules, exist_ok=True)
    write(os.path.join(rules, "shell.yml"), RULE)
    app = Application(work, broker, "live", f"http: {{listen: 0}}\nrules: [{rules}]\n")
    app.create_topics()
    config = app.config(until_end=False)
    need("no bongsu processes records" in reload(config, status=1), "a reload of nothing")
    process = app.start(config=config)
    try:
        wait_for("the run", lambda: app.says("starting with empty state"))
        plain = read(config)
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", read(app.log())).group(1))

        def metric(name):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                return float(re.search(f"^{re.escape(name)} (\\S+)$", answer.read().decode(), re.M).group(1))
        write(config, plain.replace("epoch: 20ms", "epoch: 30ms"))
        said = reload(config, status=2)
        need("'epoch' has changed" in said and "restart" in said, f"a changed key is not named: {said}")
        wait_for("the metric", lambda: metric("bongsu_reload_refused") == 1)
        write(config, plain.replace("event_type: alert", "event_type|no_such_modifier: alert", 1))
        said = reload(config, status=2)
        need("no_such_modifier" in said and "live-one.yaml:" in said, f"a broken operator is not named: {said}")
        write(config, plain)
        write(os.path.join(rules, "broken.yml"), RULE.replace("detection:", "detections:").replace("6b01", "6b02"))
        said = reload(config, status=2)
        need("broken.yml" in said, f"a broken rule is not named: {said}")
        os.remove(os.path.join(rules, "broken.yml"))
        need(not app.says("reloaded:"), "something was reloaded")
        need(metric('bongsu_reloads_total{result="refused"}') >= 1, "the refusals are not counted")
        # An operator that changes loses its state, and only that one.
        write(config, plain.replace("within: {before: 60s, after: 5s}", "within: {before: 50s, after: 5s}"))
        write(os.path.join(rules, "second.yml"), RULE.replace("6b01", "6b03").replace("w3wp", "httpd"))
        said = reload(config)
        need("2 kept, 1 changed (their state is dropped): c2-callback" in said, said)
        need("rules: 1 kept, 1 added" in said, said)
        wait_for("the metrics", lambda: metric("bongsu_reload_refused") == 0 and metric('bongsu_rules{kind="detection"}') == 2)
        need(metric('bongsu_reloads_total{result="done"}') == 1, "the reload is not counted")
        process.terminate()
        need(process.wait(30) == 0, "no clean stop")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main():
    files()
    broker = Broker(work, 21592)
    broker.start()
    try:
        on_kafka(broker)
        refusals(broker)
    finally:
        broker.stop()
    print("passed")


main()
