"""Shows every rule of tidy_test.py a tree that breaks it: a rule that cannot fail guards nothing."""
import os
import sys
import tempfile

import tidy_test

HEADER = "// File: %s\n//\n// A thing. Thread-safety: none.\n#pragma once\n"
GOOD = {page: "Plain words.\n" for page in tidy_test.PAGES}
GOOD.update({
    "CMakeLists.txt": "add_subdirectory(state)\n",
    "state/CMakeLists.txt": "bongsu_library(state\n  SOURCES\n    store.cc\n  HEADERS\n    store.h\n  PRIVATE RocksDB::rocksdb)\n",
    "state/store.h": HEADER % "state/store.h" + "class Store;\n",
    "state/store.cc": '#include "state/store.h"\n#include <rocksdb/db.h>\n',
    "operators/CMakeLists.txt": "add_operator(join)\n",
    "operators/join.cc": '#include "state/store.h"\nvoid RegisterOperator_join(int) {}\n',
    "pipeline/CMakeLists.txt": "bongsu_library(pipeline SOURCES main.cc)\n",
    "pipeline/main.cc": '#include "operators/join.h"\n',
    "operators/join.h": HEADER % "operators/join.h",
    "tests/CMakeLists.txt": "bongsu_test(operators/join_test)\nforeach(name IN ITEMS files)\n",
    "tests/operators/join_test.cc": "int x;\n",
    "tests/e2e/files_test.py": "print()\n",
    "deploy/quickstart": "#!/bin/sh\n",
})
GOOD["operators/CMakeLists.txt"] += "bongsu_library(operators HEADERS join.h)\n"
GOOD["operators/join.cc"] = '#include "operators/join.h"\n' + GOOD["operators/join.cc"]

# What is changed, and the words that the report must then hold: file -> text; None removes the file.
CASES = [
    ({"notes.txt": ""}, "notes.txt: does not belong at the top level"),
    ({"state/FORMAT.md": None}, "state/FORMAT.md: is missing"),
    ({"state/string_utils.h": HEADER % "state/string_utils.h"}, "says nothing about what it holds"),
    ({"deploy/quickstart": "# TO" + "DO\n"}, "deploy/quickstart:1: unfinished work"),
    ({"tests/operators/join_test.cc": "TEST(A, DISABLED_B) {}\n"}, "a test that is switched off"),
    ({"README.md": "cd /ro" + "ot/x\n"}, "README.md:1: a path of one machine"),
    ({"operators/join.cc": GOOD["operators/join.cc"] + "  throw 1;\n"}, "operators/join.cc:4: throws"),
    ({"pipeline/main.cc": "\n" * 801}, "pipeline/main.cc: 801 lines, more than 800"),
    ({"tests/operators/join_test.cc": "\n" * 1001}, "1001 lines, more than 1000"),
    ({"pipeline/main.cc": "//" + "x" * 99 + "\n"}, "pipeline/main.cc:1: 101 columns"),
    ({"state/store.h": "#pragma once\n"}, "state/store.h: does not begin with its name"),
    ({"state/store.h": "// File: state/store.h\n#pragma once\n"}, "state/store.h: does not say what it is for"),
    ({"state/store.h": "// File: state/store.h\n//\n// A thing.\n#pragma once\n"}, "does not say which threads may use it"),
    ({"state/store.h": (HEADER % "state/store.h").replace("#pragma once\n", "")}, "has no #pragma once"),
    ({"state/store.cc": '#include "state/store.h"\n#include "operators/join.h"\n'}, "state/store.cc: must not include operators/join.h"),
    ({"operators/join.cc": '#include "operators/join.h"\n#include "pipeline/main.h"\n'}, "must not include pipeline/main.h"),
    ({"pipeline/main.cc": '#include "tests/x.h"\n'}, "must not include tests/x.h"),
    ({"pipeline/main.cc": '#include "state/gone.h"\n'}, "includes state/gone.h, which does not exist"),
    ({"operators/join.cc": '#include "operators/join.h"\n#include <rocksdb/db.h>\n'}, "must not include <rocksdb/>"),
    ({"pipeline/main.cc": "#include <rocksdb/db.h>\n"}, "must not include <rocksdb/>"),
    ({"pipeline/main.cc": "#include <librdkafka/rdkafka.h>\n"}, "must not include <librdkafka/>"),
    ({"state/store.cc": '#include "state/store.h"\n#include <simdjson.h>\n'}, "must not include <simdjson>"),
    ({"pipeline/main.cc": "#include <yaml-cpp/yaml.h>\n"}, "must not include <yaml-cpp/>"),
    ({"operators/join.cc": '#include "operators/join.h"\n#include <chrono>\n'}, "operators have no threads, clocks or files"),
    ({"state/store.cc": "#include <rocksdb/db.h>\n"}, "state/store.cc: does not include its own header first"),
    ({"pipeline/CMakeLists.txt": "bongsu_library(pipeline SOURCES main.cc PRIVATE RocksDB::rocksdb)\n"},
     "pipeline/CMakeLists.txt: must not link RocksDB::"),
    ({"operators/CMakeLists.txt": GOOD["operators/CMakeLists.txt"] + "PkgConfig::RDKAFKA\n"}, "must not link RDKAFKA"),
    ({"pipeline/lonely.cc": ""}, "pipeline/lonely.cc: belongs to no target"),
    ({"state/other.h": HEADER % "state/other.h"}, "state/other.h: belongs to no target"),
    ({"tests/operators/lost_test.cc": ""}, "tests/operators/lost_test.cc: belongs to no target"),
    ({"tests/e2e/lost_test.py": ""}, "tests/e2e/lost_test.py: is run by no test"),
    ({"tests/operators/join_test.cc": None}, "operators/join.cc: has no test"),
    ({"operators/CMakeLists.txt": "bongsu_library(operators HEADERS join.h SOURCES join.cc)\n"}, "has no add_operator(join)"),
    ({"README.md": "[page](deploy/GONE.md)\n"}, "README.md: links to deploy/GONE.md"),
    ({"README.md": "see `state/gone.h`\n"}, "README.md: quotes state/gone.h"),
    ({"README.md": "run `tests/gone --fast`\n"}, "README.md: quotes tests/gone"),
    ({"README.md": "do\n\n    deploy/gone now\n"}, "README.md: quotes deploy/gone"),
    ({"state/FORMAT.md": "see `gone.cc`\n"}, "state/FORMAT.md: quotes gone.cc"),
    ({"README.md": "the bound `kGoneMax`\n"}, "README.md: quotes kGoneMax, which is nowhere in the code"),
    ({"README.md": "call `GoneThing`\n"}, "README.md: quotes GoneThing"),
    ({"README.md": "key `gone_key`\n"}, "README.md: quotes gone_key"),
]


def problems_of(changes):
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**GOOD, **changes}.items():
            if text is None:
                continue
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w") as out:
                out.write(text)
        return tidy_test.check(root)


failed = 0
good = problems_of({})
if good:
    failed += 1
    print("the good tree has problems:", *good, sep="\n  ")
for changes, expected in CASES:
    found = problems_of(changes)
    if not any(expected in line for line in found):
        failed += 1
        print(f"{list(changes)}: expected '{expected}', got:", *found, sep="\n  ")
print(f"{len(CASES)} cases, {failed} failed")
sys.exit(1 if failed else 0)
