"""The whole tree is formatted as .clang-format says: python3 tests/tidy/clang_format_test.py

Ends with 77 (skipped) where clang-format is not installed, or is another version than Debian 12's: versions differ.
"""
import os
import re
import shutil
import subprocess
import sys

from tidy_test import list_files

VERSION = 14
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

tool = shutil.which(f"clang-format-{VERSION}") or shutil.which("clang-format")
version = subprocess.run([tool, "--version"], stdout=subprocess.PIPE, text=True).stdout if tool else "none"
if not re.search(rf"version {VERSION}\.", version):
    print(f"SKIPPED: this needs clang-format {VERSION}; here: {version.strip()}")
    sys.exit(77)
files = [path for path in list_files(ROOT) if path.endswith((".h", ".cc"))]
result = subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=ROOT, stderr=subprocess.PIPE, text=True)
wrong = sorted(set(re.findall(r"^([^\s:]+):\d+:\d+: error", result.stderr, re.M)))
for path in wrong:
    print(f"{path}: not formatted (clang-format -i {path})")
print(f"{len(files)} files, {len(wrong)} not formatted")
sys.exit(1 if wrong or result.returncode != 0 else 0)
