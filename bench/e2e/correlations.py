#!/usr/bin/env python3
"""Correlations in the whole process, from files: events for each CPU-second, beside another engine where one is given.

  bench/e2e/correlations.py                              our figures, 5 rounds each
  bench/e2e/correlations.py --rsigma PATH --rounds 9     alternating with rsigma on the same files and rules

Cases: event_count, value_count, temporal and temporal_ordered by 10,000 and by 100,000 source addresses within 5 minutes,
and value_count with one hot address, 40,000 events in the window. One worker thread each. Every round's incidents are checked: each key
that a plain walk through the sorted events finds, and no other. A wrong answer ends it with 1.

Expects release programs (build/release/bongsu); makes its files under build/release/e2e/correlations.
"""
import argparse
import collections
import datetime
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SPAN_MS = 300_000
START_MS = 1_767_225_600_000   # 2026-01-01T00:00:00Z

RULES = """title: Firewall flow
id: 7b0c1f5e-6a53-4c38-9d6b-0d1f4f9f2a01
name: flow
status: test
logsource: {category: firewall}
detection:
  flow: {action: %s}
  condition: flow
level: low
---
title: Measured
id: 7b0c1f5e-6a53-4c38-9d6b-0d1f4f9f2a02
name: measured
status: test
correlation:
  type: %s
  rules: [flow]
  group-by: [src_ip]
  timespan: 5m
  condition: {%s}
level: high
"""
TEMPORAL_RULES = """title: Flow to SSH
id: 7b0c1f5e-6a53-4c38-9d6b-0d1f4f9f2a03
name: first
status: test
logsource: {category: firewall}
detection:
  flow: {dst_port: 22}
  condition: flow
level: low
---
title: Short flow to RDP
id: 7b0c1f5e-6a53-4c38-9d6b-0d1f4f9f2a04
name: second
status: test
logsource: {category: firewall}
detection:
  flow: {dst_port: 3389, packets: 7}
  condition: flow
level: low
---
title: Both
id: 7b0c1f5e-6a53-4c38-9d6b-0d1f4f9f2a05
name: both
status: test
correlation:
  type: %s
  rules: [first, second]
  group-by: [src_ip]
  timespan: 5m
level: high
"""
CONFIG = """application: correlations
threads: 1
rules: [rules.yml]
sources:
  - name: firewall
    files: [events.jsonl]
    format: {time: [{path: "@timestamp", as: rfc3339}], logsource: {category: firewall}}
sinks: {alerts: {file: alerts.jsonl, format: native}}
state: {path: state}
"""
# type, condition, its number, keys, events, event time that they are spread over
CASES = {
    "event_count-10000": ("event_count", "gte: %d", 60, 10_000, 2_400_000, 3_600),
    "event_count-100000": ("event_count", "gte: %d", 20, 100_000, 2_400_000, 3_600),
    "value_count-10000": ("value_count", "field: dst_port, gte: %d", 25, 10_000, 2_400_000, 3_600),
    "value_count-100000": ("value_count", "field: dst_port, gte: %d", 10, 100_000, 2_400_000, 3_600),
    "temporal-10000": ("temporal", "", 0, 10_000, 2_400_000, 3_600),
    "temporal-100000": ("temporal", "", 0, 100_000, 2_400_000, 3_600),
    "temporal_ordered-10000": ("temporal_ordered", "", 0, 10_000, 2_400_000, 3_600),
    "temporal_ordered-100000": ("temporal_ordered", "", 0, 100_000, 2_400_000, 3_600),
    "value_count-hot": ("value_count", "field: dst_port, gte: %d", 1_500, 1, 60_000, 450),
}


def fail(message):
    print("FAILED:", message, flush=True)
    sys.exit(1)


def stamp(ms):
    time_of_day = datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc)
    return time_of_day.strftime("%Y-%m-%dT%H:%M:%S") + ".%03dZ" % (ms % 1000)


def make_events(path, keys, events, seconds):
    """Uniform over the keys; a thousandth from scanners, which try ever new ports. Returns (ms, key, port, packets) of each."""
    rng = random.Random(11)
    made = []
    with open(path, "w", encoding="ascii") as out:
        for i in range(events):
            ms = START_MS + i * seconds * 1000 // events
            number = rng.randrange(keys)
            ip = "10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)
            port = rng.randrange(1, 1000) if keys == 1 else rng.choice((22, 53, 80, 443, 445, 3389, 8080, 8443))
            if keys > 1 and rng.random() < 0.01:
                ip, port = "172.31.0.%d" % rng.randrange(20), rng.randrange(1, 60_000)
            size, packets = rng.randrange(60, 100_000), rng.randrange(1, 100)
            made.append((ms, ip, port, packets))
            out.write('{"@timestamp":"%s","event_type":"flow","action":"blocked","src_ip":"%s","src_port":%d,"dst_ip":"192.0.2.%d",'
                      '"dst_port":%d,"proto":"TCP","bytes":%d,"packets":%d,"device":"fw-%02d","seq":%d}\n'
                      % (stamp(ms), ip, rng.randrange(1024, 65536), rng.randrange(256), port, size, packets, rng.randrange(8), i))
    return made


def pair_keys(ordered, events):
    """Keys with an event of either rule less than a span from one another."""
    newest, keys = {}, set()
    for ms, key, port, packets in events:
        rule = 0 if port == 22 else 1 if port == 3389 and packets == 7 else None
        if rule is None:
            continue
        other = newest.get((key, 1 - rule))
        if other is not None and ms - other < SPAN_MS and (rule == 1 or not ordered):
            keys.add(key)
        newest[key, rule] = ms
    return keys


def firing_keys(kind, number, events):
    if kind.startswith("temporal"):
        return pair_keys(kind == "temporal_ordered", events)
    windows = collections.defaultdict(collections.deque)
    counts = collections.defaultdict(collections.Counter)
    keys = set()
    for ms, key, port, _ in events:
        window = windows[key]
        window.append((ms, port))
        counts[key][port] += 1
        while window[0][0] <= ms - SPAN_MS:
            _, old = window.popleft()
            counts[key][old] -= 1
            if counts[key][old] == 0:
                del counts[key][old]
        if (len(window) if kind == "event_count" else len(counts[key])) >= number:
            keys.add(key)
    return keys


def measure(command, folder, log):
    begin = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(log, errors="replace", encoding="utf-8") as text:
            print(text.read()[-4000:])
        fail(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - begin


def run_ours(arguments, folder, keys):
    for name in ("state", ".bongsu"):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    for name in ("alerts.jsonl", "alerts.late.jsonl", "alerts.dead-letter.jsonl"):
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    figures = measure([os.path.abspath(arguments.bongsu), "run", "-c", "c.yaml"], folder, os.path.join(folder, "bongsu.log"))
    with open(os.path.join(folder, "alerts.jsonl"), encoding="utf-8") as lines:
        found = {json.loads(line)["key"] for line in lines}
    if found != keys:
        fail(f"{folder}: {len(found - keys)} keys invented, {len(keys - found)} missed of {len(keys)}")
    return figures


def run_rsigma(arguments, folder):
    return measure([arguments.rsigma, "--output-format", "ndjson", "--quiet", "engine", "eval", "-r", "rules.yml", "-e",
                    "@events.jsonl"], folder, os.path.join(folder, "rsigma.log"))


def line(name, who, events, rounds):
    rates = sorted(events / cpu for cpu, _ in rounds)
    print(f"| {name} | {who} | {rates[0]:,.0f} / {statistics.median(rates):,.0f} / {rates[-1]:,.0f} |", flush=True)
    return statistics.median(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help="default: all")
    parser.add_argument("--bongsu", default=os.path.join(SOURCE, "build", "release", "bongsu"))
    parser.add_argument("--rsigma", help="the other engine's program")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| case | engine | events per CPU-second, min / median / max |\n|---|---|---|")
    for name in arguments.cases:
        kind, condition, number, keys, events, seconds = CASES[name]
        folder = os.path.join(SOURCE, "build", "release", "e2e", "correlations", name)
        os.makedirs(folder, exist_ok=True)
        made = make_events(os.path.join(folder, "events.jsonl"), keys, events, seconds)
        with open(os.path.join(folder, "rules.yml"), "w", encoding="utf-8") as out:
            out.write(RULES % ("blocked", kind, condition % number) if condition else TEMPORAL_RULES % kind)
        with open(os.path.join(folder, "c.yaml"), "w", encoding="utf-8") as out:
            out.write(CONFIG)
        expected = firing_keys(kind, number, made)
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(run_ours(arguments, folder, expected))
            if arguments.rsigma:
                theirs.append(run_rsigma(arguments, folder))
        median = line(name, "bongsu", events, ours)
        if theirs:
            print(f"  ratio {median / line(name, 'rsigma', events, theirs):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
