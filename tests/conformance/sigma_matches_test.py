"""All rules of the corpus on real events: the matches that other engines agree on, through the whole program.

  python3 tests/conformance/sigma_matches_test.py BUILD_FOLDER regression   the rules' own regression events
  python3 tests/conformance/sigma_matches_test.py BUILD_FOLDER captures     every host capture

Every difference that is left is listed here with its reason. Needs BONGSU_SHARED.
"""
import collections
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from common import *

if "BONGSU_SHARED" not in os.environ:
    print("SKIPPED: BONGSU_SHARED is not set, so that neither rules nor captures are here")
    sys.exit(77)
data = os.path.join(os.environ["BONGSU_SHARED"], "data")
what = sys.argv[2] if len(sys.argv) > 2 else "regression"
work = work_folder("sigma-" + what)
rules = os.path.join(work, "rules")
os.makedirs(rules)
run(["sh", "-c", f"zstd -dc '{data}/sigma-rules.tar.zst' | tar -xf - -C '{rules}'"])


def match(files, log_format):
    """Runs all rules over the files; {file: {rule: [offset, ...]}}, {rule: why it was left out}."""
    config = os.path.join(work, "c.yaml")
    with open(config, "w") as out:
        out.write("application: sigma-matches\nrules: [rules]\nsources:\n")
        for i, file in enumerate(files):
            out.write(f"  - {{name: s{i}, files: ['{data}/{file}'], format: {log_format}}}\n")
        out.write("sinks: {alerts: {file: alerts.jsonl, format: native, fields: [EventID]}}\n")
    report_file = os.path.join(work, "report.json")
    run([BONGSU, "run", "-c", config, "--report", report_file])
    with open(report_file) as text:
        report = json.load(text)
    need(report["rules"]["detections"] + len(report["rules"]["left_out"]) == 3780, "not all rules were read")
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    seen = set()
    with open(os.path.join(work, "alerts.jsonl")) as lines:
        for line in lines:
            alert = json.loads(line)
            need(alert["id"] not in seen, f"alert {alert['id']} stands twice")
            seen.add(alert["id"])
            evidence = alert["evidence"][0]
            found[files[int(evidence["source"][1:])]][alert["rule"]].append(evidence["offset"])
    return found, {one["rule"]: one["why"] for one in report["rules"]["left_out"]}


def table(name):
    with open(os.path.join(data, name)) as lines:
        return [line.rstrip("\n").split("\t") for line in lines][1:]


def event_at(file, offset, cache={}):
    if file not in cache:
        cache.clear()
        cache[file] = subprocess.run(["zstd", "-dc", os.path.join(data, file)], stdout=subprocess.PIPE,
                                     check=True).stdout
    text = cache[file]
    return json.loads(text[offset:text.index(b"\n", offset)])


def check_left_out(left_out):
    """Only the rules with placeholders that the configuration does not resolve may be left out."""
    for rule, why in left_out.items():
        need("the placeholder" in why, f"rule {rule} was left out: {why}")
    need(len(left_out) == 25, f"{len(left_out)} rules were left out, not the 25 with placeholders")


def numbers(text):
    return {int(one) for one in text.split(",") if one}


def regression():
    file = "sigma-regression/events.jsonl.zst"
    found, left_out = match([file], "windows-event")
    check_left_out(left_out)
    text = subprocess.run(["zstd", "-dc", os.path.join(data, file)], stdout=subprocess.PIPE, check=True).stdout
    line_at, offset = {}, 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        line_at[offset] = number
        offset += len(line)
    expected = table("sigma-regression/expected.tsv")
    for rule, own, foreign, path in expected:
        lines = {line_at[at] for at in found[file][rule]}
        need(lines == numbers(own) | numbers(foreign),
             f"{path} matches lines {sorted(lines)}, not {own} (others' blocks: {foreign})")
    print(f"{len(expected)} rules match exactly the lines that three engines agree on")


# The only difference: events that the other engine missed.
NEEDS_PROVIDER = "our format maps NXLog's SourceName to Provider_Name, which the rule asks for"


def captures():
    expected = collections.defaultdict(dict)
    for rule, file, matches, _ in table("sigma-matches.tsv"):
        expected[file + ".zst"][rule] = int(matches)
    found, left_out = match(sorted(expected), "sysmon-nxlog")
    check_left_out(left_out)
    sources = {}
    for folder, _, names in os.walk(rules):
        for name in names:
            if name.endswith(".yml"):
                with open(os.path.join(folder, name)) as text:
                    body = text.read()
                sources[next(l for l in body.splitlines() if l.startswith("id: "))[4:].strip()] = body
    agreed, explained = 0, 0
    for file in sorted(expected):
        for rule in sorted(set(expected[file]) | set(found[file])):
            ours, theirs = len(found[file][rule]), expected[file].get(rule, 0)
            if ours == theirs:
                agreed += 1
                continue
            need("Provider_Name" in sources[rule] and ours > theirs == 0,
                 f"{rule} matches {ours} events of {file}, not {theirs}")
            for offset in found[file][rule]:
                event = event_at(file, offset)
                need("Provider_Name" not in event and event["SourceName"] in sources[rule],
                     f"{rule} matches {event} of {file}")
            explained += 1
    print(f"{agreed} of {agreed + explained} counts agree; {explained} differ: {NEEDS_PROVIDER}")
    need(agreed >= 570, f"only {agreed} counts agree")


{"regression": regression, "captures": captures}[what]()
print("passed")
