#!/usr/bin/env python3
"""Build the Debian packages, look into them, install them into an empty root and run what they
bring; with MANTIS_TEST_LONG also into a bare Debian 12. Usage: deb.py BUILD"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from installed import Skip, run, run_cases

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_RECOMMENDS = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]


class Packages:
    """The packages, by their names."""

    def __init__(self, build, scratch):
        self.scratch = scratch
        options = json.loads((build / "meson-info/intro-projectinfo.json").read_text())
        self.version = options["version"]
        self.parts = sorted(path.name.removesuffix(".pc").removeprefix("mantispool")
                            for path in (build / "meson-private").glob("mantispool*.pc"))
        self.problem = self.missing()
        self.files = {}

    @staticmethod
    def missing():
        """What is missing to build packages, or None."""
        if not shutil.which("dh"):
            return "debhelper is not installed"
        check = subprocess.run(["dpkg-checkbuilddeps", "debian/control"], check=False, cwd=ROOT,
                               stderr=subprocess.PIPE, text=True)
        return check.stderr.strip().split("error: ")[-1] if check.returncode else None

    def build(self):
        run(ROOT / "tools/deb", self.scratch / "deb", "-j2",
            env={**os.environ, "DEB_BUILD_OPTIONS": "noautodbgsym"})
        self.files = {path.name.split("_")[0]: path
                      for path in (self.scratch / "deb").glob("*.deb")}

    def file(self, name):
        if self.problem:
            raise Skip(self.problem)
        assert name in self.files, f"{name} was not built: {sorted(self.files)}"
        return self.files[name]

    def field(self, name, field):
        return run("dpkg-deb", "-f", self.file(name), field).strip()

    def needs(self, name):
        """The packages that one depends on: {name: version or ""}."""
        text = self.field(name, "Depends")
        return dict(re.findall(r"([a-z0-9.+-]+)(?: \(([^)]*)\))?", text))


def they_build_and_there_is_one_for_each_library(packages):
    if packages.problem:
        raise Skip(packages.problem)
    packages.build()
    expected = {"mantispool"} | {f"libmantispool{part}{kind}" for part in packages.parts
                                 for kind in ("0", "-dev")}
    assert set(packages.files) == expected, set(packages.files) ^ expected
    for name in packages.files:
        assert packages.field(name, "Version").split("-")[0] == packages.version, \
            f"debian/changelog has another version than meson.build, {packages.version}"


def each_needs_what_its_library_links(packages):
    backends = {"": set(), "-store": {"librocksdb"}, "-pq": {"libpq"}, "-redis": {"libhiredis"}}
    for part in packages.parts:
        needs = {re.sub(r"[\d.]+(t64)?$", "", name)
                 for name in packages.needs(f"libmantispool{part}0")} - {"libc"}
        expected = backends[part] | ({"libmantispool"} if part else set())
        assert needs == expected, f"libmantispool{part}0 needs {needs}"
        own = packages.needs(f"libmantispool{part}-dev")
        exactly = f"= {packages.field('libmantispool0', 'Version')}"
        assert own[f"libmantispool{part}0"] == exactly, own
        assert not part or own["libmantispool-dev"] == exactly, own
    assert not [name for name in packages.needs("mantispool") if "mantispool" in name]


def each_library_says_since_when_it_has_a_function(packages):
    for part in packages.parts:
        deb = packages.file(f"libmantispool{part}0")
        place = packages.scratch / f"unpacked{part}"
        run("dpkg-deb", "-R", deb, place)
        library = next(place.rglob("libmantispool*.so.0"))
        exported = {line.split()[-1].replace("@@", "@") for line in
                    run("nm", "-D", "--defined-only", library).splitlines()}
        listed = set(re.findall(r"^ (\S+) ", (place / "DEBIAN/symbols").read_text(),
                                flags=re.MULTILINE))
        differing = {name for name in exported ^ {name.replace("@Base", "") for name in listed}
                     if "mantis_" in name}
        assert not differing and len(listed) > 1, differing
        assert "ldconfig" in (place / "DEBIAN/triggers").read_text()


def dpkg(packages, root, *words):
    """dpkg in a root of its own, which knows of the packages that are installed here."""
    command = ["dpkg", f"--root={root}", "--force-not-root", "--no-triggers", *words]
    if os.geteuid() != 0:
        command = ["unshare", "-r", *command]
        if subprocess.run(["unshare", "-r", "true"], check=False).returncode:
            raise Skip("dpkg needs root here")
    return run(*command, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})


def files_in(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*")
                  if path.relative_to(root).parts[0] != "var" and not path.is_dir())


def they_install_into_an_empty_root_and_run(packages):
    packages.file("mantispool")
    debs = packages.files.values()
    root = packages.scratch / "root"
    for folder in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / folder).mkdir(parents=True)
    shutil.copy("/var/lib/dpkg/status", root / "var/lib/dpkg/status")  # so that needs are checked
    dpkg(packages, root, "--install", *debs)
    libraries = next(root.rglob("libmantispool.so.0")).parent
    shop = packages.scratch / "shop"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries),
                   "PKG_CONFIG_SYSROOT_DIR": str(root),
                   "PKG_CONFIG_PATH": str(libraries / "pkgconfig")}
    program = root / "usr/bin/mantispool"
    run(program, "kv", "--store", f"mantis:{shop}", "set", "apple", "red", env=environment)
    found = run(program, "kv", "--store", f"mantis:{shop}", "get", "apple", env=environment)
    assert found == "red\n", found
    example = root / "usr/share/doc/libmantispool-dev/examples/minimal.c"
    flags = run("pkg-config", "--cflags", "--libs", "mantispool-store", env=environment).split()
    run("gcc", example, *flags, "-o", packages.scratch / "minimal")
    said = run(packages.scratch / "minimal", "mantis::memory:", env=environment)
    assert said == "key = value\n", said


def nothing_is_left_when_they_are_purged(packages):
    packages.file("mantispool")
    root = packages.scratch / "root"
    assert len(files_in(root)) > 100, files_in(root)
    dpkg(packages, root, "--purge", *sorted(packages.files))
    assert not files_in(root), files_in(root)


def lintian_has_nothing_to_say(packages):
    packages.file("mantispool")
    if not shutil.which("lintian"):
        raise Skip("lintian is not installed")
    changes = next((packages.scratch / "deb").glob("*.changes"))
    said = run("lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags",
               "initial-upload-closes-no-bugs", changes)  # there is no bug to close
    assert not re.search(r"^[EW]:", said, flags=re.MULTILINE), said


# ---- a bare Debian 12 ----


def bare_root(scratch):
    """A bare Debian 12, with this machine's way to a mirror."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    if not shutil.which("debootstrap"):
        raise Skip("debootstrap is not installed")
    found = re.search(r"https?://\S+/debian\b", run("apt-cache", "policy"))
    if not found:
        raise Skip("apt knows of no mirror of Debian")
    root = scratch / "bare"
    made = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root, found.group(0)],
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=1200)
    if made.returncode:
        raise Skip(f"debootstrap: {made.stdout.strip().splitlines()[-1]}")
    for name in ("etc/apt", "etc/resolv.conf", "etc/hosts", "etc/ssl/certs",
                 "usr/share/keyrings", "usr/share/ca-certificates",
                 "usr/local/share/ca-certificates"):
        source = pathlib.Path("/") / name
        if source.is_dir():
            shutil.copytree(source, root / name, dirs_exist_ok=True, symlinks=True)
        elif source.exists():
            shutil.copy(source, root / name)
    return root


def inside(root, *command):
    """Run a command in the root, with namespaces of its own: they end with it."""
    return run("unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc", "chroot", root,
               "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
               "DEBIAN_FRONTEND=noninteractive", *command)


def they_install_into_a_bare_debian_with_dpkg_and_run(packages):
    packages.file("mantispool")
    debs = packages.files
    root = bare_root(packages.scratch)
    (root / "debs").mkdir()
    for path in debs.values():
        shutil.copy(path, root / "debs")
    shutil.copy(ROOT / "debian/tests/build-and-run", root / "debs")
    there = {name: f"/debs/{path.name}" for name, path in debs.items()}

    # the pool needs nothing that a bare system does not have
    inside(root, "dpkg", "--install", there["libmantispool0"], there["libmantispool-dev"])
    inside(root, "apt-get", "-q", "update")
    others = {need for name in debs for need in packages.needs(name) if need not in debs}
    inside(root, *NO_RECOMMENDS, *sorted(others))
    inside(root, "dpkg", "--install", *there.values())
    inside(root, *NO_RECOMMENDS, "gcc", "libc6-dev", "pkgconf")
    said = inside(root, "/debs/build-and-run")
    assert f"mantispool {packages.version}" in said, said
    inside(root, "dpkg", "--purge", *sorted(debs))
    left = inside(root, "find", "/usr", "-path", "*mantis*", "!", "-path", "/usr/src/*")
    assert not left, left


CASES = [they_build_and_there_is_one_for_each_library, each_needs_what_its_library_links,
         each_library_says_since_when_it_has_a_function, they_install_into_an_empty_root_and_run,
         nothing_is_left_when_they_are_purged, lintian_has_nothing_to_say]
LONG = [they_install_into_a_bare_debian_with_dpkg_and_run]


def main():
    cases = CASES + (LONG if os.environ.get("MANTIS_TEST_LONG") else [])
    with tempfile.TemporaryDirectory() as scratch:
        return run_cases(cases, Packages(pathlib.Path(sys.argv[1]).resolve(),
                                         pathlib.Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
