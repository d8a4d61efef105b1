#!/usr/bin/env python3
"""Every code block of the README and of docs/ builds and runs, or says why not.

reader.py says how a block is marked, runner.py how one is built. Declarations are not compiled on
their own: they stand in a public header, word by word.
MANTIS_BUILD names the build directory. Usage: blocks.py [DOCUMENT...]"""

import concurrent.futures
import os
import pathlib
import sys

import reader
import runner

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def documents(names):
    """The texts of the documents to look at, by their paths from the root."""
    names = names or ["README.md", *sorted(str(path.relative_to(ROOT))
                                           for path in (ROOT / "docs").rglob("*.md"))]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names}


def outcomes_of_reading(path, findings):
    """What there is to report of a document in itself."""
    problems = "\n".join(f"{finding.path}:{finding.line}: {finding.text}" for finding in findings)
    return runner.Outcome(f"each block of {path} says what it is", failure=problems or None)


def gather(declared):
    """One outcome for the declarations of each document: there are many of them."""
    return [runner.Outcome(f"{count} declarations of {path} stand in a public header")
            for path, count in declared.items()]


def check(texts, place):
    """All outcomes, in the order of the documents."""
    outcomes, blocks, declared = [], {}, {}
    for path, text in texts.items():
        found, findings = reader.read(path, text)
        outcomes.append(outcomes_of_reading(path, findings))
        blocks[path] = [block for block in found if block.language in reader.RUN]
        for block in list(blocks[path]):
            if block.language == "c" and place.is_declaration(block.text):
                declared[path] = declared.get(path, 0) + 1
                blocks[path].remove(block)
    checker = runner.Checker(place)
    checker.prepare([block for some in blocks.values() for block in some])
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        for some in executor.map(lambda some: [checker.check(block) for block in some],
                                 blocks.values()):
            outcomes += [outcome for found in some for outcome in found]
    return outcomes + gather(declared)


def show(outcomes):
    """The outcomes as TAP: is all well?"""
    print(f"1..{len(outcomes)}")
    for number, outcome in enumerate(outcomes, 1):
        if outcome.failure:
            print("".join(f"# {line}\n" for line in outcome.failure.splitlines()), end="")
        skip = f" # SKIP {outcome.skipped}" if outcome.skipped else ""
        print(f"{'not ' if outcome.failure else ''}ok {number} - {outcome.sentence}{skip}")
    return not any(outcome.failure for outcome in outcomes)


def main():
    build = runner.as_path(os.environ["MANTIS_BUILD"])
    with runner.temporary() as scratch:
        place = runner.Place(build, ROOT, pathlib.Path(scratch), "blocks")
        is_well = show(check(documents(sys.argv[1:]), place))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
