"""A small TAP harness for scripts: a case is a function whose name is a sentence.

    from cases import case, main

    @case
    def bench_refuses_an_unknown_option(context): ...

    main(context)

A case fails by an exception, and is skipped by raising Skip("why"). With MANTIS_TEST_CASES in the
environment only those run whose names contain one of its words, with commas between."""

import os
import sys
import traceback

CASES = []


class Skip(Exception):
    """Raised by a case that cannot run here."""


def case(function):
    CASES.append(function)
    return function


def main(context):
    failed = 0
    words = os.environ.get("MANTIS_TEST_CASES", "").split(",")
    chosen = [function for function in CASES if any(word in function.__name__ for word in words)]
    print(f"1..{len(chosen)}", flush=True)
    for number, function in enumerate(chosen, 1):
        line = f"ok {number} - {function.__name__}"
        try:
            function(context)
        except Skip as why:
            line += f" # SKIP {why}"
        except Exception:  # a case fails in any way it likes
            failed += 1
            line = "not " + line
            print("\n".join("# " + text for text in traceback.format_exc().splitlines()))
        print(line, flush=True)
    sys.exit(1 if failed or not chosen else 0)
