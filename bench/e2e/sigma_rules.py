#!/usr/bin/env python3
"""What the rules cost: all 3,780 rules of the SigmaHQ corpus beside one rule that nothing meets, whole process from files.

  BONGSU_SHARED=... bench/e2e/sigma_rules.py build/release [--rounds 5] [--events 500000] [--json out.json]
  BONGSU_SHARED=... bench/e2e/sigma_rules.py build/release --rsigma PATH        beside another engine (needs python3-yaml)

  sysmon     the host captures of the development data, one after the other (NXLog's JSON, 2.1 KB an event)
  firewall   their Suricata logs, repeated

The two configurations run in turn. CPU seconds are the process's own; those of a run over an empty file (start, loading the
rules) are measured in each round as well, shown by themselves, and taken off before they are divided by the events. Each
round must find the same matches as the first. Prints nanoseconds of CPU an event, their ratio, and seconds to load.

With --rsigma that engine runs all rules in turn with ours, its log-source routing on, over the same Windows events; it is told the log source
of each (a line for each category that pipeline/formats/logsource/windows.yaml gives it), which ours finds out by itself. Its start is
taken off, too. The matches of the two are compared, by rule and event, in a run that is not measured.
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


def log_sources(record, table):
    """(service, category) of a Windows event, as our own table has it; the first service, every category."""
    names = {"Channel": record.get("Channel"), "EventID": record.get("EventID"), "Provider_Name": record.get("SourceName")}

    def holds(when):
        for key, wanted in when.items():
            name, _, modifier = key.partition("|")
            have = str(names.get(name)).lower()
            wanted = [str(one).lower() for one in (wanted if isinstance(wanted, list) else [wanted])]
            if not any(have.startswith(one) if modifier == "startswith" else have == one for one in wanted):
                return False
        return True

    found = [[entry["is"] for entry in table[kind] if "is" in entry and holds(entry["when"])] for kind in ("service", "category")]
    return [(service, category) for service in found[0] or ["none"] for category in found[1] or ["none"]]


def make_peer_input(source, path):
    """The same events with their log sources written out. `_idx`: where the line is in the source."""
    import yaml  # only here: the bench needs nothing else that Python does not have
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(os.path.join(folder, "pipeline/formats/logsource/windows.yaml"), encoding="utf-8") as text:
        table = yaml.safe_load(text)
    known = {}
    offset = 0
    with open(source, "rb") as lines, open(path, "wb") as out:
        for line in lines:
            here, offset = offset, offset + len(line)
            try:
                record = json.loads(line)
            except ValueError:
                continue
            kind = tuple(str(record.get(name)) for name in ("Channel", "EventID", "SourceName"))
            if kind not in known:
                known[kind] = log_sources(record, table)
            # NXLog's name for what Sigma calls Provider_Name: the mapping of ours does that, too.
            more = {"_idx": here, "Provider_Name": record.get("Provider_Name", record.get("SourceName"))}
            for service, category in known[kind]:
                more.update(_product="windows", _service=service, _category=category)
                out.write(line.rstrip()[:-1] + b"," + json.dumps(more).encode()[1:] + b"\n")


class Peer:
    """rsigma, one worker, over a file."""
    ROUTING = ["--logsource-routing", "--logsource-field-map", "product=_product,service=_service,category=_category"]

    def __init__(self, program, rules):
        self.command = [program, "--output-format", "ndjson", "--quiet", "engine", "eval", "-r", rules] + self.ROUTING

    def cpu(self, source):
        process = subprocess.Popen(self.command + ["-e", "@" + source], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            fail(f"rsigma ended with {process.returncode}")
        return usage.ru_utime + usage.ru_stime

    def matches(self, source):
        process = subprocess.Popen(self.command + ["-e", "@" + source, "--include-event"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        found = set()
        for line in process.stdout:
            match = json.loads(line)
            found.add((match["rule_id"], match["event"]["_idx"]))
        process.wait()
        return found


def compare_with_peer(case, source, options):
    """Rounds of all rules, ours and theirs; prints both rates, their ratio, and how the matches differ."""
    peer_source, empty = source + ".peer", os.path.join(case.work, "empty.jsonl")
    make_peer_input(source, peer_source)
    peer = Peer(options.rsigma, case.rules["all"])
    ours, theirs = [], []
    for _ in range(options.rounds):
        start, _ = case.run("all", empty)
        found, _ = case.run("all", source)
        ours.append(options.events / (found["cpu_seconds"] - start["cpu_seconds"]))
        theirs.append(options.events / (peer.cpu(peer_source) - peer.cpu(empty)))
    with open(os.path.join(case.work, "out", "alerts.jsonl"), encoding="utf-8") as lines:
        alerts = [json.loads(line) for line in lines]
    mine = {(alert["rule"], alert["evidence"][0]["offset"]) for alert in alerts}
    other = peer.matches(peer_source)
    ratios = [a / b for a, b in zip(ours, theirs)]
    for what, values in (("bongsu", ours), ("rsigma", theirs)):
        print(f"  {what}, events per CPU-second {min(values):,.0f} / {statistics.median(values):,.0f} / {max(values):,.0f}")
    print(f"  ratio {min(ratios):.1f} / {statistics.median(ratios):.1f} / {max(ratios):.1f}")
    print(f"  matches: {len(mine & other)} of both, {len(mine - other)} ours only, {len(other - mine)} theirs only")
    for name, only in (("ours", mine - other), ("theirs", other - mine)):
        for rule in sorted({rule for rule, _ in only}):
            print(f"    {name} only: {sum(1 for one, _ in only if one == rule)} of {rule}")
    os.remove(peer_source)


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
    parser.add_argument("--rsigma", help="the other engine's program: only the comparison with it is made")
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
            if options.rsigma is not None:
                if name == "sysmon":
                    print(f"sysmon: {options.events} events, min/median/max of {options.rounds} rounds")
                    compare_with_peer(case, source, options)
                continue
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
