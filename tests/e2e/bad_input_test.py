"""One bad record never harms its neighbours and is never silent; compressed inputs; wrong configurations."""
import gzip
import json
import os
import shutil
import subprocess

from common import *

work = work_folder("bad_input")
good = '{"timestamp":"2026-01-05T08:00:%02d.5+0000","event_type":"alert","dest_ip":"10.0.0.%d","src_ip":"192.0.2.1"}'
bad = {
    b'{"timestamp":"2026-01-05T08:00:01Z","dest_ip":': "invalid_json",
    b"[1,2]": "not_an_object",
    b'{"event_type":"alert"}': "no_time",
    b'{"timestamp":"yesterday"}': "no_time",
    b'{"timestamp":"2026-01-05T08:00:01Z","a":' + b"[" * 80 + b"]" * 80 + b"}": "too_deep",
    b'{"timestamp":"2026-01-05T08:00:01Z","a":"' + b"x" * 5000 + b'"}': "too_large",
    b"\xef\xbb\xbf{}}": "invalid_json",
}
lines = []
for i in range(20):
    lines.append((good % (i, i)).encode())
    if i < len(bad):
        lines.append(list(bad)[i])
lines.insert(3, b"   ")
lines.append(b'{"timestamp":"2026-01-05T08:00:40Z","event_type":"alert","dest_ip":"10.0.0.77","note":"\xff\xfe"}')
lines.append(b'{"timestamp":"2099-01-05T08:00:40Z","event_type":"alert","dest_ip":"10.0.0.78"}')
content = b"\n".join(lines)   # no newline at the end
with open(os.path.join(work, "plain.jsonl"), "wb") as out:
    out.write(content)
half = content.index(b"\n", len(content) // 2) + 1
with open(os.path.join(work, "members.jsonl.gz"), "wb") as out:   # two members, one log
    out.write(gzip.compress(content[:half]) + gzip.compress(content[half:]))
subprocess.run(["zstd", "-q", "-k", os.path.join(work, "plain.jsonl"), "-o", os.path.join(work, "plain.jsonl.zst")], check=True)
with open(os.path.join(work, "plain.jsonl.zst"), "rb") as whole, open(os.path.join(work, "skippable.jsonl.zst"), "wb") as out:
    out.write(b"\x50\x2a\x4d\x18\x04\x00\x00\x00size" + whole.read())   # as pzstd begins a file

CONFIG = """
application: bad
sources:
  - {name: fw, files: [%s], format: suricata-eve, record_bytes_max: 4KiB}
operators:
  - name: self
    type: interval_join
    left: {source: fw, key: dest_ip}
    right: {source: fw, key: src_ip}
    within: {before: 1s, after: 1s}
sinks: {alerts: {file: alerts.jsonl}}
"""
counts = []
for name in ("plain.jsonl", "members.jsonl.gz", "plain.jsonl.zst", "skippable.jsonl.zst"):
    folder = os.path.join(work, name + ".run")
    os.makedirs(folder)
    with open(os.path.join(folder, "c.yaml"), "w") as out:
        out.write(CONFIG % ("../" + name))
    run([BONGSU, "run", "-c", os.path.join(folder, "c.yaml"), "--report", os.path.join(folder, "report.json")])
    with open(os.path.join(folder, "report.json")) as report:
        source = json.load(report)["sources"][0]
    need(source["records"] == len(lines) - 1, f"{name}: {source['records']} records, not {len(lines) - 1}")
    need(source["future"] == 1, f"{name}: the record from the future was not noticed")
    need(source["repaired_utf8"] == 1, f"{name}: the bad UTF-8 was not repaired")
    reasons = {}
    for reason in bad.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    need(source["dead_letters"] == reasons, f"{name}: {source['dead_letters']}, not {reasons}")
    with open(os.path.join(folder, "alerts.dead-letter.jsonl")) as letters:
        letters = [json.loads(line) for line in letters]
    need(len(letters) == len(bad), "not every bad record is in the dead letters")
    for letter in letters:
        need(letter["offset"] >= 0 and "reason" in letter, f"no coordinates: {letter}")
        if "record" in letter and not letter.get("cut"):
            need(content[letter["offset"]:].startswith(letter["record"].encode()), f"wrong coordinates: {letter}")
    counts.append(source)
need(all(count == counts[0] for count in counts), "compression changes the result")

# A damaged file: what was good before the damage counts, and the status says that something is wrong.
with open(os.path.join(work, "cut.jsonl.gz"), "wb") as out:
    out.write(gzip.compress(content)[:-20])
folder = os.path.join(work, "cut.run")
os.makedirs(folder)
with open(os.path.join(folder, "c.yaml"), "w") as out:
    out.write(CONFIG % "../cut.jsonl.gz")
need("damaged gzip" in run([BONGSU, "run", "-c", os.path.join(folder, "c.yaml")], status=1), "no word of the damage")

# A byte order mark begins no record.
folder = os.path.join(work, "mark.run")
os.makedirs(folder)
with open(os.path.join(folder, "fw.jsonl"), "wb") as out:
    out.write(b"\xef\xbb\xbf" + (good % (1, 1)).encode() + b"\r\n")
config = os.path.join(folder, "c.yaml")
with open(config, "w") as out:
    out.write(CONFIG % "fw.jsonl")
run([BONGSU, "run", "-c", config, "--report", os.path.join(folder, "report.json")])
with open(os.path.join(folder, "report.json")) as report:
    source = json.load(report)["sources"][0]
need(source["events"] == 1 and not source["dead_letters"], f"behind a byte order mark: {source}")


# What passes check starts, and what does not ends check as it ends run.
def refused(why, path=config):
    for command in ("check", "run"):
        text = run([BONGSU, command, "-c", path], status=1)
        need(why in text, f"{command} does not say '{why}' but:\n{text}")


run([BONGSU, "check", "-c", config])
with open(os.path.join(folder, "fw.jsonl"), "ab") as out:
    out.write((good % (2, 2)).encode() + b"\n")
refused("there is new input now")
with open(os.path.join(folder, "fw.jsonl"), "wb") as out:
    out.write(b"{}\n")
refused("it was cut or replaced")

# A compressed file that was read to its end, and is another one the next night: short and long, of one beginning or none.
for name, packed in (("gz", gzip.compress), ("zst", lambda bytes: subprocess.run(
        ["zstd", "-q", "-c"], input=bytes, stdout=subprocess.PIPE, check=True).stdout)):
    for first, second, why in (([1], [2], "it was cut or replaced"), ([], [2], "there is new input now"),
                               ([1], [1, 2], "there is new input now"), (range(50), range(50, 0, -1), "it was cut or replaced"),
                               (range(50), [], "it was cut or replaced")):
        days = [packed("".join(good % (i, i) + "\n" for i in day).encode()) for day in (first, second)]
        shutil.rmtree(os.path.join(work, "day.run"), ignore_errors=True)
        os.makedirs(os.path.join(work, "day.run"))
        with open(os.path.join(work, "day.run", "c.yaml"), "w") as out:
            out.write(CONFIG % "day.*")
        for day in days[:1] * 2 + days[1:]:
            with open(os.path.join(work, "day.run", "day." + name), "wb") as out:
                out.write(day)
            if day == days[0]:
                run([BONGSU, "run", "-c", os.path.join(work, "day.run", "c.yaml")])
        refused(why, os.path.join(work, "day.run", "c.yaml"))

# A line that was read without its end, and was continued then.
shutil.rmtree(os.path.join(work, "day.run"))
os.makedirs(os.path.join(work, "day.run"))
with open(os.path.join(work, "day.run", "c.yaml"), "w") as out:
    out.write(CONFIG % "day.jsonl")
for part in ((good % (1, 1))[:40], (good % (1, 1))[40:] + "\n"):
    if part.endswith("\n"):
        run([BONGSU, "run", "-c", os.path.join(work, "day.run", "c.yaml")])
    with open(os.path.join(work, "day.run", "day.jsonl"), "a") as out:
        out.write(part)
refused("the line there, which had no newline, was continued since", os.path.join(work, "day.run", "c.yaml"))
shutil.rmtree(os.path.join(folder, ".bongsu"))
with open(os.path.join(folder, "alerts.jsonl"), "w") as out:
    out.write("somebody else's\n")
refused("is not empty")
for output, why in (("/dev/null", "a device or a pipe"), ("/tmp", "is a folder"), ("nowhere/a.jsonl", "cannot make")):
    with open(config, "w") as out:
        out.write(CONFIG.replace("alerts.jsonl", output).replace("alerts:", "late: {file: l}, dead_letter: {file: d}, alerts:") % "fw.jsonl")
    refused(why)
for state in ("/proc/no-such", os.path.join(folder, "fw.jsonl", "below"), os.path.join(folder, "fw.jsonl")):
    with open(config, "w") as out:
        out.write((CONFIG % "fw.jsonl").replace("alerts.jsonl", "fresh.jsonl") + f"state: {{path: {state}}}\n")
    refused("cannot make")

# Wrong configurations: everything at once, with line and hint, and exit status 2.
with open(os.path.join(work, "wrong.yaml"), "w") as out:
    out.write("""application: bad
sources:
  - {name: fw, files: [plain.jsonl], formt: suricata-eve}
  - {name: ep, topics: [t], files: [x], format: sysmon-nxlg}
operators:
  - name: j
    type: intervall_join
exchange: kafka
sinks: {alerts: {file: a.jsonl, format: ecs}}
""")
text = run([BONGSU, "check", "-c", os.path.join(work, "wrong.yaml")], status=2)
for part in ("wrong.yaml:3:", "did you mean 'format'", "did you mean 'sysmon-nxlog'", "either topics or files",
             "did you mean 'interval_join'", "'exchange: kafka' needs Kafka on all sides", "wrong.yaml:9:"):
    need(part in text, f"'{part}' is missing in:\n{text}")
need("no file matches" in run([BONGSU, "check", "-c", os.path.join(folder, "none.yaml")], status=1)
     if open(os.path.join(folder, "none.yaml"), "w").write(CONFIG % "nowhere/*.jsonl") else False, "no word of the missing files")
# Wrong usage says what is wrong, and ends with 2 before anything is begun.
for words, part in ((["nonsense"], "there is no command 'nonsense'"), (["chekc"], "did you mean 'check'"), ([], "required"),
                    (["run"], "--config is required"), (["version", "x"], "not expected: x"),
                    (["run", "-c", os.path.join(folder, "c.yaml"), "--report", "no/such/folder/r"], "cannot write the report"),
                    (["check", "-c", work], "it is a folder")):
    text = run([BONGSU, *words], status=2)
    need(part in text, f"'{part}' is missing in:\n{text}")
need(run([BONGSU, "version"]).startswith("bongsu "), "version does not name the program")
print("passed")
