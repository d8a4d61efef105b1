#!/usr/bin/env python3
"""Read the installed man pages as a user does: they render, and say what the headers and the
program's --help say. Usage: man.py BUILD"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from installed import Skip, install, run, run_cases


def pages_of(installed):
    pages = sorted(path for path in installed.root.rglob("man[13]/*.[13]"))
    assert len(pages) > 60, f"only {len(pages)} pages"
    return pages


def render(page):
    """(the text of a page on lines without an end, its warnings)"""
    if not shutil.which("groff"):
        raise Skip("groff is not installed")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=9000n", "-ww", page],
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.stdout.decode(), done.stderr.decode()


def words(text):
    """Text as one line, without what a page shows by its style."""
    return " ".join(text.replace("`", "").replace("‐", "-").split())


def comments_of(header):
    """The comments that stand before declarations, each as one line."""
    for comment in re.findall(r"^/\*(.*?)\*/", header.read_text(), flags=re.DOTALL | re.MULTILINE):
        if not comment.strip().startswith(("----", "Marks what", "X(name")):
            yield re.sub(r"\n \*", "\n", comment)


def every_page_renders_without_a_warning(installed):
    for page in pages_of(installed):
        if not page.is_symlink():
            text, warnings = render(page)
            assert not warnings, f"{page.name}: {warnings}"
            assert len(text) > 500, f"{page.name}: {text}"


def another_reader_has_no_warning_either(installed):
    if not shutil.which("mandoc"):
        raise Skip("mandoc is not installed")
    for page in pages_of(installed):
        if not page.is_symlink():
            said = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], check=False,
                                  stdout=subprocess.PIPE, text=True).stdout
            # the same sources make the same page, on whatever day
            other = [line for line in said.splitlines() if "missing date" not in line]
            assert not other, "\n".join(other)


def every_function_has_a_page_that_shows_it(installed):
    missing = []
    for header in (installed.include / "mantis").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for declaration in re.findall(r"^MANTIS_API ([^;]*;)", text, flags=re.MULTILINE):
            name = re.search(r"(mantis_\w+)\s*[(;]", declaration).group(1)
            page = installed.one(f"man3/{name}.3")
            if words(declaration) not in words(render(page)[0]):
                missing.append(f"{name} is not on {page.name}")
    assert not missing, "\n".join(missing)


def every_contract_is_on_the_page_of_its_header(installed):
    missing = []
    for header in (installed.include / "mantis").glob("*.h"):
        page = words(render(installed.one(f"man3/mantis_{header.stem}.3"))[0])
        comments = list(comments_of(header))
        assert len(comments) > 1, f"{header.name}: {comments}"
        for comment in comments:
            for sentence in re.split(r"(?<=[.:]) |\n\n|\s+(?:Owner|Threads|Blocks|Errors)\s",
                                     comment):
                if words(sentence) not in page:
                    missing.append(f"{header.name}: {words(sentence)}")
    assert not missing, "not on its page:\n" + "\n".join(missing)


def the_program_has_a_page_with_every_option(installed):
    page = words(render(installed.one("man1/mantispool.1"))[0])
    commands = re.findall(r"^  (\w+) ", run(installed.program, "--help"), flags=re.MULTILINE)
    assert "bench" in commands, commands
    for command in commands:
        said = run(installed.program, command, "--help")
        for line in re.findall(r"^Usage: (.*)|^  (--[\w-]+(?: [A-Z]+)?)  ", said,
                               flags=re.MULTILINE):
            assert words("".join(line)) in page, f"'{''.join(line)}' is not in mantispool(1)"


def nothing_on_the_pages_is_of_this_machine(installed):
    """A default that depends on the processors would make the same sources two pages."""
    page = render(installed.one("man1/mantispool.1"))[0]
    said = re.search(r"--threads N\n(.*)", page).group(1)
    assert not re.search(r"default: \d", said), said


CASES = [every_page_renders_without_a_warning, another_reader_has_no_warning_either,
         every_function_has_a_page_that_shows_it, every_contract_is_on_the_page_of_its_header,
         the_program_has_a_page_with_every_option, nothing_on_the_pages_is_of_this_machine]


def main():
    with tempfile.TemporaryDirectory() as scratch:
        return run_cases(CASES, install(pathlib.Path(sys.argv[1]).resolve(),
                                        pathlib.Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
