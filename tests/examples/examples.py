#!/usr/bin/env python3
"""The examples run, and say what their comments promise."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from cases import Skip, case, main  # noqa: E402

SCRATCH = tempfile.mkdtemp(dir=os.environ.get("TMPDIR"))


def output(path, *args):
    done = subprocess.run([path, *args], check=False, capture_output=True, text=True, cwd=SCRATCH,
                          timeout=120)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@case
def minimal_sets_and_reads_a_key(paths):
    for _ in range(2):  # also in a store that is there already
        assert output(paths["minimal"]) == "key = value\n"


@case
def threads_share_three_connections(paths):
    out = output(paths["threads"])
    assert "8000 orders written by 8 threads through 3 connections" in out, out
    assert re.search(r"^granted +8000$", out, re.MULTILINE), out


def five_are_served_and_the_sixth_is_told_why_not(path):
    out = output(path)
    assert out.count("connection after") == 5 and "5 served, 1 too late" in out, out
    assert re.search(r"^request 6: .*no connection in", out, re.MULTILINE), out


@case
def epoll_serves_five_and_tells_the_sixth_why_not(paths):
    five_are_served_and_the_sixth_is_told_why_not(paths["epoll"])


@case
def libuv_serves_five_and_tells_the_sixth_why_not(paths):
    if "libuv" not in paths:
        raise Skip("libuv is not installed (Debian: libuv1-dev)")
    five_are_served_and_the_sixth_is_told_why_not(paths["libuv"])


@case
def custom_connector_writes_and_has_the_cause_in_its_error(paths):
    out = output(paths["custom_connector"], "a.log")
    assert "wrote three lines to a.log" in out and "No such file or directory" in out, out
    assert (pathlib.Path(SCRATCH) / "a.log").read_text(encoding="utf-8") == 3 * "hello\n"


main({pathlib.Path(path).name.removeprefix("example-"): pathlib.Path(path).resolve()
      for path in sys.argv[1:]})
