"""clang-tidy over our own code, with the repository's .clang-tidy.

python3 tests/tidy/clang_tidy_test.py BUILD_FOLDER [FILE...]

The build folder holds compile_commands.json. Without files, all of state/, operators/, pipeline/ and bench/ are looked
at, and with them the headers they include; tests are not, to keep the run short. Ends with 77 (skipped) where
clang-tidy is not installed.
"""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("state", "operators", "pipeline", "bench")

if shutil.which("clang-tidy") is None:
    print("SKIPPED: clang-tidy is not installed")
    sys.exit(77)
build = os.path.abspath(sys.argv[1])
with open(os.path.join(build, "compile_commands.json")) as commands:
    known = sorted({os.path.relpath(command["file"], ROOT) for command in json.load(commands)})
files = [os.path.relpath(os.path.abspath(f), ROOT) for f in sys.argv[2:]]
files = files or [f for f in known if f.split("/")[0] in FOLDERS]
if not files:
    sys.exit("FAILED: no file to look at")


def look(path):
    """Its findings, each once. GCC's own warning flags mean nothing to clang, or something else (a constructor's
    parameter that is called as a member)."""
    result = subprocess.run(["clang-tidy", "--quiet", "-p", build, "--extra-arg=-Wno-unknown-warning-option",
                             "--extra-arg=-Wno-shadow", os.path.join(ROOT, path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            stdin=subprocess.DEVNULL)
    found = re.findall(r"^(/[^\n]*: (?:error|warning): [^\n]*)$", result.stdout, re.M)
    if result.returncode != 0 and not found:
        found = [f"{path}: clang-tidy ended with {result.returncode}: {result.stderr[-2000:]}"]
    return found


problems = set()
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for found in pool.map(look, files):
        problems.update(line.replace(ROOT + "/", "") for line in found)
for line in sorted(problems):
    print(line)
print(f"{len(files)} files, {len(problems)} findings")
sys.exit(1 if problems else 0)
