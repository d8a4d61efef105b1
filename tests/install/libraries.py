#!/usr/bin/env python3
"""Install into an empty DESTDIR and check what a user gets: headers, symbols, needs, hardening.
Usage: libraries.py BUILD"""

import ctypes
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

from installed import Skip, install, needed, run, run_cases

ROOT = pathlib.Path(__file__).resolve().parents[2]
# what each library may link
NEEDS = {
    "libmantispool": {"libc"},
    "libmantispool-store": {"libmantispool", "librocksdb", "libc"},
    "libmantispool-pq": {"libmantispool", "libpq", "libc"},
    "libmantispool-redis": {"libmantispool", "libhiredis", "libc"},
}
EXPORTED = re.compile(r"^mantis_[a-z0-9_]+$")


def each_header_compiles_alone(installed, compiler, standard, language):
    headers = sorted((installed.include / "mantis").glob("*.h"))
    assert headers, "no headers"
    for header in headers:
        run(compiler, f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror",
            "-fsyntax-only", f"-I{installed.include}", "-include", f"mantis/{header.name}",
            "-x", language, "/dev/null")


def headers_compile_alone_as_c99(installed):
    each_header_compiles_alone(installed, os.environ.get("CC", "gcc"), "c99", "c")


def headers_compile_alone_as_cxx11(installed):
    each_header_compiles_alone(installed, os.environ.get("CXX", "g++"), "c++11", "c++")


def shared_symbols(library):
    """What a shared library exports: {name: version}. The version itself is a symbol, too."""
    words = [line.split()[-1] for line in
             run("nm", "-D", "--defined-only", "--no-weak", library).splitlines()]
    names = dict(word.partition("@@")[::2] for word in words)
    return {name: version for name, version in names.items() if name not in names.values()}


def static_symbols(library):
    """What a program can link to in a static library."""
    lines = run("nm", "--extern-only", "--defined-only", library.with_suffix(".a")).splitlines()
    return {line.split()[-1] for line in lines if len(line.split()) == 3}


def libraries_export_only_mantis_names_in_one_version(installed):
    for library in installed.libraries():
        exported = shared_symbols(library)
        assert exported, f"{library.name} exports nothing"
        other = [name for name in exported if not EXPORTED.match(name)]
        assert not other, f"{library.name} exports {other}"
        other = [name for name, version in exported.items() if version != "MANTIS_0"]
        assert not other, f"{library.name}: not of version MANTIS_0: {other}"


def shared_and_static_libraries_export_the_same(installed):
    for library in installed.libraries():
        differing = shared_symbols(library).keys() ^ static_symbols(library)
        assert not differing, f"{library.stem}: {sorted(differing)}"


def every_public_function_is_exported(installed):
    declared = set()
    for header in (installed.include / "mantis").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for declaration in re.findall(r"^MANTIS_API ([^;]*);", text, flags=re.MULTILINE):
            declared.add(re.search(r"(mantis_\w+)\s*(?:\(|$)", declaration).group(1))
    exported = {name for library in installed.libraries() for name in shared_symbols(library)}
    assert declared == exported, f"declared or exported, not both: {sorted(declared ^ exported)}"


def each_library_needs_what_it_must_alone(installed):
    for library in installed.libraries():
        names = {re.sub(r"\.so.*", "", name) for name in needed(library)} - {"ld-linux-x86-64"}
        assert names == NEEDS[library.stem], f"{library.name} needs {sorted(names)}"


def the_libraries_have_their_names(installed):
    for library in installed.libraries():
        text = run("readelf", "-dW", library)
        assert f"Library soname: [{library.name}.0]" in text, text
        assert "NODELETE" in text, f"{library.name} can be unloaded under its threads"


def everything_is_hardened(installed):
    for path in [installed.program] + installed.libraries():
        header, dynamic = run("readelf", "-hW", path), run("readelf", "-dW", path)
        segments, symbols = run("readelf", "-lW", path), run("nm", "-D", path)
        assert "DYN (" in header, f"{path.name} has a fixed address"
        assert "BIND_NOW" in dynamic or "NOW" in dynamic, f"{path.name} is bound lazily"
        assert "GNU_RELRO" in segments, f"{path.name} has no RELRO"
        assert "__stack_chk_fail" in symbols, f"{path.name} has no canaries"
        assert re.search(r"__\w+_chk", symbols), f"{path.name} has no fortified calls"
        assert not re.search(r"GNU_STACK.*E", segments), f"{path.name} has an executable stack"


def the_program_brings_our_libraries_with_it(installed):
    own = [name for name in needed(installed.program) if "mantispool" in name]
    assert not own, f"it needs {own}"
    assert re.match(r"^mantispool \d+\.\d+\.\d+", run(installed.program, "--version"))


def the_shared_libraries_can_be_loaded_late(installed):
    pool = ctypes.CDLL(str(installed.lib / "libmantispool.so"), mode=ctypes.RTLD_GLOBAL)
    pool.mantis_version.restype = ctypes.c_char_p
    assert re.match(rb"^\d+\.\d+\.\d+$", pool.mantis_version())
    for library in installed.libraries():
        ctypes.CDLL(str(library))


def programs_that_are_built_already_go_on_working(installed):
    if struct.calcsize("P") != 8:
        raise Skip("the list is of a 64-bit system")
    check = subprocess.run([ROOT / "tools/abi", "--check", installed.build], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert check.returncode == 0, (f"{check.stdout}\nThis differs from tests/install/abi.txt. "
                                   f"If it is meant: tools/abi --update {installed.build}")


CASES = [
    headers_compile_alone_as_c99, headers_compile_alone_as_cxx11,
    libraries_export_only_mantis_names_in_one_version,
    shared_and_static_libraries_export_the_same, every_public_function_is_exported,
    each_library_needs_what_it_must_alone, the_libraries_have_their_names, everything_is_hardened,
    the_program_brings_our_libraries_with_it, the_shared_libraries_can_be_loaded_late,
    programs_that_are_built_already_go_on_working,
]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        installed = install(build, pathlib.Path(scratch))
        installed.build = build
        return run_cases(CASES, installed)


if __name__ == "__main__":
    sys.exit(main())
