#!/usr/bin/env python3
"""The documents lead to each other, and to the tests of their advice.

Each step of the troubleshooting in docs/connection-pooling.md has its test, and each test its step.
A step names its test in the line before it: <!-- test: FILE NAME -->, FILE being one of
tests/advice."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from cases import case, main  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
MARKED_STEP = re.compile(r"^<!-- test: (\w+) (\w+) -->\n- \*\*", re.MULTILINE)


def text_of(path):
    return CODE.sub("", path.read_text(encoding="utf-8"))


def documents():
    return sorted((ROOT / "docs").rglob("*.md"))


def anchors_of(path):
    """The names by which the headings of a document are linked to."""
    plain = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading) for heading in
             HEADING.findall(text_of(path))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def troubles():
    """The part of the page whose steps have tests."""
    page = text_of(ROOT / "docs/connection-pooling.md")
    return re.search(r"^## Troubleshooting\n(.*?)^## ", page, re.DOTALL | re.MULTILINE).group(1)


def tests_there():
    """All (file, name) of tests/advice."""
    return {(path.stem, name) for path in (ROOT / "tests/advice").glob("*.c")
            for name in re.findall(r"^TEST\((\w+)\)", path.read_text(encoding="utf-8"),
                                   re.MULTILINE)}


@case
def each_document_is_linked_from_the_readme_above_it(_):
    missing = []
    for path in documents():
        above = path.parent / "README.md"
        readme = above if above.exists() and above != path else ROOT / "README.md"
        if f"({path.relative_to(readme.parent)})" not in text_of(readme):
            missing.append(f"{readme.relative_to(ROOT)}: {path.relative_to(ROOT)}")
    assert not missing, f"not linked from {missing}"


@case
def each_link_into_a_document_leads_to_a_heading(_):
    wrong = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *documents()]:
        for target, anchor in ANCHOR.findall(text_of(path)):
            if re.match(r"[a-z]+:", target):
                continue
            place = (path.parent / target).resolve() if target else path
            if anchor not in anchors_of(place):
                wrong.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert not wrong, f"no such heading: {wrong}"


@case
def each_step_of_advice_names_a_test_before_it(_):
    steps = re.findall(r"^- \*\*", troubles(), re.MULTILINE)
    named = MARKED_STEP.findall(troubles())
    assert steps and len(named) == len(steps), f"{len(steps)} steps, {len(named)} tests named"


@case
def each_test_that_advice_names_is_there(_):
    missing = set(MARKED_STEP.findall(troubles())) - tests_there()
    assert not missing, f"not in tests/advice: {sorted(missing)}"


@case
def each_test_of_advice_is_named_by_a_step(_):
    unused = tests_there() - set(MARKED_STEP.findall(troubles()))
    assert not unused, f"no step follows from: {sorted(unused)}"


main(None)
