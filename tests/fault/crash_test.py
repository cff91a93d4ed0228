"""Exactly once through crashes, on a real broker: kill -9 at every named point of an epoch, and at random.

The points come from pipeline/failpoint.cc; one that no code reaches fails the test.
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


def failpoints():
    with open(os.path.join(SOURCE, "pipeline", "failpoint.cc")) as text:
        return re.findall(r'return "([a-z_]+)";', text.read())


def killed_at(application, point, count):
    """Runs until the point kills the process; true if it did."""
    process = application.start(BONGSU_FAILPOINT=f"{point}:{count}")
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
    application = Application(work, broker, "random")
    application.create_topics()
    kills = 0
    for _ in range(40 * RANDOM_KILLS):
        process = application.start()
        if kills >= RANDOM_KILLS:
            process.wait(timeout=180)
            break
        try:
            process.wait(timeout=random.uniform(0.3, 1.6))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    application.finish()
    need(kills > 0, "nothing was killed")
    print(f"random: {kills} kills, {len(same(application, expected))} incidents equal", flush=True)


def main():
    broker.start()
    print(produce(broker, os.path.join(work, "truth.jsonl"), seed=SEED % 1000))
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
