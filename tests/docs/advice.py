#!/usr/bin/env python3
"""Each step of the troubleshooting in docs/connection-pooling.md has its test, and each test its
step. A step names its test in the line before it: <!-- test: FILE NAME -->, FILE being one of
tests/advice."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from cases import case, main  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/connection-pooling.md").read_text(encoding="utf-8")
TROUBLES = re.search(r"^## Troubleshooting\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE).group(1)
MARKED_STEP = re.compile(r"^<!-- test: (\w+) (\w+) -->\n- \*\*", re.MULTILINE)


def tests_there():
    """All (file, name) of tests/advice."""
    return {(path.stem, name) for path in (ROOT / "tests/advice").glob("*.c")
            for name in re.findall(r"^TEST\((\w+)\)", path.read_text(encoding="utf-8"),
                                   re.MULTILINE)}


@case
def each_step_names_a_test_before_it(_):
    steps = re.findall(r"^- \*\*", TROUBLES, re.MULTILINE)
    assert steps and len(MARKED_STEP.findall(TROUBLES)) == len(steps), \
        f"{len(steps)} steps, {len(MARKED_STEP.findall(TROUBLES))} tests named"


@case
def each_named_test_is_there(_):
    missing = set(MARKED_STEP.findall(TROUBLES)) - tests_there()
    assert not missing, f"not in tests/advice: {sorted(missing)}"


@case
def each_test_is_named_by_a_step(_):
    unused = tests_there() - set(MARKED_STEP.findall(TROUBLES))
    assert not unused, f"no step follows from: {sorted(unused)}"


main(None)
