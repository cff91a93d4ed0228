"""From files: the planted attacks are found and nothing else; and after kill -9 at random moments the
outputs hold exactly what an undisturbed run's hold."""
import gzip
import json
import os
import random
import shutil
import subprocess
import time

from common import *

work = work_folder("files")
base = os.path.join(work, "base")
print(run([LOADGEN, "--out", base, "--events", "300000", "--stories", "60", "--seed", str(SEED % 1000)]).strip())

def split(side):
    """The log as an archive holds it: plain, gzip in two members and zstd in two frames that end within a line, lines
    of Windows, empty files; the last line without its end."""
    folder = os.path.join(base, side)
    os.makedirs(folder)
    with open(folder + ".jsonl", "rb") as log:
        lines = log.readlines()
    parts = [b"".join(lines[i * len(lines) // 4:(i + 1) * len(lines) // 4]) for i in range(4)]
    cut = random.randrange(len(parts[1]))
    frames = [subprocess.run(["zstd", "-q", "-1", "-c"], input=part, stdout=subprocess.PIPE, check=True).stdout
              for part in (parts[2][:cut], parts[2][cut:-1])]
    for name, content in (("1.jsonl", parts[0]), ("2.jsonl.gz", gzip.compress(parts[1][:cut], 1) + gzip.compress(parts[1][cut:], 1)),
                          ("3.jsonl.zst", b"".join(frames)), ("4.jsonl", parts[3].replace(b"\n", b"\r\n")), ("5.jsonl", b""),
                          ("6.jsonl.gz", gzip.compress(b""))):
        with open(os.path.join(folder, name), "wb") as out:
            out.write(content)


for side in ("firewall", "endpoint"):
    split(side)
config = quickstart_config(os.path.join(work, "config.yaml"))
# Many small epochs and checkpoints: more places to be killed at.
with open(config) as text:
    changed = text.read().replace("firewall.jsonl", "firewall/*").replace("endpoint.jsonl", "endpoint/*").replace("memory: 256MiB}", "memory: 256MiB, checkpoint_interval: 20ms}\nepoch: 5ms")
with open(config, "w") as out:
    out.write(changed)

print(run([BONGSU, "run", "-c", config, "--report", os.path.join(base, "report.json")], BONGSU_SAMPLE=base))
print(run([LOADGEN, "verify", "--truth", os.path.join(base, "truth.jsonl"),
           "--alerts", os.path.join(base, "alerts.jsonl")]))
expected = alerts_of(os.path.join(base, "alerts.jsonl"))
need(expected, "no alerts at all")
ocsf_valid(os.path.join(base, "alerts.jsonl"))
with open(os.path.join(base, "report.json")) as report:
    need(json.load(report)["records"] >= 300000, "the report counts too few records")
need("ATT&CK" in run([BONGSU, "show", os.path.join(base, "alerts.jsonl")]), "show shows nothing")

# A second run on the same state reads nothing and writes nothing.
run([BONGSU, "run", "-c", config], BONGSU_SAMPLE=base)
need(alerts_of(os.path.join(base, "alerts.jsonl")) == expected, "a run behind the end changed the alerts")


def start_anew():
    # The path is part of incident ids: every trial gets the same one.
    for name in ("alerts.jsonl", "late.jsonl", "dead-letter.jsonl"):
        if os.path.exists(os.path.join(base, name)):
            os.remove(os.path.join(base, name))
    shutil.rmtree(os.path.join(base, "state"), ignore_errors=True)


kills_in_all = 0
for trial in range(6):
    start_anew()
    kills = 0
    while True:
        process = start([BONGSU, "run", "-c", config], os.path.join(work, "killed.log"), BONGSU_SAMPLE=base)
        try:
            # Longer from kill to kill: on a busy machine a start alone may take the shortest times.
            status = process.wait(timeout=random.uniform(0.001, 0.15 + 0.02 * kills))
            need(status == 0, f"a restart ended with {status}; see {work}/killed.log")
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            need(kills < 200, "no end after 200 kills")
    kills_in_all += kills
    got = alerts_of(os.path.join(base, "alerts.jsonl"))
    need(got == expected, f"after {kills} kills: missing {set(expected) - set(got)}, too many {set(got) - set(expected)}, "
                          f"changed {[u for u in got if u in expected and got[u] != expected[u]]}")
    print(f"trial {trial}: {kills} kills, {len(got)} incidents equal")
need(kills_in_all > 0, "nothing was killed")


# What is left of a file that was read in part must be there at the restart, and be the same.
def half_read():
    """Kills a run in the middle of a plain file: its path, and how far it was read."""
    for pause in range(1, 100):
        start_anew()
        process = start([BONGSU, "run", "-c", config], os.path.join(work, "killed.log"), BONGSU_SAMPLE=base)
        time.sleep(0.02 * pause)
        process.kill()
        process.wait()
        state = subprocess.run([BONGSU, "state", "info", os.path.join(base, "state"), "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if state.returncode != 0:   # killed before there was one
            continue
        for position in json.loads(state.stdout)["positions"]:
            path, offset = position["path"], position["next_offset"]
            if path.endswith(".jsonl") and 0 < offset < os.path.getsize(path):
                return path, offset
    need(False, "no run was killed in the middle of a file")


def refused(why):
    for command in ("check", "run"):
        text = run([BONGSU, command, "-c", config], status=1, BONGSU_SAMPLE=base)
        need(why in text, f"{command} does not say '{why}' but:\n{text}")


path, offset = half_read()
# Away, and rotated: to a name that the source reads, too.
for name in (os.path.join(work, "away"), path + ".1"):
    os.rename(path, name)
    refused(f"{path} had been read up to byte {offset}, not to its end")
    os.rename(name, path)
with open(path, "r+b") as log:
    first = log.read(8)
    log.seek(0)
    log.write(b" " * 8)
refused("it was cut or replaced")
with open(path, "r+b") as log:
    log.write(first)
run([BONGSU, "run", "-c", config], BONGSU_SAMPLE=base)
need(alerts_of(os.path.join(base, "alerts.jsonl")) == expected, "refused starts changed the alerts")
print(f"{os.path.basename(path)}, read up to {offset}: gone, rotated and replaced it is refused")

# Somebody else's output is never overwritten.
shutil.rmtree(os.path.join(base, "state"))
need("is not empty" in run([BONGSU, "run", "-c", config], status=1, BONGSU_SAMPLE=base), "no word of the full output file")
print("passed")
