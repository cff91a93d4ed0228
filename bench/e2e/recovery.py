#!/usr/bin/env python3
"""kill -9 with much state, and an empty disk: how long until records are processed again.

  bench/e2e/recovery.py                    2,000 MB of state
  bench/e2e/recovery.py --state-mb 500

Starts a broker and fills a join with values of 200 bytes that wait for a partner (delivery: exactly_once, so that the
changelog holds them too). Then, each time with one record waiting that completes a pair with an old event:
  - the process is killed with -9 and started again on its disk: seconds from the start to the alert, readable;
  - it is stopped, its disk is removed, and it is started again: the same, and megabytes of state restored a second.
An alert that does not come ends it with 1.
"""
import argparse
import base64
import json
import os
import random
import shutil
import signal
import subprocess
import time

import whole_process
from whole_process import SOURCE, fail, run

VALUE_BYTES = 200
EVENTS, PROBES, ALERTS = "recovery.events", "recovery.probes", "recovery.alerts"
CONFIG = """application: recovery
kafka: {{bootstrap.servers: "{broker}"}}
sources:
  - name: events
    topics: [recovery.events]
    format: {{time: [{{path: t, as: epoch_ms}}]}}
    time: {{out_of_orderness: 1d, allowed_lateness: 1d}}
  - name: probes
    topics: [recovery.probes]
    format: {{time: [{{path: t, as: epoch_ms}}]}}
    time: {{out_of_orderness: 1d, allowed_lateness: 1d}}
operators:
  - name: waiting
    type: interval_join
    left: {{source: events, key: k, fields: [v]}}
    right: {{source: probes, key: k}}
    within: {{after: 1d}}
    emit: pairs
sinks:
  alerts: {{topic: recovery.alerts, format: native, fields: [k]}}
state: {{path: "{state}", memory: 512MiB}}
"""


class Recovery:
    def __init__(self, arguments):
        arguments.events = arguments.join_events = 0
        arguments.rounds = 1
        arguments.work = arguments.work or os.path.join(os.path.abspath(arguments.build), "e2e", "recovery")
        self.bench = whole_process.Bench(arguments)
        self.events = arguments.state_mb * 1_000_000 // VALUE_BYTES
        self.state = self.bench.path("state")
        self.config = self.bench.path("c.yaml")
        self.start_ms = int(time.time() * 1000) - 3_600_000
        self.probes = 0
        self.engine = None
        with open(self.config, "w") as out:
            out.write(CONFIG.format(broker=self.bench.broker, state=self.state))

    def kcat(self, topic):
        return subprocess.Popen(["kcat", "-b", self.bench.broker, "-P", "-t", topic, "-z", "lz4", "-X", "queue.buffering.max.messages=1000000"],
                                stdin=subprocess.PIPE)

    def fill(self):
        rest = VALUE_BYTES * 3 // 4
        process = self.kcat(EVENTS)
        generator = random.Random(1)
        for first in range(0, self.events, 10_000):
            process.stdin.write("".join(
                '{"t":%d,"k":"key-%d","v":"%s"}\n' % (self.start_ms + i // 100, i, base64.b64encode(generator.randbytes(rest)).decode())
                for i in range(first, min(first + 10_000, self.events))).encode())
        process.stdin.close()
        if process.wait() != 0:
            fail("kcat cannot produce the events")

    def probe(self):
        """A record that pairs with one old event; its alert's key."""
        # The first asks for the newest event of the one partition: behind its alert everything has been processed.
        key = f"key-{(self.events - 1 - self.probes * 7919) % self.events}"
        self.probes += 1
        process = self.kcat(PROBES)
        process.communicate((json.dumps({"t": self.start_ms + self.events // 100 + 1000, "k": key}) + "\n").encode())
        return key

    def start(self):
        self.engine = subprocess.Popen([self.bench.program("bongsu"), "run", "-c", self.config], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=open(self.bench.path("bongsu.log"), "ab"))

    def wait_for(self, key, seconds):
        reader = subprocess.Popen(["kcat", "-b", self.bench.broker, "-C", "-t", ALERTS, "-o", "beginning", "-u", "-q"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        deadline = time.monotonic() + seconds
        os.set_blocking(reader.stdout.fileno(), False)
        text = b""
        try:
            while f'"key":"{key}"'.encode() not in text:
                text += reader.stdout.read() or b""
                if time.monotonic() > deadline or self.engine.poll() is not None:
                    fail(f"no alert for {key} within {seconds} s: see {self.bench.path('bongsu.log')}")
                time.sleep(0.005)
        finally:
            reader.kill()
            reader.wait()

    def timed(self, seconds):
        key = self.probe()
        begin = time.monotonic()
        self.start()
        self.wait_for(key, seconds)
        return time.monotonic() - begin

    def run(self):
        for topic, partitions in ((EVENTS, 1), (PROBES, 1), (ALERTS, 4)):
            self.bench.kafka("topic", topic, str(partitions))
        run([self.bench.program("bongsu"), "topics", "create", "-c", self.config])
        self.fill()
        print(f"{self.events:,} events, {self.events * VALUE_BYTES / 1e6:,.0f} MB of values: filled in {self.timed(1800):.1f} s", flush=True)
        result = {"events": self.events, "killed_s": []}
        for _ in range(3):
            time.sleep(6)  # flush_age: what is older is on disk
            self.engine.kill()
            self.engine.wait()
            result["killed_s"].append(self.timed(120))
            print(f"killed with -9, {self.disk_mb():,.0f} MB on disk: an alert {result['killed_s'][-1]:.2f} s after the start", flush=True)
        self.engine.send_signal(signal.SIGTERM)
        if self.engine.wait(120) != 0:
            fail("bongsu does not stop cleanly")
        shutil.rmtree(self.state)
        took = self.timed(1800)
        result["restore_s"], result["restore_mb_per_s"] = took, self.events * VALUE_BYTES / 1e6 / took
        print(f"empty disk: an alert {took:.1f} s after the start, {result['restore_mb_per_s']:.0f} MB of values a second", flush=True)
        return result

    def disk_mb(self):
        return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(self.state) for name in names) / 1e6

    def stop(self):
        if self.engine is not None and self.engine.poll() is None:
            self.engine.kill()
            self.engine.wait()
        self.bench.stop_broker()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-mb", type=int, default=2000)
    parser.add_argument("--build", default=os.path.join(SOURCE, "build", "release"), help="the release build")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--work", help="a folder, which is emptied (default: in the build); 10 GB")
    parser.add_argument("--keep", action="store_true", help="leave it as it is at the end")
    parser.add_argument("--port", type=int, default=22070, help="of the broker; the next one is taken too")
    parser.add_argument("--jars", help="where the broker's jars are, or go")
    parser.add_argument("--json", help="the figures, as JSON")
    arguments = parser.parse_args()
    recovery = Recovery(arguments)
    if not arguments.no_build:
        recovery.bench.make_programs()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}", flush=True)
    try:
        recovery.bench.start_broker()
        result = recovery.run()
    finally:
        recovery.stop()
    if not arguments.keep:
        shutil.rmtree(recovery.bench.work)
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(result, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()
