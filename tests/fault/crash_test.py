"""Exactly once through crashes, on a real broker: kill -9 at every named point of an epoch, and at random.

The points come from state/failpoint.cc; one that no code reaches fails the test.
"""
import os
import random
import re
import signal
import subprocess
import time

from cluster import *

work = work_folder("fault")
broker = Broker(work, 21392)
RANDOM_KILLS = int(os.environ.get("BONGSU_KILLS", 20))
MOST_KILLS_OF_ONE = 8


def failpoints():
    with open(os.path.join(SOURCE, "state", "failpoint.cc")) as text:
        points = re.findall(r'return "([a-z_]+)";', text.read())
    for point in ("bundle_sent", "registry_sent"):   # of exchange: kafka; tests/fault/exchange_test.py kills there
        points.remove(point)
    return points


def killed_at(application, point, count):
    """Runs until the point kills the process; true if it did."""
    # The log is trimmed every so many flushes: a quick machine needs more of them than a second has.
    checkpoint = "20ms" if point.startswith("trim") else "200ms"
    process = application.start(config=application.config(checkpoint=checkpoint), BONGSU_FAILPOINT=f"{point}:{count}")
    try:
        status = process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        need(False, f"{point}: neither killed nor at the end; see {application.log()}")
    need(status in (0, -signal.SIGKILL), f"{point}: ended with {status}; see {application.log()}")
    return status == -signal.SIGKILL


def at_every_point(expected):
    for point in failpoints():
        application = Application(work, broker, "at-" + point.replace("_", "-"))
        application.create_topics()
        # Once early and once in the thick of it; restore needs something to restore.
        if point in ("restoring", "restored"):
            need(killed_at(application, "committed", 4), "not even committed was reached")
        first = killed_at(application, point, 1)
        need(first, f"no code reaches failpoint {point}")
        killed_at(application, point, 4)
        application.finish()
        print(f"{point}: {len(same(application, expected))} incidents equal", flush=True)


def at_random(expected):
    kills = rounds = 0
    while kills < RANDOM_KILLS:
        rounds += 1
        need(rounds <= RANDOM_KILLS, f"{rounds} applications were not killed {RANDOM_KILLS} times")
        application = Application(work, broker, f"random-{rounds}")
        application.create_topics()
        for _ in range(MOST_KILLS_OF_ONE):
            process = application.start()
            try:
                process.wait(timeout=random.uniform(0.1, 1.2))
                break  # it was at the end
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
        application.finish()
        same(application, expected)
    print(f"random: {kills} kills of {rounds} applications, {len(expected)} incidents equal each", flush=True)


def main():
    broker.start()
    print(produce(broker, os.path.join(work, "truth.jsonl"), events=400000, seed=SEED % 1000))
    base = Application(work, broker, "base")
    base.create_topics()
    base.finish()
    expected = base.incidents()
    need(len(expected) > 10, "the undisturbed run found next to nothing")
    at_every_point(expected)
    at_random(expected)
    print("passed")


try:
    main()
finally:
    broker.stop()
