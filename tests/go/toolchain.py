"""The Go toolchains of this machine, and the environment in which they find the libraries."""

import os
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MANTIS_BUILD", ROOT / "build"))
PLACES = ["/usr/lib/go-*/bin/go", "/usr/local/go/bin/go"]  # Debian's, and go.dev's


def run(*command, **keywords):
    """A command's end: its status and all that it said."""
    done = subprocess.run([str(word) for word in command], check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **keywords)
    return done.returncode, done.stdout


def find_toolchains():
    """(version, path) of each Go, the oldest first."""
    paths = [str(path) for pattern in PLACES
             for path in sorted(pathlib.Path("/").glob(pattern.lstrip("/")))]
    first = shutil.which("go")
    found = {}
    for path in paths + ([first] if first else []):
        status, said = run(path, "env", "GOVERSION", env={**os.environ, "GOTOOLCHAIN": "local"})
        version = re.fullmatch(r"go(\d+)\.(\d+)\S*", said.strip())
        if status == 0 and version:
            found.setdefault(version.group(0), (tuple(map(int, version.groups())), path))
    return [(version, path) for version, (_, path) in
            sorted(found.items(), key=lambda item: item[1][0])]


def environment(**more):
    """As a user has it after eval "$(make -s go-env)", without a network."""
    status, said = run("sh", "-c", 'eval "$("$0" "$1")" && '
                       'printf "%s\\n%s" "$PKG_CONFIG_PATH" "$CGO_CFLAGS"',
                       ROOT / "tools/go-env", BUILD)
    if status != 0:
        raise AssertionError(f"tools/go-env: {said}")
    path, flags = said.splitlines()
    return {**os.environ, "PKG_CONFIG_PATH": path, "CGO_CFLAGS": flags, "GOTOOLCHAIN": "local",
            "GOPROXY": "off", "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "1", **more}
