#!/usr/bin/env python3
"""A pool's report as JSON and as text: both have every figure of figures.def, and say the same.
Usage: report.py SHOW FIGURES.DEF"""

import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from cases import case, main  # noqa: E402

TIMES = ["count", "p50", "p99", "p999", "max"]


class Report:
    """What the program showed, and what the table asks for."""

    def __init__(self, show, table):
        done = subprocess.run([show], check=True, capture_output=True, text=True, timeout=120)
        self.json, self.text = done.stdout.split("\n--\n")
        self.lines = {words[0]: words[1:] for words in map(str.split, self.text.splitlines())}
        text = pathlib.Path(table).read_text(encoding="utf-8")
        self.figures = re.findall(r"^MP_FIGURE\((\w+), (\w+), ", text, re.MULTILINE)
        self.times = re.findall(r"^MP_FIGURE_TIMES\((\w+), \w+, (\d), ", text, re.MULTILINE)


@case
def json_is_one_object_with_each_figure_once(report):
    pairs = []
    json.loads(report.json, object_pairs_hook=lambda found: pairs.append(found) or dict(found))
    names = [name for name, _ in pairs[-1]]
    assert sorted(names) == sorted(["name"] + [name for name, _ in report.figures + report.times])


@case
def json_escapes_the_name(report):
    assert json.loads(report.json)["name"] == 'a "quoted" name\n'


@case
def text_has_each_figure_once_with_its_unit(report):
    expected = {name for name, _ in report.figures}
    expected |= {f"{name}.{part}" for name, _ in report.times for part in TIMES}
    assert set(report.lines) == expected
    assert len(report.text.splitlines()) == len(expected)
    for name, unit in report.figures:
        words = report.lines[name]
        assert words[1:] == (["ns"] if unit == "NS" else []), (name, words)
        assert words[0].isdigit() or unit == "FLAG" and words[0] in ["true", "false"], (name, words)


@case
def json_and_text_say_the_same(report):
    found = json.loads(report.json)
    for name, unit in report.figures:
        if name != "age_ns":  # it grew between the two
            value = report.lines[name][0]
            assert found[name] == (value == "true" if unit == "FLAG" else int(value)), name
    for name, _ in report.times:
        for part in TIMES:
            assert found[name][part] == int(report.lines[f"{name}.{part}"][0]), (name, part)


@case
def sampled_times_are_marked(report):
    found = json.loads(report.json)
    for name, sampled in report.times:
        assert found[name].get("sampled", False) == (sampled == "1"), name
        assert ("sampled" in report.lines[f"{name}.count"]) == (sampled == "1"), name


@case
def the_figures_are_those_of_the_pool(report):
    found = json.loads(report.json)
    assert found["granted"] == found["attempts"] == 201
    assert found["busy"] == 1 and found["conns_min"] == 2 and found["conns_max"] == 3
    assert found["total"] == sum(found[state] for state in [
        "idle", "busy", "opening", "checking", "resetting", "closing"])


main(Report(sys.argv[1], sys.argv[2]))
