#!/usr/bin/env python3
"""What a user of the Go package meets: go-env, a program of their own, and what goes wrong."""

import os
import pathlib
import re
import shutil
import sys
import tempfile

import toolchain

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from cases import Skip, case, main  # noqa: E402

MODULE = """module example

go 1.19

require mantisDB v0.0.0

replace mantisDB => {root}/go
"""
PROGRAM = """package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"mantisDB/pool"
	"mantisDB/store"
)

func main() {
	ctx := context.Background()
	config := &pool.PoolConfig{
		MinConnections:    10,
		MaxConnections:    1000,
		MaxIdleTime:       5 * time.Minute,
		ConnectionTimeout: 10 * time.Second,
	}
	p, err := pool.NewConnectionPool(config)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	conn, err := p.Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Release()
	if err := store.From(conn).Set(ctx, "key", []byte("value"), store.Durable()); err != nil {
		log.Fatal(err)
	}
	value, err := conn.Get(ctx, "key")
	fmt.Println(string(value), err)
}
"""


class Context:
    """Each Go, and room to build in."""

    def __init__(self, scratch):
        self.scratch = pathlib.Path(scratch)
        self.toolchains = toolchain.find_toolchains()

    def program(self):
        """A new folder with a program and its module."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        (folder / "go.mod").write_text(MODULE.format(root=toolchain.ROOT))
        (folder / "main.go").write_text(PROGRAM)
        return folder

    def need_go(self):
        if not self.toolchains:
            raise Skip("Go is not installed")


def go_env(*more):
    """What it says on its standard output; of building it tells on the other one."""
    return toolchain.run("sh", "-c", 'exec "$@" 2>/dev/null', "sh", "make", "-s", "-C",
                         toolchain.ROOT, "go-env", f"BUILD={toolchain.BUILD}", *more)


@case
def go_env_prints_export_lines_alone(_):
    status, said = go_env()
    assert status == 0, said
    lines = said.splitlines()
    assert lines and all(re.fullmatch(r'export [A-Z_]+=".*"', line) for line in lines), said


@case
def go_env_keeps_what_was_exported_before(_):
    for before, after in ((None, ""), ("/opt/x/pkgconfig", ":/opt/x/pkgconfig")):
        environment = {**os.environ}
        environment.pop("PKG_CONFIG_PATH", None)
        if before:
            environment["PKG_CONFIG_PATH"] = before
        script = ('eval "$(make -s -C "$0" go-env BUILD="$1" 2>/dev/null)"; '
                  'printf %s "$PKG_CONFIG_PATH"')
        status, said = toolchain.run("sh", "-euc", script, toolchain.ROOT, toolchain.BUILD,
                                     env=environment)
        assert status == 0 and said == f"{toolchain.BUILD}/go-env{after}", said


@case
def go_env_has_go_build_anew_when_the_libraries_are_others(context):
    """Go's cache knows CGO_CFLAGS, and neither what pkg-config says nor headers elsewhere."""
    elsewhere = context.scratch / "elsewhere"
    elsewhere.symlink_to(toolchain.BUILD)
    tool = toolchain.ROOT / "tools/go-env"
    said = [toolchain.run(tool, build)[1] for build in (toolchain.BUILD, elsewhere)]
    toolchain.run(tool, toolchain.BUILD)
    flags = [re.search(r'CGO_CFLAGS="\$\{CGO_CFLAGS--g -O2\} (-D\w+)"', text) for text in said]
    assert all(flags) and flags[0].group(1) != flags[1].group(1), said


@case
def go_env_builds_the_libraries_if_they_are_missing(context):
    if os.environ.get("MANTIS_TEST_LONG") != "1":
        raise Skip("it takes a whole build: MANTIS_TEST_LONG=1")
    build = context.scratch / "build"
    script = 'make -s -C "$0" go-env BUILD="$1" 2>"$2"'
    status, said = toolchain.run("sh", "-c", script, toolchain.ROOT, build,
                                 context.scratch / "log")
    assert status == 0, (context.scratch / "log").read_text()
    assert re.fullmatch(r'(export [A-Z_]+=".*"\n)+', said), said
    assert (build / "src/libmantispool-store.so").exists()


@case
def program_outside_of_the_repository_builds_and_runs(context):
    context.need_go()
    for version, go in context.toolchains:
        folder = context.program()
        status, said = toolchain.run(go, "build", "-o", "program", ".", cwd=folder,
                                     env=toolchain.environment(GOFLAGS=""))
        assert status == 0, f"{version}: {said}"
        clean = {name: value for name, value in os.environ.items()
                 if name not in ("LD_LIBRARY_PATH", "PKG_CONFIG_PATH")}
        status, said = toolchain.run(folder / "program", cwd=folder, env=clean)
        assert (status, said) == (0, "value <nil>\n"), f"{version}: {said}"


@case
def without_cgo_the_error_names_the_command(context):
    context.need_go()
    for version, go in context.toolchains:
        status, said = toolchain.run(go, "build", ".", cwd=context.program(),
                                     env=toolchain.environment(CGO_ENABLED="0"))
        assert status != 0 and "CGO_ENABLED=1 go build" in said, f"{version}: {said}"
        assert len(re.findall(r"\.go:\d+", said)) == 1, f"{version} says more: {said}"


@case
def without_the_libraries_the_error_is_one_that_the_document_explains(context):
    context.need_go()
    document = (toolchain.ROOT / "docs/go-api.md").read_text(encoding="utf-8")
    _, go = context.toolchains[0]
    nothing = context.scratch / "nothing"  # and flags that Go has nothing built with
    nothing.mkdir()
    status, said = toolchain.run(go, "build", ".", cwd=context.program(),
                                 env=toolchain.environment(PKG_CONFIG_PATH="",
                                                           PKG_CONFIG_LIBDIR=str(nothing),
                                                           CGO_CFLAGS=f"-DNEW_{os.getpid()}"))
    assert status != 0 and "pkg-config" in said, said
    found = re.search(r"Package mantispool was not found in the pkg-config search path", said)
    assert found and found.group(0) in document, said


@case
def module_needs_no_other(_):
    text = (toolchain.ROOT / "go/go.mod").read_text(encoding="utf-8")
    assert text == "module mantisDB\n\ngo 1.19\n", text
    assert not (toolchain.ROOT / "go/go.sum").exists()


@case
def one_file_alone_calls_c(_):
    files = [path for path in sorted((toolchain.ROOT / "go").rglob("*.go"))
             if re.search(r'^import "C"', path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert len(files) == 1, files
    flags = re.findall(r"#cgo .*", files[0].read_text(encoding="utf-8"))
    assert flags == ["#cgo pkg-config: mantispool mantispool-store"], flags


if __name__ == "__main__":
    place = tempfile.mkdtemp()
    try:
        main(Context(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
