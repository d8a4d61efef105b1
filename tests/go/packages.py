#!/usr/bin/env python3
"""Run the tests of the Go packages, a TAP line a test, with each Go that is installed.

Usage: packages.py [--run REGEX] [--no-race] [--oldest]"""

import argparse
import json
import re
import subprocess
import sys
import time

import toolchain

MINUTES = 10  # a guard against hanging


def sentence(name):
    """TestClosedPoolsLeaveNothing: closed_pools_leave_nothing."""
    words = re.findall(r"[A-Z][a-z0-9]*", name.removeprefix("Test"))
    return "_".join(words).lower()


class Tap:
    """What is printed: one line a case, and what is behind it before."""

    def __init__(self):
        self.cases = self.failed = 0

    def case(self, good, name, detail="", skipped=None):
        """One case."""
        self.cases += 1
        self.failed += not good
        if not good or skipped is not None:
            print("".join(f"# {line}\n" for line in detail.splitlines()), end="")
        tail = "" if skipped is None else f" # SKIP {skipped}"
        print(f"{'ok' if good else 'not ok'} {self.cases} - {name}{tail}", flush=True)


def skip_reason(output):
    """Why a test was skipped: its last words."""
    found = re.findall(r"_test\.go:\d+: (.*)", output)
    return found[-1] if found else "no reason given"


def run_tests(tap, version, go, options):
    """All tests of the module with one Go."""
    command = [go, "test", "-json", "-count=1", f"-timeout={MINUTES}m"]
    command += [] if options.no_race else ["-race"]
    command += ["-run", options.run] if options.run else []
    process = subprocess.Popen([*command, "./..."], cwd=toolchain.ROOT / "go", text=True,
                               env=toolchain.environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    outputs, strays, cases = {}, [], 0
    for line in process.stdout:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            strays.append(line)
            continue
        package, test = event.get("Package", ""), event.get("Test", "").split("/")[0]
        key, action = (package, test), event["Action"]
        if action in ("output", "build-output"):
            outputs[key] = outputs.get(key, "") + event["Output"]
        elif "/" in event.get("Test", "") or action not in ("pass", "fail", "skip"):
            continue
        elif test:
            cases += 1
            name = f"{package.split('/')[-1]}_{sentence(test)} ({version})"
            said = outputs.get(key, "")
            tap.case(action != "fail", name, said,
                     skip_reason(said) if action == "skip" else None)
        elif action == "fail":
            strays += outputs.values()
    status = process.wait()
    if status != 0 and tap.failed == 0 or cases == 0:
        tap.case(False, f"the_packages_build ({version})", "".join(strays) or f"status {status}")


def look_at_sources(tap, version, go):
    """vet has nothing to say, nor has gofmt."""
    status, said = toolchain.run(go, "vet", "./...", cwd=toolchain.ROOT / "go",
                                 env=toolchain.environment())
    tap.case(status == 0, f"vet_is_silent ({version})", said)
    gofmt = go.rsplit("/", 1)[0] + "/gofmt"
    folders = [toolchain.ROOT / name for name in ("go", "examples/go", "bench/peers")]
    status, said = toolchain.run(gofmt, "-l", *[path for path in folders if path.exists()])
    tap.case(status == 0 and not said, f"gofmt_changes_nothing ({version})", said)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="these tests alone")
    parser.add_argument("--no-race", action="store_true", help="without the race detector")
    parser.add_argument("--oldest", action="store_true", help="with the oldest Go alone")
    return parser.parse_args()


def main():
    options = parse_arguments()
    toolchains = toolchain.find_toolchains()
    if not toolchains:
        print("1..0 # skip Go is not installed")
        return 0
    tap = Tap()
    for version, go in toolchains[:1] if options.oldest else toolchains:
        began = time.monotonic()
        if not options.run:
            look_at_sources(tap, version, go)
        run_tests(tap, version, go, options)
        print(f"# {version}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"1..{tap.cases}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
