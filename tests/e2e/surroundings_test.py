"""Bad surroundings: each ends (or waits) as pipeline/README.md says, with one clear message that names what is wrong
and what to do, and nothing is lost: mended, the same configuration finds every planted attack."""
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fault"))
from cluster import Application, Broker, produce, wait_for  # noqa: E402
from common import *  # noqa: E402,F403

work = work_folder("surroundings")
PORT = 21292
SASL = PORT + 2
JARS = os.path.join(os.path.dirname(BUILD), "kafka-jars", "lib", "*")
# ANONYMOUS is the broker itself and the test; bongsu comes by SASL, and has no rights but those that it is given.
PROPERTIES = f"""
listeners=PLAINTEXT://127.0.0.1:{PORT},CONTROLLER://127.0.0.1:{PORT + 1},SASL://127.0.0.1:{SASL}
advertised.listeners=PLAINTEXT://127.0.0.1:{PORT},SASL://127.0.0.1:{SASL}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_bongsu="secret";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


def fails(what, config, *words, status=1, seconds=60, program=BONGSU, user=None, **environment):
    """Ends by itself with this status and a message that holds all words, one time."""
    started = time.time()
    try:
        result = subprocess.run([program, "run", "-c", config], env={**os.environ, **environment}, stdin=subprocess.DEVNULL, user=user,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        need(False, f"{what}: no end within {seconds} s: {late.stdout}")
    need(result.returncode == status, f"{what}: exit status {result.returncode}, not {status}: {result.stdout}")
    errors = [line for line in result.stdout.splitlines() if re.match(r"\S+ error: (?!kafka )", line)]
    for word in words:
        need(any(word in line for line in result.stdout.splitlines()), f"{what}: '{word}' is not said in: {result.stdout}")
    need(len(errors) <= 2, f"{what}: not one message but {errors}")
    need("secret" not in result.stdout, f"{what}: the password is shown")
    print(f"{what}: {time.time() - started:.1f} s: {errors[-1].partition(' error: ')[2] if errors else ''}", flush=True)
    return result.stdout


def with_login(config, password="secret"):
    with open(config) as text:
        changed = text.read().replace(f'bootstrap.servers: "127.0.0.1:{PORT}"', f"""bootstrap.servers: "127.0.0.1:{SASL}"
  security.protocol: sasl_plaintext
  sasl.mechanism: PLAIN
  sasl.username: bongsu
  sasl.password: {password}""")
    with open(config, "w") as out:
        out.write(changed)
    return config


def acl(*arguments):
    return subprocess.Popen(["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", JARS,
                             "org.apache.kafka.tools.AclCommand", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def all_done(processes):
    for process in processes:
        _, error = process.communicate()
        need(process.returncode == 0, f"AclCommand failed: {error.decode()[-300:]}")


def printed_acls(config, leave_out=()):
    """What `bongsu topics acls` prints, split into the arguments of kafka-acls, for the test's own address."""
    lines = run([BONGSU, "topics", "acls", "-c", config]).splitlines()
    need(len(lines) >= 8, f"too few permissions: {lines}")
    for line in lines:
        if any(word in line for word in leave_out):
            continue
        words = line.replace("'", "").split()
        need(words[0] == "kafka-acls", line)
        words[words.index("--bootstrap-server") + 1] = f"127.0.0.1:{PORT}"
        yield words[1:]


def changed(app, name, old, new):
    with open(app.config()) as text:
        body = text.read()
    need(old in body, f"'{old}' is not in the configuration")
    path = os.path.join(work, name + ".yaml")
    with open(path, "w") as out:
        out.write(body.replace(old, new))
    return path


def read_only_folder(own_state):
    """Root may write everywhere: it goes as nobody, with copies that nobody may read."""
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "read-only")
        os.makedirs(state)
        os.chmod(folder, 0o777)
        program, user = BONGSU, None
        if os.geteuid() == 0:
            program, user = os.path.join(folder, "bongsu"), pwd.getpwnam("nobody").pw_uid
            shutil.copy(BONGSU, program)
        for name in ("firewall.jsonl", "endpoint.jsonl"):
            with open(os.path.join(work, name)) as full, open(os.path.join(folder, name), "w") as out:
                out.writelines(line for line, _ in zip(full, range(100)))
        os.chmod(state, 0o555)
        config = shutil.copy(own_state("ro", state), folder)
        fails("a read-only state folder", config, state, "ermission denied", program=program, user=user, BONGSU_SAMPLE=folder)


def state_folder():
    """From files: a folder that cannot be made or written, and one that another process has."""
    run([LOADGEN, "--events", "500000", "--stories", "30", "--out", work, "--seed", str(SEED % 1000)])
    config = quickstart_config(os.path.join(work, "files.yaml"))

    def own_state(name, path):
        with open(config) as text:
            body = text.read()
        where = os.path.join(work, name + ".yaml")
        with open(where, "w") as out:
            out.write(body.replace('path: "${BONGSU_SAMPLE}/state"', f'path: "{path}"'))
        return where
    fails("a state folder that cannot be made", own_state("nowhere", "/proc/bongsu"), "/proc/bongsu", BONGSU_SAMPLE=work)
    read_only_folder(own_state)
    log = os.path.join(work, "first.log")
    first = start([BONGSU, "run", "-c", config], log, BONGSU_SAMPLE=work)
    try:
        wait_for("the first run", lambda: "starting with empty state" in open(log).read())
        first.send_signal(signal.SIGSTOP)
        fails("a state folder in use", config, "in use by another process", BONGSU_SAMPLE=work)
    finally:
        first.send_signal(signal.SIGCONT)
    need(first.wait(60) == 0, "the first run was hurt")
    print(run([LOADGEN, "verify", "--truth", os.path.join(work, "truth.jsonl"), "--alerts", os.path.join(work, "alerts.jsonl")]).strip())


def on_kafka(broker):
    truth = os.path.join(work, "kafka-truth.jsonl")
    produce(broker, truth, events=60000, stories=20)
    app = Application(work, broker, "hurt")
    good = app.config()
    address = f'"{broker.address}"'
    fails("a wrong broker address", changed(app, "address", address, '"127.0.0.1:1"'), "127.0.0.1:1", "Connection refused", seconds=40)
    fails("a missing output topic", good, "does not exist", "bongsu topics create")
    fails("a missing source topic", changed(app, "source", "logs.firewall", "logs.nowhere"), "logs.nowhere' does not exist")
    app.create_topics()
    fails("a transaction.max.timeout.ms that is too small", changed(app, "timeout", "fetch.message.max.bytes:",
          'transaction.timeout.ms: "1000000"\n  fetch.message.max.bytes:'), "transaction.max.timeout.ms")
    fails("records larger than the topic takes", changed(app, "large", "fetch.message.max.bytes:",
          'message.max.bytes: "2000000"\n  fetch.message.max.bytes:'), "max.message.bytes", "hurt.changelog")
    # Credentials and permissions.
    fails("wrong credentials", with_login(app.config("two"), "wrong"), "uthentication failed", seconds=40)
    login = with_login(app.config("two"))
    fails("no permission at all", login, "logs.firewall", "uthoriz", "bongsu topics acls")
    all_done([acl(*words) for words in printed_acls(login, leave_out=("--transactional-id", "--group"))])
    fails("no permission for the group", login, "roup", "uthoriz", "bongsu topics acls")
    all_done([acl(*words) for words in printed_acls(login) if "--group" in words])
    fails("no permission for the transactional id", login, "ransactional", "uthoriz")
    all_done([acl(*words) for words in printed_acls(login) if "--transactional-id" in words])
    # With just what was printed everything works, and nothing was lost by all of the above.
    need(app.start("two", config=login).wait(120) == 0, f"the printed permissions are not enough; see {app.log('two')}")
    path = os.path.join(work, "kafka-alerts.jsonl")
    with open(path, "w") as out:
        out.write("\n".join(broker.read_committed("hurt.alerts")) + "\n")
    print(run([LOADGEN, "verify", "--truth", truth, "--alerts", path]).strip())


def main():
    state_folder()
    broker = Broker(work, PORT, PROPERTIES)
    broker.start()
    try:
        on_kafka(broker)
    finally:
        broker.stop()
    print("passed")


main()
