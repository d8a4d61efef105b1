"""The tests that meson knows of a build directory, for the programs that run them."""

import json
import os


def introspect(build, what):
    """What meson knows about a build directory."""
    return json.loads((build / f"meson-info/intro-{what}.json").read_text(encoding="utf-8"))


def load(build):
    """The registered tests, with plain suite names."""
    tests = introspect(build, "tests")
    for test in tests:
        test["suite"] = [suite.split(":")[-1] for suite in test["suite"]]
        test["workdir"] = test["workdir"] or str(build)
    return tests


def goals_of(build, tests):
    """What ninja must build for these tests."""
    files = {target["id"]: target["filename"] for target in introspect(build, "targets")}
    return sorted({os.path.relpath(made, build) for test in tests for goal in test["depends"]
                   for made in files.get(goal, [])})


def command_of(build, test):
    """A test's command; what was built has its full path, so that a test may change directory."""
    return [str(build / word) if (build / word).is_file() else word for word in test["cmd"]]


def environment_of(test, more):
    """The environment of a test, with these variables besides."""
    return {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "LC_ALL": "C.UTF-8", **test["env"],
            **more}
