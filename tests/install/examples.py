#!/usr/bin/env python3
"""Build every example as a user does, from what is installed, and run it under valgrind: with the
command in its head, shared and static, and with CMake. Usage: examples.py BUILD EXAMPLES"""

import concurrent.futures
import pathlib
import re
import shutil
import sys
import tempfile

from installed import Skip, Tree, install, needed, run, run_cases

HERE = pathlib.Path(__file__).resolve().parent
COMMAND = re.compile(r"^ \*\s+(cc .*?) && ", re.MULTILINE)
NEED_A_SERVER = {"mantispool-pq", "mantispool-redis"}
PROJECT = "cmake_minimum_required(VERSION 3.13)\nproject(examples C)"
VALGRIND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
            "--show-leak-kinds=definite,possible", "--errors-for-leak-kinds=definite,possible",
            f"--suppressions={HERE / 'valgrind.supp'}"]


class Example:
    """One example, and what the command in its head says."""

    def __init__(self, source):
        self.source = source
        self.name = source.stem
        found = COMMAND.search(source.read_text())
        assert found, f"{source.name} does not say how it is built: ' *     cc … && ./name'"
        self.command = found.group(1)
        self.packages = re.search(r"--libs ([^)]*)\)", self.command).group(1).split()

    @property
    def static_command(self):
        """The command with --static for our own packages, and not for others: Debian's libpq.pc
        then names archives that Debian does not have."""
        own = [package for package in self.packages if package.startswith("mantispool")]
        others = [package for package in self.packages if package not in own]
        asked = f"$(pkg-config --static --cflags --libs {' '.join(own)})"
        if others:
            asked += f" $(pkg-config --cflags --libs {' '.join(others)})"
        return re.sub(r"\$\(.*?\)", lambda _: asked, self.command)

    def compile(self, command, tree, place):
        """Run the command, in a folder of its own: the program."""
        place = place / self.name
        place.mkdir(parents=True)
        shutil.copy(self.source, place)
        run("sh", "-c", f"{command} -Wall -Wextra -Werror", cwd=place, env=tree.environment)
        return place / re.search(r"-o (\S+)", self.command).group(1)


class Ground:
    """The installed trees and the examples that can be built here."""

    def __init__(self, build, examples, scratch):
        self.scratch = scratch
        self.shared = install(build, scratch / "shared")
        shutil.copytree(self.shared.root, scratch / "static", symlinks=True)
        for path in (scratch / "static").rglob("*.so*"):
            path.unlink()
        self.static = Tree(scratch / "static")
        self.examples = []
        for source in sorted(examples.glob("*.c")):
            example = Example(source)
            try:
                run("pkg-config", "--exists", *example.packages, env=self.shared.environment)
                self.examples.append(example)
            except AssertionError:
                print(f"# {example.name} is not built: {example.packages} are not all here")
        assert len(self.examples) >= 4, f"only {len(self.examples)} examples"


def run_examples(ground, programs, tree):
    """Run these under valgrind, but those that need a server."""
    if not shutil.which("valgrind"):
        raise Skip("built; valgrind is not installed")

    def run_one(example):
        if not NEED_A_SERVER & set(example.packages):
            program = programs[example.name]
            run(*VALGRIND, program, cwd=program.parent, env=tree.environment, timeout=300)

    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        list(executor.map(run_one, ground.examples))


def ours(program):
    """The libraries of this project that a program needs."""
    return [name for name in needed(program) if name.startswith("libmantispool")]


def the_command_in_each_head_works(ground):
    place = ground.scratch / "head"
    programs = {example.name: example.compile(example.command, ground.shared, place)
                for example in ground.examples}
    for name, program in programs.items():
        assert ours(program), f"{name} needs none of our libraries"
    run_examples(ground, programs, ground.shared)


def with_static_it_links_the_archives(ground):
    place = ground.scratch / "archives"
    programs = {example.name: example.compile(example.static_command, ground.static, place)
                for example in ground.examples}
    for name, program in programs.items():
        assert not ours(program), f"{name} needs {ours(program)}"
    run_examples(ground, programs, ground.static)


def a_program_can_be_static_altogether(ground):
    for example in ground.examples:
        if set(example.packages) <= {"mantispool", "mantispool-store"}:
            program = example.compile(f"{example.static_command} -static", ground.static,
                                      ground.scratch / "alone")
            assert not needed(program), f"{example.name} needs {needed(program)}"
            run(program, cwd=program.parent, timeout=120)


def configure(ground, place, text):
    """Configure a CMake project; its folder is the place."""
    if not shutil.which("cmake"):
        raise Skip("cmake is not installed")
    place.mkdir(exist_ok=True)
    (place / "CMakeLists.txt").write_text(text)
    prefix = ground.shared.include.parent
    return run("cmake", "-S", place, "-B", place / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
               "-DCMAKE_BUILD_TYPE=RelWithDebInfo", env=ground.shared.environment)


def with_cmake_they_build_and_run(ground):
    lines = [PROJECT, "find_package(mantispool 0.1 REQUIRED)", "find_package(PkgConfig REQUIRED)",
             "find_package(Threads REQUIRED)"]
    for example in ground.examples:
        targets = ["Threads::Threads"]
        for package in example.packages:
            if package.startswith("mantispool"):
                targets.append("mantispool::" + package.removeprefix("mantispool-"))
            else:
                lines.append(f"pkg_check_modules({package} REQUIRED IMPORTED_TARGET {package})")
                targets.append(f"PkgConfig::{package}")
        lines.append(f"add_executable({example.name} {example.source})")
        lines.append(f"target_link_libraries({example.name} PRIVATE {' '.join(targets)})")
    place = ground.scratch / "cmake"
    configure(ground, place, "\n".join(lines) + "\n")
    run("cmake", "--build", place / "build", "-j2")
    programs = {example.name: place / "build" / example.name for example in ground.examples}
    run_examples(ground, programs, ground.shared)


def the_project_in_the_document_builds(ground):
    document = (HERE.parents[1] / "docs/installing.md").read_text()
    place = ground.scratch / "document"
    place.mkdir()
    shutil.copy(HERE.parents[1] / "examples/minimal.c", place / "shop.c")
    configure(ground, place, re.search(r"```cmake\n(.*?)```", document, re.DOTALL).group(1))
    run("cmake", "--build", place / "build")
    assert run(place / "build/shop", "mantis::memory:") == "key = value\n"


def refusal(ground, name, text):
    """What CMake says to a project that it must refuse."""
    try:
        configure(ground, ground.scratch / name, f"{PROJECT}\n{text}\n")
    except AssertionError as refused:
        return " ".join(str(refused).split())
    raise AssertionError(f"CMake takes {text}")


def cmake_hears_what_is_missing(ground):
    said = refusal(ground, "newer", "find_package(mantispool 9.1 REQUIRED)")
    assert "compatible with requested version" in said, said
    said = refusal(ground, "older-major", "find_package(mantispool 0.99 REQUIRED)")
    assert "compatible with requested version" in said, said
    said = refusal(ground, "part", "find_package(mantispool REQUIRED COMPONENTS store tea)")
    assert "there is no libmantispool-tea.so in" in said, said


CASES = [the_command_in_each_head_works, with_static_it_links_the_archives,
         a_program_can_be_static_altogether, with_cmake_they_build_and_run,
         the_project_in_the_document_builds,
         cmake_hears_what_is_missing]


def main():
    build, examples = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as scratch:
        return run_cases(CASES, Ground(build, examples, pathlib.Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
