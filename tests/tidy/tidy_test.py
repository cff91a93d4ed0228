"""The repository's own rules, as a test: who may include what, who owns each file, and that the pages are true.

python3 tests/tidy/tidy_test.py prints every violation and exits with 1 where there are any.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.chdir(ROOT)
problems = []
files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                       stdout=subprocess.PIPE, text=True).stdout.split("\n")
files = [f for f in files if f and os.path.isfile(f)]


def problem(where, what):
    problems.append(f"{where}: {what}")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as text:
        return text.read()


# What a folder may include of ours.
OURS = {"state": {"state"}, "operators": {"state", "operators"}, "pipeline": {"state", "operators", "pipeline"},
        "bench": {"state", "operators", "pipeline", "bench"},
        "tests": {"state", "operators", "pipeline", "bench", "tests"}}
# Libraries that only some places may name.
THEIRS = [(r"<rocksdb/", r"state/"), (r"<librdkafka/", r"pipeline/kafka/|bench/|tests/"),
          (r"<simdjson", r"pipeline/decoder|bench/|tests/"), (r"<yaml-cpp/", r"operators/config/")]
BANNED = [(r"\b(TODO|FIXME|XXX)\b", "unfinished work"), (r"\bDISABLED_", "a test that is switched off"),
          (r"(^|[^A-Za-z0-9_.$}])/(work|root|home)/", "a path of one machine")]
LINES_MAX = {"tests": 1000}
PAGES = ["README.md", "LICENSE", "CONTRIBUTING.md", "pipeline/README.md", "operators/README.md", "state/FORMAT.md",
         "deploy/ALERTS.md", "deploy/CONFIG.md", "bench/README.md"]
TOP = {"CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", "CONTRIBUTING.md", "pipeline", "operators", "state",
       "deploy", "tests", "bench"}

cmake = {os.path.dirname(f): read(f) for f in files if os.path.basename(f) == "CMakeLists.txt"}


def owned(path):
    """Named in the CMakeLists.txt of its folder or of one above it."""
    folder = os.path.dirname(path)
    while True:
        if folder in cmake:
            name = os.path.relpath(path, folder or ".")
            if name in cmake[folder] or os.path.splitext(name)[0] in re.split(r"[\s()]+", cmake[folder]):
                return True
        if not folder:
            return os.path.splitext(path)[0][len("tests/"):] in cmake.get("tests", "")
        folder = os.path.dirname(folder)


def owned_by_helper(path):
    """Operators, tests and benches are named by add_operator, bongsu_test and bongsu_bench."""
    stem = os.path.splitext(path)[0]
    return any(re.search(rf"\b(add_operator|bongsu_test|bongsu_bench)\({re.escape(name)}\b", text)
               for text in cmake.values() for name in (stem, os.path.basename(stem), stem.split("/", 1)[-1]))


for path in files:
    top = path.split("/")[0]
    if top not in TOP and not top.startswith("."):
        problem(path, "does not belong at the top level")
    if re.search(r"_(utils?|helpers?)\.(h|cc)$", path):
        problem(path, "says nothing about what it holds")
    if not re.search(r"\.(h|cc|py|sh|md|yaml|txt)$|/(run|quickstart|local-kafka)$", path):
        continue
    text = read(path)
    if path != "tests/tidy/tidy_test.py":
        for pattern, what in BANNED:
            for number, line in enumerate(text.split("\n"), 1):
                if re.search(pattern, line):
                    problem(f"{path}:{number}", what)
    if not re.search(r"\.(h|cc)$", path):
        continue
    if text.count("\n") > LINES_MAX.get(top, 800):
        problem(path, f"{text.count(chr(10))} lines")
    if path.endswith(".h"):
        if not text.startswith("// File: " + path):
            problem(path, "does not begin with its name: // File: ...")
        if "#pragma once" not in text:
            problem(path, "has no #pragma once")
    for include in re.findall(r'#include "([^"]+)"', text):
        folder = include.split("/")[0]
        if folder in OURS and folder not in OURS.get(top, set()):
            problem(path, f"must not include {include}")
    for pattern, allowed in THEIRS:
        if re.search(rf"#include {pattern}", text) and not re.match(allowed, path):
            problem(path, f"must not include {pattern}")
    if not owned(path) and not owned_by_helper(path):
        problem(path, "belongs to no target")

for name in re.findall(r"^add_operator\((\w+)\)", cmake["operators"], re.M):
    if not os.path.exists(f"tests/operators/{name}_test.cc"):
        problem(f"operators/{name}.cc", "has no test")
for page in PAGES:
    if not os.path.exists(page):
        problem(page, "is missing")
# Paths that pages quote exist.
for page in [f for f in files if f.endswith(".md")]:
    for quoted in re.findall(r"`([a-z]+/[A-Za-z0-9_./-]+)`", read(page)):
        if quoted.split("/")[0] in OURS.keys() | {"deploy"} and not os.path.exists(quoted) and "<" not in quoted:
            problem(page, f"quotes {quoted}, which does not exist")

for line in problems:
    print(line)
print(f"{len(files)} files, {len(problems)} problems")
sys.exit(1 if problems else 0)
