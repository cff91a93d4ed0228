"""The repository's own rules, as a test: who may include what, who owns each file, and that the pages are true.

python3 tests/tidy/tidy_test.py prints every violation and exits with 1 where there are any.
tests/tidy/tidy_self_test.py shows each rule a tree that breaks it.
"""
import os
import re
import subprocess
import sys

# What a folder may include of ours: the direction state <- operators <- pipeline.
OURS = {"state": {"state"}, "operators": {"state", "operators"}, "pipeline": {"state", "operators", "pipeline"},
        "bench": {"state", "operators", "pipeline", "bench"},
        "tests": {"state", "operators", "pipeline", "bench", "tests"}}
# Headers of libraries that only some places may include, and what their targets are called in CMake.
THEIRS = [(r"rocksdb/", "RocksDB::", r"state/"),
          (r"librdkafka/", "RDKAFKA", r"pipeline/kafka/|pipeline/CMakeLists|bench/|tests/"),
          (r"simdjson", "simdjson::", r"pipeline/decoder_index\.cc|pipeline/CMakeLists|bench/|tests/"),
          (r"yaml-cpp/", "yaml-cpp", r"operators/config/|operators/CMakeLists"),
          (r"hs(/hs)?\.h", "PkgConfig::HS", r"operators/sigma/|operators/CMakeLists")]
# Operators know none of these: the framework gives them time, threads and stores.
NOT_IN_OPERATORS = r"#include <(thread|mutex|atomic|condition_variable|future|chrono|filesystem|fstream)>"
BANNED = [(r"\b(TODO|FIXME|XXX)\b", "unfinished work"), (r"\bDISABLED_|\bGTEST_SKIP\(\) *;", "a test that is switched off"),
          (r"(^|[^A-Za-z0-9_.$}])/(work|root|home)/", "a path of one machine"), (r"^\s*throw\b", "throws")]
LINES_MAX = {"tests": 1000}
COLUMNS_MAX = 100
PAGES = ["README.md", "LICENSE", "CONTRIBUTING.md", "pipeline/README.md", "operators/README.md", "state/FORMAT.md",
         "deploy/ALERTS.md", "deploy/CONFIG.md", "deploy/OPERATIONS.md", "bench/README.md"]
TOP = {"CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", "CONTRIBUTING.md", "pipeline", "operators", "state",
       "deploy", "tests", "bench"}
TEXT = r"\.(h|cc|py|sh|md|yaml|txt)$|/(run|quickstart|local-kafka|install-packages|fresh-machine)$"
TIDY = "tests/tidy/"   # these files name what they forbid


def list_files(root):
    if os.path.exists(os.path.join(root, ".git")):
        names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True, cwd=root,
                               stdout=subprocess.PIPE, text=True).stdout.split("\n")
    else:
        names = [os.path.relpath(os.path.join(folder, name), root) for folder, _, inside in os.walk(root) for name in inside]
        names = [name for name in names if not name.startswith("build/")]
    return sorted(name for name in names if name and os.path.isfile(os.path.join(root, name)))


class Tree:
    """A checkout: its files, the text of those that hold text, and what the CMake files name."""

    def __init__(self, root):
        self.root = root
        self.files = list_files(root)
        self.texts = {path: self.read(path) for path in self.files if re.search(TEXT, path) or path in PAGES}
        self.code = [path for path in self.files if re.search(r"\.(h|cc)$", path)]
        self.cmake = {os.path.dirname(path): self.texts[path] for path in self.files
                      if os.path.basename(path) == "CMakeLists.txt"}
        self.pages = [path for path in self.files if path.endswith(".md")]
        everything = "\n".join(text for path, text in self.texts.items() if not path.endswith(".md"))
        self.words = set(re.findall(r"\w+", everything))

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as text:
            return text.read()

    def exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def named_in_cmake(self, path):
        """Whole, or without its ending, relative to the CMakeLists.txt of its folder or of one above it."""
        folder = os.path.dirname(path)
        while True:
            if folder in self.cmake:
                name = os.path.relpath(path, folder or ".")
                named = re.split(r"[\s()\"]+", self.cmake[folder])
                if name in named:
                    return True
                # Operators, tests and benches are named without their ending by the functions that make them.
                stem = os.path.splitext(name)[0]
                if path.endswith((".cc", ".py")) and re.search(
                        rf"\b(add_operator|bongsu_test|bongsu_bench)\({re.escape(stem)}[\s)]", self.cmake[folder]):
                    return True
            if not folder:
                return False
            folder = os.path.dirname(folder)

    def owned(self, path):
        if self.named_in_cmake(path):
            return True
        inner = os.path.splitext(path)[0].split("/", 1)[-1]   # operators/interval_join_test, of tests/ or bench/
        made = rf"\b(add_operator|bongsu_test|bongsu_bench)\({re.escape(inner)}[\s)]"
        return any(re.search(made, text) for text in self.cmake.values())


def rule_places(tree):
    for path in tree.files:
        top = path.split("/")[0]
        if top not in TOP and not top.startswith("."):
            yield path, "does not belong at the top level"
        if re.search(r"_(utils?|helpers?|common)\.(h|cc)$", path):
            yield path, "says nothing about what it holds"
    for page in PAGES:
        if page not in tree.files:
            yield page, "is missing"


def rule_banned_words(tree):
    for path, text in tree.texts.items():
        if path.startswith(TIDY):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            for pattern, what in BANNED:
                if re.search(pattern, line) and not (what == "throws" and not path.endswith((".h", ".cc"))):
                    yield f"{path}:{number}", what


def rule_size(tree):
    for path in tree.code:
        lines = tree.texts[path].split("\n")
        most = LINES_MAX.get(path.split("/")[0], 800)
        if len(lines) - 1 > most:
            yield path, f"{len(lines) - 1} lines, more than {most}"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                yield f"{path}:{number}", f"{len(line)} columns, more than {COLUMNS_MAX}"


def rule_headers(tree):
    for path in tree.code:
        if not path.endswith(".h"):
            continue
        text = tree.texts[path]
        banner = re.match(r"(?://[^\n]*\n)*", text).group(0)
        if not banner.startswith(f"// File: {path}\n"):
            yield path, "does not begin with its name: // File: ..."
        elif banner.count("\n") < 3:
            yield path, "does not say what it is for"
        elif not path.startswith(("tests/", "bench/")) and not re.search(r"thread|immutable|stateless|constant", banner, re.I):
            yield path, "does not say which threads may use it"
        if "#pragma once" not in text:
            yield path, "has no #pragma once"


def rule_includes(tree):
    for path in tree.code:
        text = tree.texts[path]
        top = path.split("/")[0]
        quoted = re.findall(r'^#include "([^"]+)"', text, re.M)
        for include in quoted:
            folder = include.split("/")[0]
            if folder in OURS and folder not in OURS.get(top, set()):
                yield path, f"must not include {include}"
            elif folder in OURS and not tree.exists(include):
                yield path, f"includes {include}, which does not exist"
        for header, _, allowed in THEIRS:
            if re.search(rf'^#include [<"]{header}', text, re.M) and not re.match(allowed, path):
                yield path, f"must not include <{header}>"
        if top == "operators" and not path.startswith("operators/sigma/rule"):   # which reads rule files, at the start
            for name in re.findall(NOT_IN_OPERATORS, text):
                yield path, f"must not include <{name}>: operators have no threads, clocks or files"
        own = re.sub(r"\.cc$", ".h", path)
        if path.endswith(".cc") and top in ("state", "operators", "pipeline") and tree.exists(own) and quoted[:1] != [own]:
            yield path, "does not include its own header first"
    for folder, text in tree.cmake.items():
        for _, target, allowed in THEIRS:
            uses = re.search(rf"(?<![\w-]){re.escape(target)}[\w:-]*", "\n".join(
                line for line in text.split("\n") if "find_package" not in line and "pkg_check_modules" not in line))
            if uses and folder and not re.match(allowed, folder + "/CMakeLists.txt") and not re.match(allowed, folder + "/"):
                yield f"{folder}/CMakeLists.txt", f"must not link {target}"


def rule_owners(tree):
    included = set(re.findall(r'^#include "(tests/[^"]+)"', "\n".join(tree.texts[path] for path in tree.code), re.M))
    for path in tree.code:
        if not tree.owned(path) and path not in included:
            yield path, "belongs to no target"
    for path in tree.files:
        if re.match(r"tests/.*_test\.py$", path) and path != TIDY + "clang_tidy_test.py":   # run by hand
            name = os.path.basename(path)[:-len("_test.py")]
            cmake = "\n".join(text for folder, text in tree.cmake.items() if folder.startswith("tests"))
            if not re.search(rf"(?<!\w){re.escape(name)}(_test\.py)?(?!\w)", cmake):
                yield path, "is run by no test"


def rule_operators(tree):
    added = set(re.findall(r"^add_operator\((\w+)\)", tree.cmake.get("operators", ""), re.M))
    defined = {name for path in tree.code if path.startswith("operators/")
               for name in re.findall(r"^void RegisterOperator_(\w+)\(", tree.texts[path], re.M)}
    for name in sorted(added | defined):
        if name not in added:
            yield f"operators/{name}.cc", f"operators/CMakeLists.txt has no add_operator({name})"
        if f"tests/operators/{name}_test.cc" not in tree.files:
            yield f"operators/{name}.cc", "has no test"


def rule_pages(tree):
    folders = set(OURS) | {"deploy", ".ci"}
    for page in tree.pages:
        text = tree.texts[page]
        here = os.path.dirname(page)
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", prose):
            target = link.split("#")[0]
            if target and not re.match(r"[a-z]+:", target) and not tree.exists(os.path.normpath(os.path.join(here, target))):
                yield page, f"links to {link}, which does not exist"
        commands = [line for line in text.split("\n") if re.match(r"    \S", line)]
        quoted = re.findall(r"`([^`\n]+)`", prose)
        for word in {word for one in quoted + commands for word in one.split()}:
            word = word.rstrip(".,;:")
            if word.split("/")[0] in folders and re.fullmatch(r"[A-Za-z.]+/[A-Za-z0-9_./-]+", word) and not tree.exists(word):
                yield page, f"quotes {word}, which does not exist"
        for name in set(quoted):
            if re.fullmatch(r"[\w-]+\.(h|cc|py|md|yaml|txt)", name) and not any(
                    tree.exists(os.path.join(folder, name)) for folder in (here, "")) and name not in ALIENS:
                yield page, f"quotes {name}, which does not exist"
            identifier = re.fullmatch(r"(?:\w+::)*(k[A-Z]\w+|[A-Z]\w*[a-z]\w*|[a-z]+(?:_[a-z]+)+_?|[a-z]+_)(?:\(.*\))?", name)
            if identifier and page not in ("deploy/ALERTS.md",) and identifier.group(1) not in tree.words:
                yield page, f"quotes {name}, which is nowhere in the code"


# Files of others, or of the user, that pages speak of.
ALIENS = {"bongsu.yaml", "CONFIGURATION.md"}
RULES = [rule_places, rule_banned_words, rule_size, rule_headers, rule_includes, rule_owners, rule_operators, rule_pages]


def check(root):
    tree = Tree(root)
    return [f"{where}: {what}" for rule in RULES for where, what in rule(tree)]


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    problems = check(root)
    for line in problems:
        print(line)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
