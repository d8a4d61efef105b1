"""What is counted and not timed: memory, system calls, wake-ups, shares.

The programs are the tests of tests/cost, built against the installed library as the benches are;
they print a line "# figure NAME VALUE" for each figure."""

import re
import subprocess

import peers

PROGRAMS = {"pairs": True, "wakes": True, "memory": True, "scale": False}  # name: counts calls
SECONDS_MAX = 300
FIGURE = re.compile(r"^# figure (\S+) (\S+)$", re.MULTILINE)


def build(name, intercepts):
    tests = peers.ROOT / "tests"
    sources = [tests / "cost/intercept.c"] if intercepts else []
    return peers.compile_against_stage(tests / "cost" / f"{name}.c", f"count_{name}",
                                       [f"-I{tests}", *sources])


def measure():
    """All counted figures by name, and what went wrong."""
    figures, faults = {}, []
    for name, intercepts in PROGRAMS.items():
        try:
            done = subprocess.run(build(name, intercepts), check=False, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  timeout=SECONDS_MAX)
        except (peers.Missing, subprocess.TimeoutExpired) as why:
            faults.append(f"tests/cost/{name}.c: {why}")
            continue
        found = FIGURE.findall(done.stdout)
        figures.update((figure, float(value)) for figure, value in found)
        if not found:
            faults.append(f"tests/cost/{name}.c printed no figure")
    return figures, faults
