#!/usr/bin/env python3
"""Let libFuzzer at each target for a while, under AddressSanitizer and UBSan, beginning with its
corpus; print how many lines of the fuzzed files it reached; see that it finds a planted over-read.

    fuzz.py --seconds 60 TARGET...

Needs clang with its runtime library; the coverage is gcc's. What libFuzzer makes is thrown away,
but for an input that breaks something, which is printed."""

import argparse
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from cases import CASES, Skip, case, main  # noqa: E402 - found by the line above

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests/fuzz"
PLANTED = ROOT / "tests/mutants/pg_string_beyond_its_end.patch"
PLANTED_TARGET = "startup"
COVERED_MIN = 85  # percent of the lines of each fuzzed file, if all targets run
NOT_FUZZED = {"sqlstate.c"}  # says things, and reads nothing
BELOW = ["assert.c", "error.c", "random.c", "clock.c"]  # what src/pg and replay.c need of src/base
FUZZER = ["clang", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-O1"]
COVERAGE = ["gcc", "--coverage", "-O0"]
FLAGS = ["-g", "-std=c17", "-D_GNU_SOURCE", "-Wno-gnu-designator"]
SIZE_MAX = 4096  # of an input that is made; those of the corpus may be longer
WORKERS = 2


def run(command, **how):
    done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **how)
    return done.returncode, done.stdout


def must(command, **how):
    code, output = run(command, **how)
    assert code == 0, f"{' '.join(map(str, command))}\n{output}"
    return output


class Workshop:
    """A folder with the sources' objects, built in one way, and the targets linked with them."""

    def __init__(self, folder, compiler, source=ROOT):
        self.folder = folder
        self.compiler = compiler
        self.source = source
        generated = folder / "generated/pg"
        generated.mkdir(parents=True)
        tables = must([ROOT / "tools/saslprep-tables"])
        (generated / "saslprep_tables.h").write_text(tables, encoding="utf-8")
        self.flags = [*FLAGS, f"-I{source}/src", f"-I{ROOT}/include", f"-I{ROOT}/tests",
                      f"-I{folder}/generated"]
        files = [*sorted((source / "src/pg").glob("*.c")),
                 *(ROOT / "src/base" / name for name in BELOW)]
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as executor:
            self.objects = list(executor.map(self.compile, files))

    def compile(self, file):
        made = self.folder / f"{file.parent.name}-{file.stem}.o"
        must([*self.compiler, *self.flags, "-c", file, "-o", made], cwd=self.folder)
        return made

    def link(self, target, *more):
        made = self.folder / target
        must([*self.compiler, *self.flags, HERE / f"{target}.c", *more, *self.objects, "-o", made,
              "-lcrypto"], cwd=self.folder)
        return made


class Fuzzing:
    """What the cases share."""

    def __init__(self, folder, seconds, targets):
        self.folder = folder
        self.seconds = seconds
        self.targets = targets
        self.results = {}

    def fuzz(self, workshop, target, seconds):
        """Run a target, beginning with its corpus: (exit status, output, the corpus it made)."""
        corpus = workshop.folder / f"corpus-{target}"
        corpus.mkdir()
        program = workshop.link(target)
        limits = [f"-max_total_time={seconds}", "-timeout=20", f"-max_len={SIZE_MAX}",
                  "-rss_limit_mb=2048", "-print_final_stats=1"]
        code, output = run([program, *limits, corpus, HERE / "corpus" / target],
                           cwd=workshop.folder, timeout=seconds + 600)
        return code, output, corpus

    def fuzz_all(self):
        """Run all targets, two at a time, once."""
        if self.results:
            return
        workshop = Workshop(self.folder / "fuzzer", FUZZER)
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as executor:
            outcomes = executor.map(lambda target: self.fuzz(workshop, target, self.seconds),
                                    self.targets)
            self.results = dict(zip(self.targets, outcomes))


def need_clang():
    if not shutil.which("clang"):
        raise Skip("there is no clang (Debian: clang, libclang-rt-14-dev)")


def add_case(target):
    """A case of its own for each target."""

    def fuzz_one(fuzzing):
        need_clang()
        fuzzing.fuzz_all()
        code, output, _ = fuzzing.results[target]
        runs = re.search(r"stat::number_of_executed_units: (\d+)", output)
        print(f"# {target}: {runs.group(1) if runs else 'no'} inputs")
        if code:
            tail = "\n".join(output.splitlines()[-60:])
            raise AssertionError(f"libFuzzer found something: {code}\n{tail}")

    fuzz_one.__name__ = f"nothing_breaks_{target}"
    case(fuzz_one)


def covered_lines(workshop):
    """{file: (lines that ran, lines)} of what gcov says of the objects of src/pg."""
    found = {}
    for made in workshop.objects:
        if not made.name.startswith("pg-"):
            continue
        output = must(["gcov", "-n", made], cwd=workshop.folder)
        for name, percent, count in re.findall(
                r"File '(.*)'\nLines executed:([\d.]+)% of (\d+)", output):
            path = pathlib.Path(name)
            if path.suffix == ".c" and path.parent.name == "pg" and path.name not in NOT_FUZZED:
                found[path.name] = (round(float(percent) * int(count) / 100), int(count))
    return found


def the_fuzzed_files_are_reached(fuzzing):
    need_clang()
    if not shutil.which("gcov"):
        raise Skip("there is no gcov")
    fuzzing.fuzz_all()
    workshop = Workshop(fuzzing.folder / "coverage", COVERAGE)
    for target in fuzzing.targets:
        program = workshop.link(target, HERE / "replay.c")
        corpora = [HERE / "corpus" / target, fuzzing.results[target][2]]
        files = [path for corpus in corpora for path in sorted(corpus.iterdir())]
        for begin in range(0, len(files), 500):
            must([program, *files[begin:begin + 500]], cwd=workshop.folder)
    low = []
    lines = covered_lines(workshop)
    for name, (ran, count) in sorted(lines.items()):
        percent = 100 * ran / count
        print(f"# src/pg/{name:12} {percent:5.1f} % of {count} lines")
        if percent < COVERED_MIN:
            low.append(name)
    ran, count = (sum(numbers) for numbers in zip(*lines.values()))
    print(f"# all             {100 * ran / count:5.1f} % of {count} lines")
    is_all = len(fuzzing.targets) == len(list((HERE / "corpus").iterdir()))
    assert not low or not is_all, f"less than {COVERED_MIN} % of {', '.join(low)}"


def a_planted_over_read_is_found(fuzzing):
    need_clang()
    source = fuzzing.folder / "planted"
    shutil.copytree(ROOT / "src", source / "src")
    must(["patch", "-p1", "-i", PLANTED], cwd=source)
    workshop = Workshop(fuzzing.folder / "fuzzer-planted", FUZZER, source)
    code, output, _ = fuzzing.fuzz(workshop, PLANTED_TARGET, fuzzing.seconds)
    assert code != 0 and "heap-buffer-overflow" in output, output[-3000:]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse_arguments()
    for one in options.targets:
        add_case(one)
    CASES.extend([the_fuzzed_files_are_reached, a_planted_over_read_is_found])
    with tempfile.TemporaryDirectory(prefix="mantis-fuzz-") as scratch:
        main(Fuzzing(pathlib.Path(scratch), options.seconds, options.targets))
