#!/usr/bin/env python3
"""The program on PostgreSQL, and the example of a pool of PostgreSQL connections.
Usage: program.py MANTISPOOL EXAMPLE"""

import json
import pathlib
import re
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "cli"), str(TESTS / "lib")]

from program import Program  # noqa: E402

from cases import case, main  # noqa: E402
from postgres import TRUST, Servers  # noqa: E402

SECRET = TRUST.replace("host all all 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256")
SMALL = ["--seconds", 1, "--keys", 2000]


class Ground:
    def __init__(self, servers, mantispool, example):
        self.program = Program(mantispool)
        self.example = example
        self.server = servers.start(hba=SECRET)
        self.server.sql("CREATE ROLE app SUPERUSER LOGIN PASSWORD 'secret'")
        self.dsn = self.server.dsn("app", password="secret")


@case
def kv_sets_reads_scans_and_deletes(ground):
    def kv(*args, code=0, given=None):
        return ground.program.run("kv", "--store", ground.dsn, *args, code=code, given=given)[0]

    assert kv("set", "a b", "x\ty") == ""
    assert kv("get", "a b") == "x\ty\n"
    assert kv("exists", "a b") == ""
    kv("exists", "none", code=1)
    kv("get", "none", code=1)
    kv("batch", given="set a2 1\nset a1 2 3\nset c 4\ndel c\ndel gone\n")
    assert kv("scan", "a") == "a b\tx\\x09y\na1\t2 3\na2\t1\n"
    assert kv("scan", "--limit", "1") == "a b\tx\\x09y\n"
    kv("del", "a2")
    kv("get", "a2", code=1)
    assert kv("shell", given="set k v\nget k\nget none\ndel k\n") == "OK\nv\n(nil)\nOK\n"


@case
def bench_prints_its_table_as_for_the_store(ground):
    out, error = ground.program.run("bench", ground.dsn + "?mantis_table=benched", *SMALL)
    assert error == ""
    for line in [r"^ +1 s  [\d,]+ ops/s  0 errors$", r"^  ops/s +[\d,]+$",
                 r"^times +count +p50 +p99 +p99.9 +max$",
                 r"^  acquire( +[\d,.]+( ns| us| ms)?){5}$", r"^  get( +[\d,.]+( ns| us| ms)?){5}$",
                 r"^  set( +[\d,.]+( ns| us| ms)?){5}$", r"^  granted +\d+$"]:
        assert re.search(line, out, re.MULTILINE), f"no line as {line}\n{out}"
    assert ground.server.sql("SELECT count(*) > 2000 FROM benched") == "t"


@case
def bench_runs_every_operation(ground):
    mix = "get=1,set=1,delete=1,exists=1,scan=1"
    found = json.loads(ground.program.run("bench", ground.dsn, *SMALL, "--mix", mix, "--json")[0])
    assert found["errors"] == 0 and found["misses"] == 0, found["first_error"]
    assert all(found[f"{name}_ns"]["count"] > 0 for name in re.findall(r"\w+(?==)", mix))


@case
def no_output_has_the_password(ground):
    texts = ground.program.run("bench", ground.dsn, *SMALL, "--json")
    texts += ground.program.run("bench", ground.dsn, *SMALL)
    wrong = ground.server.dsn("app", password="secretly")
    texts += ground.program.run("kv", "--store", wrong, "get", "k", code=1)
    assert "password authentication failed" in texts[-1], texts[-1]
    texts += ground.program.run("kv", "--store", wrong + "?mantis_tabel=x", "get", "k", code=1)
    assert "mantis_table=NAME" in texts[-1], texts[-1]
    assert not any("secret" in text for text in texts)


@case
def version_says_that_it_is_in(ground):
    out, _ = ground.program.run("--version")
    assert re.search(r"^postgres: libpq \d+\.\d+ \(postgres://", out, re.MULTILINE), out


@case
def the_example_uses_one_connection_three_times(ground):
    done = subprocess.run([ground.example, ground.dsn], check=False, capture_output=True, text=True,
                          timeout=240)
    assert done.returncode == 0 and done.stderr == "", done
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and re.match(r"backend \d+$", lines[0]) and len(set(lines)) == 1, lines


@case
def the_example_has_at_most_40_lines(_):
    source = TESTS.parent / "examples" / "pool_postgres.c"
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 40


@case
def the_example_says_what_is_wrong(ground):
    done = subprocess.run([ground.example, ground.dsn.replace("/postgres", "/nowhere")],
                          check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1 and 'database "nowhere" does not exist' in done.stderr, done


built = [pathlib.Path(path).resolve() for path in sys.argv[1:3]]
with Servers(built[0].parent / "tests" / "postgres") as all_servers:
    main(Ground(all_servers, *built))
