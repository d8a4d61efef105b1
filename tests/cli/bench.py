#!/usr/bin/env python3
"""mantispool bench: what it prints, what it counts as an error, how it ends."""

import json
import os
import re
import signal
import sys
import time

from program import Program

from cases import case, main

LONG = os.environ.get("MANTIS_TEST_LONG") == "1"
SECONDS = 5 if LONG else 1
SMALL = ["--seconds", SECONDS, "--keys", 2000]
OPERATIONS = ["get", "set", "delete", "exists", "scan"]
SHARES = ["p50", "p99", "p999"]


def result(program, *args, code=0):
    """The one JSON object of a run, and what it said on standard error."""
    out, error = program.run("bench", *args, "--json", code=code)
    return json.loads(out), error


@case
def json_is_one_object_with_the_names_that_others_build_on(program):
    found, _ = result(program, program.store(), *SMALL)
    assert found["errors"] == 0 and found["misses"] == 0 and found["first_error"] is None, found
    assert found["ops_per_s"] > 0
    config = found["config"]
    assert abs(found["ops_per_s_per_connection"] * config["connections"] - found["ops_per_s"]) < 1
    for name in ["acquire_ns", "get_ns", "set_ns"]:
        times = [found[name][share] for share in SHARES]
        assert 0 < times[0] <= times[1] <= times[2] <= found[name]["max"], found[name]
    assert found["acquire_ns"]["count"] == found["operations"]
    assert found["get_ns"]["count"] + found["set_ns"]["count"] == found["operations"]
    assert found["pool"]["granted"] >= found["operations"]
    assert found["pool"]["conns_max"] == config["connections"]
    assert config["keys"] == 2000 and config["value_size"] == 100 and config["key_size"] == 16
    assert found["seconds"] >= SECONDS and not found["interrupted"]


@case
def with_json_the_progress_goes_to_standard_error(program):
    _, error = result(program, program.store(), *SMALL)
    assert re.search(r"loading 2,000 random keys of 16 B, values of 100 B", error), error
    assert len(re.findall(r"^ +\d+ s  [\d,]+ ops/s  0 errors$", error, re.MULTILINE)) == SECONDS


@case
def the_table_shows_rates_times_and_the_pool(program):
    out, error = program.run("bench", program.store(), *SMALL)
    assert error == ""
    for line in [r"^ +1 s  [\d,]+ ops/s  0 errors$", r"^  ops/s +[\d,]+$",
                 r"^  ops/s a connection +[\d,]+$", r"^  errors +0$",
                 r"^times +count +p50 +p99 +p99.9 +max$",
                 r"^  acquire( +[\d,.]+( ns| us| ms)?){5}$", r"^  get( +[\d,.]+( ns| us| ms)?){5}$",
                 r"^  set( +[\d,.]+( ns| us| ms)?){5}$", r"^  granted +\d+$"]:
        assert re.search(line, out, re.MULTILINE), f"no line as {line}\n{out}"


@case
def a_mix_may_name_one_operation(program):
    dsn = program.store()
    for operation in OPERATIONS:
        found, _ = result(program, dsn, *SMALL, "--mix", f"{operation}=100")
        assert found["errors"] == 0, found["first_error"]
        assert [name for name in OPERATIONS if f"{name}_ns" in found] == [operation]
        assert found[f"{operation}_ns"]["count"] == found["operations"] > 0


@case
def shares_of_a_mix_are_kept(program):
    found, _ = result(program, program.store(), *SMALL, "--mix", "get=3,set=1")
    share = found["get_ns"]["count"] / found["operations"]
    assert 0.7 < share < 0.8, share


@case
def deletes_make_no_loaded_key_miss(program):
    found, _ = result(program, program.store(), *SMALL, "--mix", "get=40,set=30,del=20,exists=10")
    assert found["errors"] == 0, found["first_error"]


@case
def one_connection_and_more_threads_wait_for_each_other(program):
    found, _ = result(program, program.store(), *SMALL, "--connections", 1, "--threads", 4)
    assert found["errors"] == 0, found["first_error"]
    assert found["config"]["connections"] == 1 and found["config"]["threads"] == 4
    assert found["ops_per_s"] == found["ops_per_s_per_connection"]
    assert found["pool"]["total"] == 1 and found["pool"]["waited"] > 0


@case
def a_key_space_that_is_there_is_not_loaded_again(program):
    dsn = program.store()
    _, first = result(program, dsn, *SMALL)
    _, second = result(program, dsn, *SMALL)
    _, fewer = result(program, dsn, "--seconds", 1, "--keys", 1000)
    _, more = result(program, dsn, "--seconds", 1, "--keys", 3000)
    _, other = result(program, dsn, "--seconds", 1, "--keys", 3000, "--value-size", 50)
    _, always = result(program, dsn, "--seconds", 1, "--keys", 3000, "--value-size", 50,
                       "--preload", "always")
    for said, word in [(first, "loading"), (second, "found"), (fewer, "found"), (more, "loading"),
                       (other, "loading"), (always, "loading")]:
        assert f"key space: {word} " in said, said


@case
def a_miss_is_an_error(program):
    found, _ = result(program, program.store(), *SMALL, "--preload", "never", "--mix", "get=100",
                      code=1)
    assert found["errors"] == found["misses"] > 0 and found["operations"] == 0
    assert "there is no such key" in found["first_error"]
    out, _ = program.run("bench", program.store(), *SMALL, "--preload", "never", code=1)
    assert "first error: get: there is no such key" in out


@case
def values_of_any_size_come_back(program):
    for size in [0, 15, 17, 5000, 1500000]:
        found, _ = result(program, program.store(), "--seconds", 1, "--keys", 5, "--value-size",
                          size, "--mix", "get=90,set=10", "--threads", 1)
        assert found["errors"] == 0 and found["operations"] > 0, (size, found["first_error"])


@case
def memory_needs_no_directory(program):
    found, _ = result(program, "mantis::memory:", *SMALL)
    assert found["errors"] == 0 and found["config"]["dsn"] == "mantis::memory:"


@case
def synced_writes_are_counted_too(program):
    found, _ = result(program, program.store() + "?sync=group", "--seconds", 1, "--keys", 500,
                      "--mix", "set=100", "--threads", 4)
    assert found["errors"] == 0 and found["operations"] > 0


@case
def ctrl_c_ends_early_with_the_result(program):
    running = program.start("bench", program.store(), "--seconds", 600, "--keys", 1000, "--json")
    while b" ops/s" not in running.stderr.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    found = json.loads(out)
    assert running.returncode == 0 and found["interrupted"] and found["seconds"] < 600
    assert found["errors"] == 0 and found["operations"] > 0


@case
def ctrl_c_while_loading_leaves_no_loaded_key_space(program):
    dsn = program.store()
    args = ["bench", dsn, "--seconds", 1, "--keys", 300000000]
    running = program.start(*args)
    while b"loading" not in running.stdout.readline():
        assert running.poll() is None
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130 and b"stopped while loading" in error, error
    _, said = result(program, dsn, *SMALL)
    assert "key space: loading " in said, said


@case
def a_directory_that_cannot_be_is_a_failure_with_its_reason(program):
    _, error = program.run("bench", f"mantis:{program.scratch}/no/such/parent", *SMALL, code=1)
    assert "cannot open the pool" in error and "no/such/parent" in error, error


main(Program(sys.argv[1]))
