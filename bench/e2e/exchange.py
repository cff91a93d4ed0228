#!/usr/bin/env python3
"""What the exchange through Kafka costs, and what three instances cost beside one.

  bench/e2e/exchange.py --rounds 5

Three joins, 1 % of the records selected, exactly once, from one set of topics: `in process` (one instance),
`kafka x1` and `kafka x3` (one and three instances through the exchange topic), and `64 shards` (in process; the others
have 16), in turn. Prints events for each CPU-second of all instances together, milliseconds from the end of an epoch's
work to its commit (the mean of a run), and the ratios of each round. Every round's alerts are checked against the
generator's truth. Builds release where it is not built, and starts a broker (deploy/local-kafka).
"""
import argparse
import json
import os
import shutil
import subprocess
import time

from whole_process import Bench, SELECTED, SOURCE, fail, run, spread

# exchange, instances, shards
PROGRAMS = {"in process": ("in_process", 1, 16), "kafka x1": ("kafka", 1, 16), "kafka x3": ("kafka", 3, 16),
            "64 shards": ("in_process", 1, 64)}
GOALS = {("kafka x1", "in process"): 0.9, ("kafka x3", "kafka x1"): 0.85, ("64 shards", "in process"): None}


def config_of(bench, topics, application, instance, exchange, shards):
    with open(os.path.join(SOURCE, "deploy", "samples", "quickstart.yaml")) as sample:
        text = sample.read()
    for side, topic in zip(("firewall", "endpoint"), topics):
        text = text.replace('files: ["${BONGSU_SAMPLE}/%s.jsonl"]' % side, f"topics: [{topic}]\n    until: end")
    text = text.replace("application: quickstart", f"application: {application}\ninstance: {instance}")
    text = text[:text.index("\nsinks:")] + f"""
kafka: {{bootstrap.servers: "{bench.broker}"}}
delivery: exactly_once
exchange: {exchange}
sinks:
  alerts: {{topic: {application}.alerts}}
  late: {{topic: bench.late}}
  dead_letter: {{topic: bench.dead}}
state: {{path: {bench.path("state", application, instance)}, memory: 256MiB, shards: {shards}}}
"""
    path = bench.path(f"{application}-{instance}.yaml")
    with open(path, "w") as out:
        out.write(text)
    return path


def one_round(bench, topics, truth, who, number):
    exchange, count, shards = PROGRAMS[who]
    application = f"bench-{exchange}-{count}-{shards}-{number}".replace("_", "-")
    configs = [config_of(bench, topics, application, f"i{i}", exchange, shards) for i in range(count)]
    run([bench.program("bongsu"), "topics", "create", "-c", configs[0]])
    begin = time.monotonic()
    processes = []
    for i, config in enumerate(configs):
        with open(bench.path(f"bongsu-{i}.log"), "wb") as out:
            processes.append(subprocess.Popen([bench.program("bongsu"), "run", "-c", config, "--report", bench.path(f"report-{i}.json")],
                                              stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT))
    cpu = peak = commits = commit_seconds = 0
    for i, process in enumerate(processes):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            fail(f"{who}: an instance ended with {process.returncode}; see {bench.work}")
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss * 1024)
        with open(bench.path(f"report-{i}.json")) as text:
            report = json.load(text)
        commits += report["epochs"]
        commit_seconds += report["epoch_commit_seconds"]
    wall = time.monotonic() - begin
    with open(bench.path("alerts.jsonl"), "wb") as out:
        out.writelines(bench.lines_of(application + ".alerts"))
    bench.check_truth(truth, bench.path("alerts.jsonl"))
    shutil.rmtree(bench.path("state"))
    return {"cpu_seconds": cpu, "wall_seconds": wall, "peak_bytes": peak, "commit_ms": commit_seconds / commits * 1000}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--build", default=os.path.join(SOURCE, "build", "release"), help="the release build")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--work", help="a folder, which is emptied (default: in the build)")
    parser.add_argument("--port", type=int, default=22060, help="of the broker; the next one is taken too")
    parser.add_argument("--jars", help="where the broker's jars are, or go")
    arguments = parser.parse_args()
    arguments.join_events = 0
    bench = Bench(arguments)
    if not arguments.no_build:
        bench.make_programs()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}", flush=True)
    rounds = {who: [] for who in PROGRAMS}
    try:
        truth = bench.path("truth.jsonl")
        topics = bench.produce("kafka", SELECTED, "--truth", truth)
        for number in range(arguments.rounds):
            order = list(PROGRAMS)
            for who in order[number % len(order):] + order[:number % len(order)]:
                figures = one_round(bench, topics, truth, who, number)
                rounds[who].append(figures)
                print(f"  {number + 1}/{arguments.rounds} {who}: {arguments.events / figures['cpu_seconds']:,.0f} events per CPU-second, "
                      f"{figures['wall_seconds']:.1f} s, {figures['peak_bytes'] / 2**20:.0f} MiB, a commit {figures['commit_ms']:.0f} ms", flush=True)
    finally:
        bench.stop_broker()
    shutil.rmtree(bench.work)
    for who, figures in rounds.items():
        rate = spread([arguments.events / f["cpu_seconds"] for f in figures])
        commit = spread([f["commit_ms"] for f in figures])
        print(f"{who}: {rate['min']:,.0f} / {rate['median']:,.0f} / {rate['max']:,.0f} events per CPU-second, "
              f"a commit {commit['min']:.0f} / {commit['median']:.0f} / {commit['max']:.0f} ms (min/median/max)")
    for (ours, theirs), goal in GOALS.items():
        ratio = spread([b["cpu_seconds"] / a["cpu_seconds"] for a, b in zip(rounds[ours], rounds[theirs])])
        verdict = f" (goal {goal}: {'reached' if ratio['median'] >= goal else 'MISSED'})" if goal else ""
        print(f"{ours} against {theirs}: {ratio['min']:.2f} / {ratio['median']:.2f} / {ratio['max']:.2f}{verdict}")


if __name__ == "__main__":
    main()
