#!/usr/bin/env python3
"""The checker of the documents' code notices what is wrong with a block: each case plants one.

Usage: checker.py [WORD...], for the cases whose names contain a word."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import blocks  # noqa: E402
import runner  # noqa: E402
from cases import CASES, Skip, case, main  # noqa: E402

PROGRAM = """```c
#include <mantis/pool.h>
#include <stdio.h>
int main(void) {{
    printf("%s\\n", mantis_status_name(MANTIS_{status}));
    return {code};
}}
```
"""


def outcomes(place, text):
    """The outcomes of a document, but for that of reading it, which must be good."""
    first, *rest = blocks.check({"planted.md": text}, place)
    assert not first.failure, first.failure
    assert rest, "nothing was found"
    return rest


def only(place, text):
    found = outcomes(place, text)
    assert len(found) == 1, [outcome.sentence for outcome in found]
    return found[0]


def fails(place, text, word):
    outcome = only(place, text)
    assert outcome.failure, f"not noticed: {outcome.sentence}"
    assert word in outcome.failure, outcome.failure


def succeeds(place, text):
    outcome = only(place, text)
    assert not outcome.failure and not outcome.skipped, outcome
    return outcome.sentence


def found_in(place, text):
    """What is wrong with a document in itself."""
    return blocks.check({"planted.md": text}, place)[0].failure or ""


@case
def a_program_that_does_not_compile_fails(place):
    fails(place, PROGRAM.format(status="SPLENDID", code=0), "MANTIS_SPLENDID")


@case
def a_program_with_a_warning_fails(place):
    fails(place, "```c\nint main(void) {\n    int x;\n    return 0;\n}\n```\n", "unused variable")


@case
def a_program_that_answers_one_fails(place):
    fails(place, PROGRAM.format(status="OK", code=1), "exit status 1")


@case
def a_program_that_dies_fails(place):
    fails(place, "```c\n#include <stdlib.h>\nint main(void) {\n    abort();\n}\n```\n",
          "exit status -6")


@case
def a_program_that_prints_something_else_fails(place):
    program = PROGRAM.format(status="OK", code=0)
    fails(place, f"{program}```output\nTIMEOUT\n```\n", "should print\n")
    succeeds(place, f"{program}```output\nOK\n```\n")
    succeeds(place, f"{program}```output\nO...\n```\n")
    fails(place, f"{program}```output\nE...\n```\n", "should print\n")
    succeeds(place, f"{program}\nIt says:\n\n```output\n...\nOK\n```\n")


@case
def a_fragment_that_does_not_compile_fails(place):
    fails(place, "```c\nmantis_pool_fly(pool);\n```\n", "mantis_pool_fly")


@case
def a_fragment_that_leaves_an_error_fails(place):
    fails(place, "```c\nmantis_conn_get(conn, \"no\", 2, &value, &error);\n```\n", "no such key")


@case
def a_fragment_that_does_not_release_fails(place):
    acquire = "mantis_pool_acquire(pool, mantis_deadline_ms(1000), &{}, &error);\n"
    succeeds(place, f"```c\n{acquire.format('conn')}```\n")
    fails(place, f"```c\nmantis_conn other = {{0}};\n{acquire.format('other')}```\n",
          "was not released")


@case
def fragments_are_statements_definitions_or_declarations(place):
    statements = "```c\nmantis_conn_set(conn, \"a\", 1, \"b\", 1, &error);\n```\n"
    assert succeeds(place, statements).startswith("the fragment")
    definitions = "```c\nstatic void on_timeout(void *arg, int64_t ns) {}\n```\n"
    assert succeeds(place, definitions).startswith("the definitions")
    declaration = "```c\nvoid mantis_cursor_free(mantis_cursor *cursor);\n```\n"
    assert "1 declarations" in succeeds(place, declaration)


@case
def commands_that_fail_fail(place):
    fails(place, "```sh\nfalse\ntrue\n```\n", "exit status 1")
    fails(place, "```sh\nmantispool kv get nothing\n```\n", "there is no key")


@case
def a_session_that_prints_something_else_fails(place):
    session = "```console\n$ echo one; false\none\n$ x=2; echo $x\n{}\n```\n"
    fails(place, session.format("two"), "should print\n")
    succeeds(place, session.format("2"))
    fails(place, "```console\n$ echo one\n```\n", "prints\none")


@case
def commands_see_the_project_and_the_files_of_the_page(place):
    succeeds(place, "```sh\ntest -f README.md\ntest -d docs\nmantispool version\n```\n")
    text = PROGRAM.format(status="OK", code=0).replace("```c", "<!-- file: ok.c -->\n```c")
    shell = "```sh\ncc ok.c -o ok $(pkg-config --cflags --libs mantispool)\n./ok\n```\n" \
        "```output\nOK\n```\n"
    assert not [outcome.failure for outcome in outcomes(place, text + shell) if outcome.failure]


@case
def a_block_that_is_not_run_is_built_and_listed(place):
    program = PROGRAM.format(status="OK", code=1)
    built, run = outcomes(place, f"<!-- not run: it answers 1 -->\n{program}")
    assert not built.failure and run.skipped == "not run: it answers 1", (built, run)
    program = PROGRAM.format(status="SPLENDID", code=0)
    assert only(place, f"<!-- not run: it is wrong -->\n{program}").failure
    outcome = only(place, f"<!-- not built: it is wrong -->\n{program}")
    assert outcome.skipped == "not built: it is wrong", outcome
    assert outcomes(place, "<!-- not run: it is no shell -->\n```sh\nif then\n```\n")[0].failure


@case
def a_block_that_needs_a_program_is_passed_over_without_it(place):
    outcome = only(place, "<!-- needs: no-such-program -->\n```sh\nfalse\n```\n")
    assert outcome.skipped == "there is no no-such-program", outcome
    assert only(place, "<!-- needs: sh -->\n```sh\nfalse\n```\n").failure


@case
def a_block_that_does_not_say_what_it_is_is_found(place):
    assert "no language" in found_in(place, "```\nx\n```\n")
    assert "'python' is none of" in found_in(place, "```python\nx\n```\n")
    assert "indentation" in found_in(place, "Do this:\n\n    make it so\n")
    assert "has no end" in found_in(place, "```c\nint x;\n")
    assert "no block is before" in found_in(place, "```output\nx\n```\n")
    assert not found_in(place, "- an item\n\n    more of it\n\n```text\nx\n```\n")


@case
def a_mark_that_marks_nothing_is_found(place):
    assert "needs a reason" in found_in(place, "<!-- not run: -->\n```sh\ntrue\n```\n")
    assert "no block follows" in found_in(place, "<!-- not run: why -->\n\n```sh\ntrue\n```\n")
    assert "not run anyway" in found_in(place, "<!-- not run: why -->\n```text\nx\n```\n")


@case
def go_that_does_not_build_or_fails_fails(place):
    if place.why_no_go:
        raise Skip(place.why_no_go)
    fails(place, "```go\npackage main\n\nfunc main() { fly() }\n```\n", "undefined: fly")
    fails(place, "```go\npackage main\n\nimport \"os\"\n\nfunc main() { os.Exit(3) }\n```\n",
          "exit status 3")
    fails(place, "```go\nreturn conn.Set(ctx, \"\", nil)\n```\n", "exit status 1")
    succeeds(place, "```go\nvalue := []byte(\"x\")\nerr := conn.Set(ctx, \"key\", value)\n"
             "if err != nil {\n\treturn err\n}\n```\n")


if sys.argv[1:]:
    CASES[:] = [function for function in CASES
                if any(word in function.__name__ for word in sys.argv[1:])]
with runner.temporary() as scratch:
    main(runner.Place(runner.as_path(os.environ["MANTIS_BUILD"]), blocks.ROOT,
                      pathlib.Path(scratch), "checker"))
