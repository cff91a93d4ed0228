#!/usr/bin/env python3
"""How long from a record's arrival at the broker to the alert that it completes, readable with read_committed.

  bench/e2e/latency.py                      at 50, 80 and 95 % of full load
  bench/e2e/latency.py --full 200000        full load is given, not measured: records a second
  bench/e2e/latency.py --exchange kafka     through the exchange topic

Starts a broker, measures full load (events a second over a backlog), then for each share: bongsu with delivery
exactly_once and epoch 100 ms on fresh topics, bongsu-loadgen at that rate with event time that follows the wall clock,
1 % of the records one side of a join, and a reader of the alerts. An alert's latency is the wall time at which the
reader has it, less the later timestamp of its two records (both clocks are this machine's). Producer, broker, engine
and reader share the machine. Prints p50, p90, p99 and the maximum. An alert that is missing or double ends it with 1.
"""
import argparse
import json
import os
import signal
import subprocess
import threading
import time

import whole_process
from whole_process import SOURCE, fail, run

LOAD = ["--open-join", "--selected-share", "0.01", "--hosts", "5000", "--skew", "0.8", "--out-of-order-share", "0.05",
        "--out-of-order-bound", "1", "--duplicate-share", "0", "--seed", "7"]
WARM_UP_SECONDS = 3


class Latency:
    def __init__(self, arguments):
        arguments.events = arguments.join_events = arguments.backlog
        arguments.rounds = 1
        arguments.work = arguments.work or os.path.join(os.path.abspath(arguments.build), "e2e", "latency")
        self.bench = whole_process.Bench(arguments)
        self.seconds = arguments.seconds
        self.epoch = arguments.epoch
        self.exchange = arguments.exchange

    def config(self, name, until):
        with open(os.path.join(SOURCE, "bench", "e2e", "join.yaml")) as sample:
            text = sample.read().replace("bench.join.", f"{name}.")
        if not until:
            text = text.replace("    until: end\n", "")
        path = self.bench.path(name + ".yaml")
        with open(path, "w") as out:
            out.write(text + f"epoch: {self.epoch}\nexchange: {self.exchange}\n")
        return path

    def topics(self, name):
        for topic in ("firewall", "endpoint", "alerts"):
            self.bench.kafka("topic", f"{name}.{topic}", "4")
        return f"{name}.firewall,{name}.endpoint"

    def environment(self, name):
        return {"BONGSU_BENCH_APPLICATION": name, "BONGSU_BENCH_BROKER": self.bench.broker,
                "BONGSU_BENCH_STATE": self.bench.path("state-" + name), "BONGSU_BENCH_DELIVERY": "exactly_once"}

    def loadgen(self, name, events, *more):
        return run([self.bench.program("bongsu-loadgen"), "--kafka", self.bench.broker, "--topics", self.topics(name) if not more
                    else f"{name}.firewall,{name}.endpoint", "--events", str(events), *LOAD, *more])

    def full_load(self):
        """Events a second over a backlog: what the machine does with the broker beside it."""
        self.loadgen("full", self.bench.events["join"])
        config = self.config("full", until=True)
        report = self.bench.path("full.json")
        run([self.bench.program("bongsu"), "topics", "create", "-c", config], **self.environment("full"))
        run([self.bench.program("bongsu"), "run", "-c", config, "--report", report], **self.environment("full"))
        with open(report) as text:
            return json.load(text)["events_per_second"]

    def at(self, name, rate):
        config = self.config(name, until=False)
        self.topics(name)
        environment = self.environment(name)
        run([self.bench.program("bongsu"), "topics", "create", "-c", config], **environment)
        log = self.bench.path(name + ".log")
        reader = subprocess.Popen(["kcat", "-b", self.bench.broker, "-C", "-t", f"{name}.alerts", "-o", "beginning", "-u", "-q"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        received = []
        thread = threading.Thread(target=lambda: received.extend((time.time(), line) for line in reader.stdout))
        thread.start()
        with open(log, "wb") as out:
            engine = subprocess.Popen([self.bench.program("bongsu"), "run", "-c", config], env={**os.environ, **environment},
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + 60
            while "starting with empty state" not in open(log, errors="replace").read():
                if time.monotonic() > until or engine.poll() is not None:
                    fail(f"bongsu does not start: see {log}")
                time.sleep(0.1)
            begin = time.time()
            print("   ", self.loadgen(name, int(rate * self.seconds), "--rate", str(rate), "--start", "now", "--limit-rate",
                                      str(rate)).splitlines()[0], flush=True)
            took = time.time() - begin
            seen = -1  # until no more alerts come
            while seen != len(received):
                seen = len(received)
                time.sleep(2)
        finally:
            engine.send_signal(signal.SIGTERM)
            status = engine.wait(60)
            reader.terminate()
            thread.join()
            reader.wait()
        if status != 0:
            fail(f"bongsu ended with {status}: see {log}")
        return self.latencies(name, begin, received), took

    def latencies(self, name, begin, received):
        produced = {}
        for side in ("firewall", "endpoint"):
            dump = run(["kcat", "-b", self.bench.broker, "-C", "-t", f"{name}.{side}", "-o", "beginning", "-e", "-q", "-f", "%p %o %T\n"])
            for line in dump.splitlines():
                partition, offset, timestamp = map(int, line.split())
                produced[f"{name}.{side}", partition, offset] = timestamp / 1000
        ids, latencies = set(), []
        for at, line in received:
            alert = json.loads(line)
            if alert["id"] in ids:
                fail(f"alert {alert['id']} came twice")
            ids.add(alert["id"])
            complete = max(produced[e["topic"], e["partition"], e["offset"]] for e in alert["evidence"])
            if complete >= begin + WARM_UP_SECONDS:
                latencies.append(at - complete)
        if not latencies:
            fail("no alerts")
        return sorted(latencies)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=float, help="full load, records a second (default: measured)")
    parser.add_argument("--shares", default="50,80,95", help="of full load, in per cent")
    parser.add_argument("--seconds", type=int, default=20, help="of load for each share")
    parser.add_argument("--backlog", type=int, default=2_000_000, help="records for measuring full load")
    parser.add_argument("--epoch", default="100ms")
    parser.add_argument("--exchange", default="in_process", choices=("in_process", "kafka"))
    parser.add_argument("--build", default=os.path.join(SOURCE, "build", "release"), help="the release build")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--work", help="a folder, which is emptied (default: in the build); 6 GB")
    parser.add_argument("--port", type=int, default=22060, help="of the broker; the next one is taken too")
    parser.add_argument("--jars", help="where the broker's jars are, or go")
    parser.add_argument("--json", help="the figures, as JSON")
    arguments = parser.parse_args()
    latency = Latency(arguments)
    if not arguments.no_build:
        latency.bench.make_programs()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, epoch {arguments.epoch}, exchange {arguments.exchange}", flush=True)
    results = []
    try:
        latency.bench.start_broker()
        full = arguments.full or latency.full_load()
        print(f"full load: {full:,.0f} records/s", flush=True)
        for share in map(int, arguments.shares.split(",")):
            rate = full * share / 100
            sorted_latencies, took = latency.at(f"at{share}", rate)
            part = lambda p: sorted_latencies[min(len(sorted_latencies) - 1, int(p * len(sorted_latencies)))] * 1000
            result = {"share": share, "rate": rate, "alerts": len(sorted_latencies), "seconds": took, "p50_ms": part(0.5), "p90_ms": part(0.9),
                      "p99_ms": part(0.99), "max_ms": sorted_latencies[-1] * 1000}
            results.append(result)
            print(f"{share} %, {rate:,.0f} records/s for {took:.1f} s, {result['alerts']} alerts: p50 {result['p50_ms']:.0f} ms, "
                  f"p90 {result['p90_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms, max {result['max_ms']:.0f} ms", flush=True)
    finally:
        latency.bench.stop_broker()
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(results, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()
