#!/usr/bin/env python3
"""The whole process, measured from nothing: what bongsu costs beside the least that its input can cost.

  bench/e2e/whole_process.py                     all three cases, 5 rounds each
  bench/e2e/whole_process.py join --rounds 9 --json join.json

  files   three joins, 1 % of the records selected, from files; beside a hand-written simdjson parse
  kafka   the same from Kafka, with each delivery; beside a bare librdkafka consumer
  join    from Kafka, every event joined, about one native alert for each, with each delivery; beside the same consumer

Builds release where it is not built, makes the logs, starts a broker (deploy/local-kafka), runs the
programs in turn, checks every round's alerts (against the generator's truth, and for `join` against a
nested search over the topics' own records), and prints events for each CPU-second (user and system time
of the process) and for each second of wall time: minimum, median, maximum. A wrong answer ends it with 1.
"""
import argparse
import bisect
import collections
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BROKER_TOPIC_PARTITIONS = 4
WINDOW_NS = 5_000_000_000

# What each case makes with bongsu-loadgen; `rate` is event time, not speed.
SELECTED = ["--rate", "5000", "--stories", "300", "--seed", "5"]
JOINED = ["--rate", "5000", "--open-join", "--selected-share", "1", "--hosts", "20000", "--skew", "0.8",
          "--skew-shift", "1000", "--out-of-order-share", "0.05", "--out-of-order-bound", "5",
          "--duplicate-share", "0", "--seed", "7"]


def fail(message):
    print("FAILED:", message, flush=True)
    sys.exit(1)


def run(command, **environment):
    result = subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if result.returncode != 0:
        print(result.stdout)
        fail(f"{' '.join(command)} ended with {result.returncode}")
    return result.stdout


def measure(command, log, **environment):
    """Runs a program to its end: CPU and wall seconds, and peak memory, as the kernel counted them."""
    begin = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(log, errors="replace") as text:
            print(text.read())
        fail(f"{' '.join(command)} ended with {process.returncode}")
    return {"cpu_seconds": usage.ru_utime + usage.ru_stime, "wall_seconds": wall,
            "peak_bytes": usage.ru_maxrss * 1024}


class Bench:
    def __init__(self, arguments):
        self.build = os.path.abspath(arguments.build)
        self.work = os.path.abspath(arguments.work or os.path.join(self.build, "e2e", "whole-process"))
        self.rounds = arguments.rounds
        self.events = {"files": arguments.events, "kafka": arguments.events, "join": arguments.join_events}
        self.port = arguments.port
        self.broker = f"127.0.0.1:{arguments.port}"
        self.jars = arguments.jars or os.path.join(SOURCE, "build", "kafka-jars")
        self.broker_runs = False
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)

    def path(self, *names):
        return os.path.join(self.work, *names)

    def program(self, name):
        return os.path.join(self.build, *{"bongsu-loadgen": ("bench", "loadgen"), "bongsu": ()}.get(name, ("bench",)), name)

    def make_programs(self):
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            run(["cmake", "--preset", "release", "-S", SOURCE, "-B", self.build])
        run(["cmake", "--build", self.build, "--target", "bongsu", "bongsu-loadgen", "bare_consumer", "bare_parse"])

    def kafka(self, *words):
        return run([os.path.join(SOURCE, "deploy", "local-kafka"), *words, "--data", self.path("broker"),
                    "--port", str(self.port), "--jars", self.jars], KAFKA_HEAP=os.environ.get("KAFKA_HEAP", "1g"))

    def start_broker(self):
        if not self.broker_runs:
            self.kafka("start")
            self.broker_runs = True
            for topic in ("bench.late", "bench.dead"):
                self.kafka("topic", topic, "1")

    def stop_broker(self):
        if self.broker_runs:
            self.kafka("stop")

    def produce(self, name, options, *more):
        self.start_broker()
        topics = [f"bench.{name}.firewall", f"bench.{name}.endpoint"]
        for topic in topics:
            self.kafka("topic", topic, str(BROKER_TOPIC_PARTITIONS))
        print(run([self.program("bongsu-loadgen"), "--kafka", self.broker, "--topics", ",".join(topics), "--events",
                   str(self.events[name]), *options, *more]), end="", flush=True)
        return topics

    def bongsu(self, name, config, number, delivery="exactly_once"):
        """A run from nothing, with state, group and topics of its own; returns figures and the alerts' topic."""
        application = f"bench-{name}-{delivery}-{number}"
        shutil.rmtree(self.path("state"), ignore_errors=True)
        environment = {"BONGSU_SAMPLE": self.path("sample"), "BONGSU_BENCH_APPLICATION": application,
                       "BONGSU_BENCH_BROKER": self.broker, "BONGSU_BENCH_STATE": self.path("state"),
                       "BONGSU_BENCH_DELIVERY": delivery}
        if name != "files":
            self.kafka("topic", application + ".alerts", str(BROKER_TOPIC_PARTITIONS))
            run([self.program("bongsu"), "topics", "create", "-c", config], **environment)
        figures = measure([self.program("bongsu"), "run", "-c", config, "--report", self.path("report.json")],
                          self.path("bongsu.log"), **environment)
        with open(self.path("report.json")) as text:
            report = json.load(text)
        # The kernel's figure begins with the peak of this script.
        figures["peak_bytes"] = report["memory"]["peak_bytes"]
        figures["epochs"] = report["epochs"]
        if report["records"] != self.events[name] or any(s["late"] or s["dead_letters"] for s in report["sources"]):
            fail(f"bongsu read {report['records']} of {self.events[name]} records: {report['sources']}")
        return figures, application + ".alerts"

    def lines_of(self, *topics):
        process = subprocess.Popen([self.program("bare_consumer"), "--print", self.broker, *topics],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        yield from process.stdout
        if process.wait() != 0:
            fail(f"cannot read {topics}")

    def check_truth(self, truth, alerts):
        print("   ", run([self.program("bongsu-loadgen"), "verify", "--truth", truth, "--alerts", alerts]), end="", flush=True)


def in_turn(bench, name, ours, theirs, deliveries):
    """Rounds of all programs: forwards in one round, backwards in the next. The first program is the bare one."""
    rounds = {who: [] for who in ("bare", *deliveries)}
    for number in range(bench.rounds):
        for who in (list(rounds) if number % 2 == 0 else reversed(rounds)):
            figures = theirs() if who == "bare" else ours(number, who)
            rounds[who].append(figures)
            print(f"  {name} {number + 1}/{bench.rounds} {who}: {bench.events[name] / figures['cpu_seconds']:,.0f} events per "
                  f"CPU-second, {bench.events[name] / figures['wall_seconds']:,.0f} events/s", flush=True)
    return rounds


def case_files(bench):
    sample = bench.path("sample")
    print(run([bench.program("bongsu-loadgen"), "--out", sample, "--events", str(bench.events["files"]), *SELECTED]), end="")
    config = os.path.join(SOURCE, "deploy", "samples", "quickstart.yaml")

    def ours(number, delivery):
        for name in os.listdir(sample):
            if name not in ("firewall.jsonl", "endpoint.jsonl", "truth.jsonl"):
                path = os.path.join(sample, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        figures, _ = bench.bongsu("files", config, number)
        bench.check_truth(os.path.join(sample, "truth.jsonl"), os.path.join(sample, "alerts.jsonl"))
        return figures

    def theirs():
        return measure([bench.program("bare_parse"), os.path.join(sample, "firewall.jsonl"),
                        os.path.join(sample, "endpoint.jsonl")], bench.path("bare.log"))

    rounds = in_turn(bench, "files", ours, theirs, ["exactly_once"])
    shutil.rmtree(sample)
    return rounds


def case_kafka(bench):
    truth = bench.path("truth.jsonl")
    topics = bench.produce("kafka", SELECTED, "--truth", truth)
    # The rules of the quickstart, on topics.
    with open(os.path.join(SOURCE, "deploy", "samples", "quickstart.yaml")) as sample:
        text = sample.read()
    for side, topic in zip(("firewall", "endpoint"), topics):
        text = text.replace('files: ["${BONGSU_SAMPLE}/%s.jsonl"]' % side, f"topics: [{topic}]\n    until: end")
    text = text.replace("application: quickstart", 'application: "${BONGSU_BENCH_APPLICATION}"')
    text = text[:text.index("\nsinks:")] + """
kafka: {bootstrap.servers: "${BONGSU_BENCH_BROKER}"}
delivery: ${BONGSU_BENCH_DELIVERY}
sinks:
  alerts: {topic: "${BONGSU_BENCH_APPLICATION}.alerts"}
  late: {topic: bench.late}
  dead_letter: {topic: bench.dead}
state: {path: "${BONGSU_BENCH_STATE}", memory: 256MiB}
"""
    config = bench.path("kafka.yaml")
    with open(config, "w") as out:
        out.write(text)

    def ours(number, delivery):
        figures, alerts = bench.bongsu("kafka", config, number, delivery)
        with open(bench.path("alerts.jsonl"), "wb") as out:
            out.writelines(bench.lines_of(alerts))
        bench.check_truth(truth, bench.path("alerts.jsonl"))
        return figures

    return in_turn(bench, "kafka", ours, lambda: bare_consumer(bench, topics), DELIVERIES)


def bare_consumer(bench, topics):
    figures = measure([bench.program("bare_consumer"), bench.broker, *topics], bench.path("bare.log"))
    with open(bench.path("bare.log")) as text:
        records = int(text.read().split()[0])
    if records != bench.events["kafka" if "kafka" in topics[0] else "join"]:
        fail(f"the bare consumer read {records} records")
    return figures


def nanoseconds(text, days={}):
    """2026-01-05T08:00:00.123456+0000, or with a space, or without a zone: as UTC."""
    day = text[:10]
    if day not in days:
        days[day] = int(time.mktime(time.strptime(day, "%Y-%m-%d")) - time.timezone) * 1_000_000_000
    seconds = int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
    fraction = re.match(r"\.(\d+)", text[19:])
    return days[day] + seconds * 1_000_000_000 + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def expected_pairs(bench, topics):
    """What join.yaml must find, from the topics' own records: (flow_id, host address, RecordNumber), sorted."""
    right = collections.defaultdict(list)
    for line in bench.lines_of(topics[1]):
        record = json.loads(line)
        if record["EventID"] == 1 and record["Image"].lower().endswith(("\\cmd.exe", "\\powershell.exe")):
            right[record["host_ip"]].append((nanoseconds(record["UtcTime"]), record["RecordNumber"]))
    for events in right.values():
        events.sort()
    pairs = []
    for line in bench.lines_of(topics[0]):
        record = json.loads(line)
        if record["event_type"] != "alert" or record["alert"]["severity"] > 2:
            continue
        at, events = nanoseconds(record["timestamp"]), right.get(record["dest_ip"], [])
        for i in range(bisect.bisect_left(events, (at - WINDOW_NS, 0)), len(events)):
            if events[i][0] > at + WINDOW_NS:
                break
            pairs.append((record["flow_id"], record["dest_ip"], events[i][1]))
    return sorted(pairs)


def case_join(bench):
    topics = bench.produce("join", JOINED)
    expected = expected_pairs(bench, topics)
    print(f"  {len(expected)} pairs to be found among {bench.events['join']} events", flush=True)
    pair = re.compile(rb'"key":"([^"]+)".*"flow_id":(\d+).*"RecordNumber":(\d+)')

    def ours(number, delivery):
        config = os.path.join(SOURCE, "bench", "e2e", "join.yaml")
        figures, alerts = bench.bongsu("join", config, number, delivery)
        found = []
        for line in bench.lines_of(alerts):
            match = pair.search(line)
            found.append((int(match[2]), match[1].decode(), int(match[3])))
        found.sort()
        if found != expected:
            missing = sum((collections.Counter(expected) - collections.Counter(found)).values())
            fail(f"{len(found)} pairs found, {missing} of {len(expected)} missing")
        print(f"    {len(found)} alerts: each pair once, none missing, none else", flush=True)
        return figures

    return in_turn(bench, "join", ours, lambda: bare_consumer(bench, topics), DELIVERIES)


DELIVERIES = ["at_least_once", "exactly_once"]
CASES = {"files": case_files, "kafka": case_kafka, "join": case_join}
BARE = {"files": "hand-written parse", "kafka": "bare consumer", "join": "bare consumer"}
# How much more CPU an event may cost than in the bare program; none for files.
GOALS = {("kafka", "at_least_once"): 2.5, ("kafka", "exactly_once"): 1.9, ("join", "at_least_once"): 5.0,
         ("join", "exactly_once"): 5.0}
# How many events for a CPU-second exactly_once must make of those that at_least_once makes.
EXACTLY_ONCE_GOALS = {"kafka": 0.95, "join": 0.7}


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(ours, theirs):
    return spread([one["cpu_seconds"] / other["cpu_seconds"] for one, other in zip(ours, theirs)])


def summary(name, events, rounds):
    result = {"case": name, "events": events, "rounds": len(rounds["bare"]), "programs": {}}
    for who, figures in rounds.items():
        program = result["programs"][who] = {
            "events_per_cpu_second": spread([events / f["cpu_seconds"] for f in figures]),
            "events_per_second": spread([events / f["wall_seconds"] for f in figures]),
            "peak_bytes": max(f["peak_bytes"] for f in figures)}
        if who != "bare":
            program["cpu_ratio"] = ratios(figures, rounds["bare"])
    if name in EXACTLY_ONCE_GOALS:
        result["exactly_once"] = ratios(rounds["at_least_once"], rounds["exactly_once"])
    return result


def print_table(results):
    def three(values, scale, digits):
        return "/".join(f"{values[k] / scale:.{digits}f}" for k in ("min", "median", "max"))

    def judged(value, goal, reached):
        return f" (goal {goal}: {'reached' if reached(value['median'], goal) else 'MISSED'})"

    print(f"\n{'thousand events':24} {'per CPU-second':>20} {'per second':>20} {'peak MiB':>9}   CPU, of the bare program's")
    for result in results:
        name = result["case"]
        print(f"{name}, {result['events']:,} events, {result['rounds']} rounds")
        for who, figures in result["programs"].items():
            ratio = three(figures["cpu_ratio"], 1, 2) if "cpu_ratio" in figures else ""
            if (name, who) in GOALS:
                ratio += judged(figures["cpu_ratio"], GOALS[name, who], lambda value, goal: value <= goal)
            print(f"  {BARE[name] if who == 'bare' else who:22} {three(figures['events_per_cpu_second'], 1000, 0):>20} "
                  f"{three(figures['events_per_second'], 1000, 0):>20} {figures['peak_bytes'] / 2**20:9.0f}   {ratio}")
        if "exactly_once" in result:
            print(f"  exactly_once: {three(result['exactly_once'], 1, 2)} of the events per CPU-second of at_least_once"
                  + judged(result["exactly_once"], EXACTLY_ONCE_GOALS[name], lambda value, goal: value >= goal))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="files, kafka, join; all without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=3_000_000, help="of files and kafka")
    parser.add_argument("--join-events", type=int, default=2_000_000)
    parser.add_argument("--build", default=os.path.join(SOURCE, "build", "release"), help="the release build")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--work", help="a folder, which is emptied (default: in the build); 6 GB")
    parser.add_argument("--keep", action="store_true", help="leave it as it is at the end")
    parser.add_argument("--port", type=int, default=22050, help="of the broker; the next one is taken too")
    parser.add_argument("--jars", help="where the broker's jars are, or go")
    parser.add_argument("--json", help="the figures of all rounds, as JSON")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in CASES:
            parser.error(f"no case '{name}': {', '.join(CASES)}")
    bench = Bench(arguments)
    if not arguments.no_build:
        bench.make_programs()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}", flush=True)
    results = []
    try:
        for name in arguments.cases or CASES:
            rounds = CASES[name](bench)
            results.append({**summary(name, bench.events[name], rounds), "all_rounds": rounds})
    finally:
        bench.stop_broker()
    if not arguments.keep:
        shutil.rmtree(bench.work)
    print_table(results)
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(results, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()
