#!/usr/bin/env python3
"""What the rules cost: all 3,780 rules of the SigmaHQ corpus beside one rule that nothing meets, whole process from files.

  BONGSU_SHARED=... python3 bench/e2e/sigma_rules.py build/release [--rounds 5] [--events 500000] [--json out.json]

  sysmon     the host captures of the development data, one after the other (NXLog's JSON, 2.1 KB an event)
  firewall   their Suricata logs, repeated

The two configurations run in turn. CPU seconds are the process's own; those of a run over an empty file (start, loading the
rules) are measured in each round as well, shown by themselves, and taken off before they are divided by the events. Each
round must find the same matches as the first. Prints nanoseconds of CPU an event, their ratio, and seconds to load.
"""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

EMPTY_RULE = """title: No event meets this
id: 3f3c2a6e-54a1-4f0e-9a53-8f6c0a9f4c11
status: test
logsource: {product: %s}
detection: {sel: {%s: 'nothing has this value'}, condition: sel}
level: low
"""
CASES = {"sysmon": ("sysmon-nxlog", ["host-only/*.zst", "joined/*/*/host.jsonl.zst"], ("windows", "EventID")),
         "firewall": ("suricata-eve", ["joined/*/*/suricata_eve*.zst"], ("suricata", "event_type"))}


def fail(message):
    print("FAILED:", message, flush=True)
    sys.exit(1)


def make_input(data, patterns, events, path):
    files = sorted(file for pattern in patterns for file in glob.glob(os.path.join(data, pattern)))
    if not files:
        fail(f"no files {patterns} in {data}")
    lines = []
    for file in files:
        lines += subprocess.run(["zstd", "-dc", file], stdout=subprocess.PIPE, check=True).stdout.splitlines()
    with open(path, "wb") as out:
        for i in range(events):
            out.write(lines[i % len(lines)] + b"\n")
    return len(lines)


class Case:
    def __init__(self, work, bongsu, name, rules, log_format, one):
        self.bongsu, self.work, self.name = bongsu, work, name
        os.makedirs(os.path.join(work, "one"), exist_ok=True)
        with open(os.path.join(work, "one", "rule.yml"), "w") as out:
            out.write(EMPTY_RULE % one)
        self.rules = {"zero": os.path.join(work, "one"), "all": rules}
        self.format = log_format

    def run(self, rules, source):
        config = os.path.join(self.work, "c.yaml")
        with open(config, "w") as out:
            out.write(f"application: bench\nrules: ['{self.rules[rules]}']\nstate: {{path: '{self.work}/state'}}\n"
                      f"sources: [{{name: s, files: ['{source}'], format: {self.format}}}]\n"
                      f"sinks: {{alerts: {{file: '{self.work}/out/alerts.jsonl', format: native, fields: [EventID]}}}}\n")
        for folder in ("state", "out"):
            shutil.rmtree(os.path.join(self.work, folder), ignore_errors=True)
        os.makedirs(os.path.join(self.work, "out"))
        report = os.path.join(self.work, "report.json")
        result = subprocess.run([self.bongsu, "run", "-c", config, "--report", report], cwd=self.work,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            fail(result.stdout[-2000:])
        with open(report) as text:
            found = json.load(text)
        with open(os.path.join(self.work, "out", "alerts.jsonl")) as lines:
            alerts = sum(1 for _ in lines)
        return found, alerts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--json")
    options = parser.parse_args()
    if "BONGSU_SHARED" not in os.environ:
        fail("BONGSU_SHARED is not set: the rules and captures are not there")
    data = os.path.join(os.environ["BONGSU_SHARED"], "data")
    bongsu = os.path.abspath(os.path.join(options.build, "bongsu"))
    work = tempfile.mkdtemp(prefix="bongsu-sigma-rules-")
    results = {}
    try:
        rules = os.path.join(work, "rules")
        os.makedirs(rules)
        subprocess.run(["sh", "-c", f"zstd -dc '{data}/sigma-rules.tar.zst' | tar -xf - -C '{rules}'"], check=True)
        empty = os.path.join(work, "empty.jsonl")
        open(empty, "w").close()
        for name, (log_format, patterns, one) in CASES.items():
            source = os.path.join(work, name + ".jsonl")
            make_input(data, patterns, options.events, source)
            case = Case(work, bongsu, name, rules, log_format, one)
            cost = {"zero": [], "all": []}
            load = {"zero": [], "all": []}
            wanted = None
            for _ in range(options.rounds):
                for which in ("zero", "all"):
                    start, _ = case.run(which, empty)
                    found, alerts = case.run(which, source)
                    load[which].append(start["cpu_seconds"])
                    cost[which].append((found["cpu_seconds"] - start["cpu_seconds"]) / options.events * 1e9)
                    if found["records"] != options.events:
                        fail(f"{found['records']} records, not {options.events}")
                    if which == "all":
                        wanted = alerts if wanted is None else wanted
                        if alerts != wanted:
                            fail(f"{alerts} alerts, not {wanted} as in the first round")
            ratios = [b / a for a, b in zip(cost["zero"], cost["all"])]
            shown = {"zero ns": cost["zero"], "all ns": cost["all"], "ratio": ratios, "load s": load["all"]}
            print(f"{name}: {options.events} events, {wanted} alerts, min/median/max of {options.rounds} rounds")
            for what, values in shown.items():
                print(f"  {what:8} {min(values):.3f} / {statistics.median(values):.3f} / {max(values):.3f}")
            results[name] = {"alerts": wanted, **shown}
            os.remove(source)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        with open(options.json, "w") as out:
            json.dump(results, out, indent=1)


main()
