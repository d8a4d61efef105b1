"""The programs that bench/run measures: how each is built, and how it is started.

Every one is built below build/bench and takes two arguments, a scenario and seconds."""

import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
BUILT = ROOT / "build" / "bench"
STAGE = BUILT / "stage"
JARS = [pathlib.Path("/usr/share/java") / name for name in ("HikariCP.jar", "slf4j-api.jar")]
DEBIAN_CRATES = "/usr/share/cargo/registry"
REGISTRY_SECONDS = 10  # in which a registry answers, or is taken as one that cannot be reached
BUILD_SECONDS = 600
C_FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pthread"]


class Missing(Exception):
    """A peer that cannot be measured here; its text says why."""


def call(*command, cwd=None, seconds=BUILD_SECONDS, env=None):
    """Run a command to its end and return its output; Missing if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=cwd, timeout=seconds, check=False, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
    except FileNotFoundError:
        raise Missing(f"there is no {words[0]}") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"no answer in {seconds} s: {' '.join(words[:3])}") from None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        lines = said.splitlines()
        raise Missing(f"{' '.join(words[:3])}: {lines[-1].strip()}")
    return done.stdout


def install(packages):
    """Install the Debian packages whose witness, a command or a file, is not there."""
    missing = [package for witness, package in packages.items()
               if not (shutil.which(witness) or os.path.exists(witness))]
    if not missing:
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    call(*as_root, "apt-get", "-q", "update", seconds=120, env=quiet)
    call(*as_root, "apt-get", "-q", "install", "-y", "--no-install-recommends", *missing, env=quiet)


def compile_c(source, name, flags=()):
    """Build one C file and return the command that starts it."""
    program = BUILT / name
    call(os.environ.get("CC", "cc"), *C_FLAGS, source, "-o", program, *flags)
    return [program]


def pkg_config(*names, env=None):
    return call("pkg-config", "--cflags", "--libs", *names, env=env).split()


def compile_against_stage(source, name, flags=(), package="mantispool"):
    """As compile_c(), with the headers and the shared library that make install put down."""
    found = sorted(STAGE.rglob("mantispool.pc"))
    if not found:
        raise Missing("make install puts no mantispool.pc down")
    where = {"PKG_CONFIG_PATH": str(found[0].parent), "PKG_CONFIG_SYSROOT_DIR": str(STAGE)}
    installed = pkg_config(package, env=where)
    library = next(STAGE.rglob("libmantispool.so")).parent
    return compile_c(source, name, [*flags, *installed, f"-Wl,-rpath,{library}"])


def install_stage():
    """What make install puts down, below build/bench."""
    if not (ROOT / "build" / "build.ninja").exists():
        raise Missing("build/ is not set up: run make first")
    BUILT.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(STAGE, ignore_errors=True)
    call("meson", "install", "-C", ROOT / "build", "--no-rebuild", "--quiet", "--destdir", STAGE)


def build_mantispool():
    """As a user builds: from what is installed, against the shared library."""
    return compile_against_stage(HERE / "mantis_bench.c", "mantis_bench")


def build_prototype():
    return compile_c(HERE / "peers/prototype/prototype.c", "prototype")


def build_apr_reslist():
    install({"/usr/bin/apu-1-config": "libaprutil1-dev"})
    flags = pkg_config("apr-util-1", "apr-1")
    return compile_c(HERE / "peers/apr_reslist/apr_reslist.c", "apr_reslist", flags)


def build_hikaricp():
    install({"javac": "default-jdk-headless", str(JARS[0]): "libhikaricp-java",
             str(JARS[1]): "libslf4j-java"})
    classes = BUILT / "hikaricp"
    path = ":".join(map(str, [*JARS, classes]))
    call("javac", "-cp", path, "-d", classes, HERE / "peers/hikaricp/HikariBench.java")
    version = call("dpkg-query", "-W", "-f", "${Version}", "libhikaricp-java").split("-")[0]
    return ["java", f"-Dbench.version={version}", "-cp", path, "HikariBench"]


def copy_source(name):
    """A copy that a language's own tools may write into."""
    target = BUILT / "source" / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(HERE / "peers" / name, target)
    return target


def build_go(name, needs=()):
    install({"go": "golang-go"})
    copy_source("goload")
    source = copy_source(name)
    quiet = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    for module in needs:
        call("go", "list", "-m", module, cwd=source, seconds=REGISTRY_SECONDS, env=quiet)
        call("go", "mod", "download", module, cwd=source, seconds=REGISTRY_SECONDS, env=quiet)
    call("go", "build", "-o", BUILT / name, ".", cwd=source, env=quiet)
    return [BUILT / name]


def build_puddle():
    return build_go("puddle", ["github.com/jackc/puddle/v2"])


def build_database_sql():
    return build_go("database_sql")


def use_debian_crates(source):
    """Where the registry does not answer: the same r2d2, from Debian with Debian's crates."""
    install({"/usr/share/doc/librust-r2d2-dev": "librust-r2d2-dev",
             "/usr/share/doc/librust-libc-dev": "librust-libc-dev"})
    manifest = source / "Cargo.toml"
    pinned, rest = manifest.read_text().split("[dependencies]\n")
    profile = rest[rest.index("[profile"):]
    manifest.write_text(f'{pinned}[dependencies]\nr2d2 = "=0.8.10"\nlibc = "0.2"\n\n{profile}')
    (source / ".cargo").mkdir()
    (source / ".cargo/config.toml").write_text(
        '[source.crates-io]\nreplace-with = "debian"\n'
        f'[source.debian]\ndirectory = "{DEBIAN_CRATES}"\n')


def build_r2d2():
    install({"cargo": "cargo"})
    source = copy_source("r2d2")
    target = BUILT / "cargo"
    try:  # the lock file comes from the index alone, so this asks whether the registry answers
        call("cargo", "generate-lockfile", cwd=source, seconds=REGISTRY_SECONDS)
    except Missing:
        use_debian_crates(source)
    call("cargo", "build", "--release", "--quiet", "--target-dir", target, cwd=source)
    return [target / "release" / "bench_r2d2"]


BUILDERS = {
    "mantispool": build_mantispool,
    "prototype": build_prototype,
    "hikaricp": build_hikaricp,
    "puddle": build_puddle,
    "database_sql": build_database_sql,
    "r2d2": build_r2d2,
    "apr_reslist": build_apr_reslist,
}


def build_all(names):
    """Build these. Returns the commands by name, and the reasons of what is missing by name."""
    BUILT.mkdir(parents=True, exist_ok=True)
    commands, missing = {}, {}
    for name in names:
        try:
            commands[name] = [str(word) for word in BUILDERS[name]()]
        except Missing as why:
            missing[name] = str(why)
    return commands, missing
