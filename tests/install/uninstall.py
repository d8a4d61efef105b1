#!/usr/bin/env python3
"""Install with tools/install, take it away with make uninstall, and see what is left.
Usage: uninstall.py BUILD"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from installed import run, run_cases

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Ground:
    """A build, and places to install it to."""

    def __init__(self, build, scratch):
        self.build = build
        self.scratch = scratch
        options = json.loads((build / "meson-info/intro-buildoptions.json").read_text())
        self.prefix = next(one["value"] for one in options if one["name"] == "prefix")

    def install(self, name):
        """Install into a folder of this name: the folder."""
        place = self.scratch / name
        run(ROOT / "tools/install", self.build, env={**os.environ, "DESTDIR": str(place)})
        return place

    def uninstall(self, place):
        """What make uninstall says; it may fail."""
        done = subprocess.run(["make", "-s", "-C", ROOT, "uninstall", f"BUILD={self.build}",
                               f"PREFIX={self.prefix}", f"DESTDIR={place}"], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout


def files_of(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def uninstall_leaves_nothing_of_an_install(ground):
    place = ground.install("once")
    assert len(files_of(place)) > 20, files_of(place)
    said = ground.uninstall(place)
    assert not place.exists(), f"left: {files_of(place)}\n{said}"


def uninstall_leaves_nothing_of_an_install_over_another(ground):
    ground.install("twice")
    place = ground.install("twice")
    said = ground.uninstall(place)
    assert not place.exists(), f"left: {files_of(place)}\n{said}"


def uninstall_keeps_what_install_did_not_put_there(ground):
    place = ground.scratch / "shared"
    before = place / ground.prefix.strip("/") / "share"
    before.mkdir(parents=True)  # empty, and not ours
    ground.install("shared")
    other = place / ground.prefix.strip("/") / "bin/other"
    other.write_text("of another program\n")
    ground.uninstall(place)
    folders = {str(folder.relative_to(place)) for path in (before, other)
               for folder in [path, *path.parents] if folder != place and place in folder.parents}
    assert files_of(place) == sorted(folders), files_of(place)


def uninstall_touches_no_other_destination(ground):
    one, other = ground.install("one"), ground.install("one-more")
    before = files_of(other)
    ground.uninstall(one)
    assert not one.exists() and files_of(other) == before
    ground.uninstall(other)
    assert not other.exists(), files_of(other)


def uninstall_of_nothing_says_what_to_name(ground):
    said = ground.uninstall(ground.scratch / "nowhere")
    assert "knows of nothing in" in said and "PREFIX and DESTDIR" in said, said


CASES = [uninstall_leaves_nothing_of_an_install,
         uninstall_leaves_nothing_of_an_install_over_another,
         uninstall_keeps_what_install_did_not_put_there, uninstall_touches_no_other_destination,
         uninstall_of_nothing_says_what_to_name]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        return run_cases(CASES, Ground(build, pathlib.Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
