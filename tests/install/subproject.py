#!/usr/bin/env python3
"""Use the project from another meson project: as a subproject, and as what is installed.
Usage: subproject.py BUILD SOURCE"""

import os
import pathlib
import re
import sys
import tempfile

from installed import install, needed, run, run_cases

# Either way the program is described by the same lines.
PROJECT = """project('shop', 'c')
executable('shop', 'shop.c', dependencies: dependency('mantispool'))
executable('shop-store', 'shop-store.c', dependencies: dependency('mantispool-store'))
"""
# what docs/installing.md says to put beside the subproject
WRAP = re.compile(r"mantispool\.wrap`:\n\n```ini\n(.*?)```", re.DOTALL)


class Ground:
    """A build and its sources."""

    def __init__(self, build, source, scratch):
        self.build, self.source, self.scratch = build, source, scratch

    def project(self, name):
        """A project of somebody's."""
        place = self.scratch / name
        place.mkdir()
        (place / "meson.build").write_text(PROJECT)
        (place / "shop-store.c").write_text((self.source / "examples/minimal.c").read_text())
        (place / "shop.c").write_text((self.source / "examples/custom_connector.c").read_text())
        return place


def set_up(place, environment, *options):
    run("meson", "setup", place / "build", place, *options, env=environment)
    run("ninja", "-C", place / "build", "-j2", "shop", "shop-store", env=environment)
    for program in ("shop", "shop-store"):
        ours = [name for name in needed(place / "build" / program) if "libmantispool" in name]
        assert ours, f"{program} does not need our library"
        run(place / "build" / program, cwd=place, env=environment, timeout=120)


def a_subproject_is_built_with_its_parent(ground):
    place = ground.project("parent")
    (place / "subprojects").mkdir()
    (place / "subprojects/mantispool").symlink_to(ground.source)
    document = (ground.source / "docs/installing.md").read_text()
    (place / "subprojects/mantispool.wrap").write_text(WRAP.search(document).group(1))
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PKG_CONFIG_PATH", "LD_LIBRARY_PATH")}
    set_up(place, environment, "--force-fallback-for=mantispool,mantispool-store")


def an_installation_is_found_by_pkg_config(ground):
    place = ground.project("user")
    installed = install(ground.build, ground.scratch / "root")
    set_up(place, installed.environment)


CASES = [a_subproject_is_built_with_its_parent, an_installation_is_found_by_pkg_config]


def main():
    build, source = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as scratch:
        return run_cases(CASES, Ground(build, source, pathlib.Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
