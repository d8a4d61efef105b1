#!/usr/bin/env python3
"""The program on a Redis server, and the example of a pool of Redis connections.
Usage: program.py MANTISPOOL REDIS_RUN EXAMPLE"""

import json
import pathlib
import re
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "cli"), str(TESTS / "lib")]

from program import Program  # noqa: E402

from cases import Skip, case, main  # noqa: E402

SKIPPED = 77  # what redis-run answers without a server


class Server:
    """A server, as long as this object is used in a with statement."""

    def __init__(self, *options):
        self.command = [RUN, *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        line = self.process.stdout.readline()
        if self.process.poll() == SKIPPED or line.startswith("# skipped: "):
            raise Skip(line.removeprefix("# skipped: ").strip())
        self.port = int(line)
        self.dsn = f"redis://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


@case
def kv_sets_reads_scans_and_deletes(program):
    with Server() as server:
        def kv(*args, code=0, given=None):
            return program.run("kv", "--store", server.dsn, *args, code=code, given=given)[0]

        assert kv("set", "a b", "x\ty") == ""
        assert kv("get", "a b") == "x\ty\n"
        assert kv("exists", "a b") == ""
        kv("exists", "none", code=1)
        kv("get", "none", code=1)
        kv("batch", given="set a* 1\nset a*b 2 3\nset c 4\ndel c\ndel gone\n")
        kv("get", "c", code=1)
        assert sorted(kv("scan", "a*").splitlines()) == ["a*\t1", "a*b\t2 3"]
        assert kv("scan", "--limit", "1").count("\n") == 1
        kv("del", "a*")
        kv("get", "a*", code=1)
        assert kv("shell", given="set k v\nget k\nget none\nexists k\ndel k\nget k\n") == \
            "OK\nv\n(nil)\n1\nOK\n(nil)\n"


@case
def bench_loads_its_keys_once_and_runs_every_operation(program):
    args = ["--keys", "2000", "--seconds", "1", "--threads", "2", "--json",
            "--mix", "get=50,set=30,delete=5,exists=10,scan=5"]
    with Server() as server:
        for said in ["loading 2,000", "found 2,000"]:
            out, progress = program.run("bench", server.dsn, *args)
            result = json.loads(out)
            assert said in progress, progress
            assert result["config"]["dsn"] == server.dsn, result["config"]
            assert result["ops_per_s"] > 0


@case
def no_output_shows_a_password(program):
    with Server("--requirepass", "hush-hush") as server:
        dsn = f"redis://default:hush-hush@127.0.0.1:{server.port}"
        quick = ["--keys", "10", "--seconds", "1", "--threads", "1"]
        for more in [[], ["--json"]]:
            said = "".join(program.run("bench", dsn, *quick, *more))
            assert f"redis://***@127.0.0.1:{server.port}" in said and "hush" not in said, said
        wrong = dsn.replace("hush@", "huuush@")
        _, error = program.run("kv", "--store", wrong, "get", "k", code=1)
        assert "WRONGPASS" in error and "hush" not in error, error
        _, error = program.run("kv", "--store", dsn + "/x", "get", "k", code=1)
        assert "database must be a whole number" in error and "hush" not in error, error


@case
def a_server_that_is_not_there_is_said_at_once(program):
    with Server() as server:
        gone = server.dsn
    for args in (["kv", "--store", gone, "get", "k"], ["bench", gone]):
        _, error = program.run(*args, code=1)
        assert "Connection refused" in error, error


@case
def version_says_that_redis_is_built_in(program):
    out, _ = program.run("--version")
    assert re.search(r"^redis: hiredis \d+\.\d+\.\d+ \(redis://", out, re.MULTILINE), out


@case
def the_example_counts_its_visits(program):
    with Server() as server:
        for visit in (1, 2):
            done = subprocess.run([EXAMPLE, server.dsn], check=True, capture_output=True, text=True)
            assert done.stdout == f"visit {visit}\n", done.stdout
        gone = server.dsn
    done = subprocess.run([EXAMPLE, gone], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "Connection refused" in done.stderr, done.stderr


@case
def the_example_has_at_most_40_lines(_):
    source = TESTS.parent / "examples" / "pool_redis.c"
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 40


RUN, EXAMPLE = (pathlib.Path(word).resolve() for word in sys.argv[2:4])
main(Program(pathlib.Path(sys.argv[1]).resolve()))
