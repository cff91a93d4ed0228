"""What the end-to-end tests share: running the programs, and reading alerts.

Every test is a program of its own: python3 tests/e2e/NAME_test.py BUILD_FOLDER. It prints what it saw and
exits with 1 at the first thing that is not as it must be.
"""
import atexit
import json
import os
import random
import shutil
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(SOURCE, "build", "dev")
BONGSU = os.path.join(BUILD, "bongsu")
LOADGEN = os.path.join(BUILD, "bench", "loadgen", "bongsu-loadgen")
OCSF_CHECK = os.path.join(BUILD, "tests", "conformance", "ocsf_check")
SEED = int(os.environ.get("BONGSU_SEED", time.time_ns() % 1_000_000_007))


def work_folder(name):
    path = os.path.join(BUILD, "e2e", name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    print(f"BONGSU_SEED={SEED}, in {path}", flush=True)
    random.seed(SEED)
    return path


def need(condition, message):
    if not condition:
        print("FAILED:", message, flush=True)
        sys.exit(1)


def run(arguments, status=0, **environment):
    """Runs a program to its end; its output is returned, and shown when the status is another one."""
    result = subprocess.run(arguments, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if result.returncode != status:
        print(result.stdout)
    need(result.returncode == status, f"{arguments} ended with {result.returncode}, not {status}")
    return result.stdout


_started = []


def start(arguments, log, **environment):
    process = subprocess.Popen(arguments, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                               stdout=open(log, "ab"), stderr=subprocess.STDOUT)
    _started.append(process)
    return process


@atexit.register
def _end_what_was_started():
    """A test that failed leaves nobody behind who would take part in the next run."""
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.wait()


def quickstart_config(path, extra=""):
    with open(os.path.join(SOURCE, "deploy", "samples", "quickstart.yaml")) as sample:
        text = sample.read()
    with open(path, "w") as out:
        out.write(text + extra)
    return path


def alerts_of(path):
    """Incident id -> its last alert. A torn line, or the same alert twice, fails."""
    last, seen = {}, set()
    with open(path, "rb") as lines:
        for line in lines:
            need(line.endswith(b"\n"), f"torn line in {path}: {line[:80]}")
            alert = json.loads(line)
            uid = alert["finding_info"]["uid"]
            need((uid, alert["activity_id"]) not in seen, f"{uid} stands twice in {path}")
            seen.add((uid, alert["activity_id"]))
            last[uid] = alert
    return last


def ocsf_valid(path):
    if "BONGSU_SHARED" not in os.environ:
        print("SKIPPED: OCSF validation, because BONGSU_SHARED is not set")
        return
    run([OCSF_CHECK, path])
