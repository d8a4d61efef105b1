#!/usr/bin/env python3
"""Install into an empty DESTDIR and check what a user gets: headers, symbols, needs, hardening,
pkg-config, examples. Usage: install.py BUILD EXAMPLES"""

import ctypes
import os
import pathlib
import re
import subprocess
import sys
import tempfile

LIBC = re.compile(r"^(libc\.so|ld-linux)")
EXPORTED = re.compile(r"^mantis_[a-z0-9_]+$")


def run(*command, **keywords):
    """The output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **keywords)
    if done.returncode != 0:
        line = " ".join(str(word) for word in command)
        raise AssertionError(f"{line}\nexit status {done.returncode}\n{done.stdout}")
    return done.stdout


class Installed:
    """The installed tree, and what the tests below need of it."""

    def __init__(self, build, examples, scratch):
        self.scratch = scratch
        self.root = scratch / "root"
        self.examples = examples
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", self.root)
        self.lib = self.one("libmantispool.so").parent
        self.include = self.one("mantis/pool.h").parent.parent
        self.program = self.one("bin/mantispool")
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(self.lib),
                            "PKG_CONFIG_PATH": str(self.lib / "pkgconfig"),
                            "PKG_CONFIG_SYSROOT_DIR": str(self.root)}

    def one(self, ending):
        found = [path for path in self.root.rglob("*") if str(path).endswith("/" + ending)]
        assert len(found) == 1, f"{ending} is installed {len(found)} times"
        return found[0]

    def libraries(self):
        return [self.lib / "libmantispool.so", self.lib / "libmantispool-store.so"]

    def flags(self, package, *options):
        return run("pkg-config", *options, package, env=self.environment).split()


def needed(path):
    """The libraries that an ELF file asks for."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", path))


def each_header_compiles_alone(installed, compiler, standard):
    headers = sorted((installed.include / "mantis").glob("*.h"))
    assert headers, "no headers"
    suffix = ".c" if standard.startswith("c9") else ".cc"
    for header in headers:
        source = installed.scratch / f"alone{suffix}"
        source.write_text(f"#include <mantis/{header.name}>\nint main(void) {{ return 0; }}\n")
        run(compiler, f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror",
            "-fsyntax-only", f"-I{installed.include}", source)


def headers_compile_alone_as_c99(installed):
    each_header_compiles_alone(installed, os.environ.get("CC", "gcc"), "c99")


def headers_compile_alone_as_cxx11(installed):
    each_header_compiles_alone(installed, os.environ.get("CXX", "g++"), "c++11")


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


def the_pool_library_needs_libc_alone(installed):
    other = [name for name in needed(installed.libraries()[0]) if not LIBC.match(name)]
    assert not other, f"it needs {other}"


def the_store_library_needs_the_pool_rocksdb_and_libc(installed):
    names = {re.sub(r"\.so.*", "", name) for name in needed(installed.libraries()[1])}
    assert names == {"libmantispool", "librocksdb", "libc"}, f"it needs {sorted(names)}"


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


def build_and_run_examples(installed, is_static):
    sources = sorted(installed.examples.glob("*.c"))
    assert sources, "no examples"
    for source in sources:
        package = "mantispool-store" if "mantis_embedded" in source.read_text() else "mantispool"
        if is_static:
            flags = [re.sub(r"^-l(mantispool.*)$", r"-l:lib\1.a", word) for word in
                     installed.flags(package, "--cflags", "--libs", "--static")]
        else:
            flags = installed.flags(package, "--cflags", "--libs")
        place = installed.scratch / f"{source.stem}-{'static' if is_static else 'shared'}"
        place.mkdir()
        program = place / source.stem
        run("gcc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-o", program, source, *flags)
        ours = [name for name in needed(program) if "mantispool" in name]
        assert bool(ours) != is_static, f"{source.name} needs {ours}"
        run(program, cwd=place, env=installed.environment, timeout=120)


def examples_build_and_run_shared(installed):
    build_and_run_examples(installed, is_static=False)


def examples_build_and_run_static(installed):
    build_and_run_examples(installed, is_static=True)


def the_shared_libraries_can_be_loaded_late(installed):
    pool = ctypes.CDLL(str(installed.libraries()[0]), mode=ctypes.RTLD_GLOBAL)
    pool.mantis_version.restype = ctypes.c_char_p
    assert re.match(rb"^\d+\.\d+\.\d+$", pool.mantis_version())
    os.environ["LD_LIBRARY_PATH"] = str(installed.lib)
    store = ctypes.CDLL(str(installed.libraries()[1]))
    assert ctypes.addressof(ctypes.c_char.in_dll(store, "mantis_embedded"))


TESTS = [
    headers_compile_alone_as_c99, headers_compile_alone_as_cxx11,
    libraries_export_only_mantis_names_in_one_version,
    shared_and_static_libraries_export_the_same, every_public_function_is_exported,
    the_pool_library_needs_libc_alone, the_store_library_needs_the_pool_rocksdb_and_libc,
    the_libraries_have_their_names, everything_is_hardened,
    the_program_brings_our_libraries_with_it, examples_build_and_run_shared,
    examples_build_and_run_static, the_shared_libraries_can_be_loaded_late,
]


def main():
    build, examples = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    bad = 0
    print(f"1..{len(TESTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        installed = Installed(build, examples, pathlib.Path(scratch))
        for number, test in enumerate(TESTS, 1):
            try:
                test(installed)
                print(f"ok {number} - {test.__name__}", flush=True)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as problem:
                bad += 1
                print(f"not ok {number} - {test.__name__}")
                print("".join(f"# {line}\n" for line in str(problem).splitlines()), end="")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
