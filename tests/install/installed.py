"""What the tests of an installation share: an installed tree, commands, and TAP."""

import os
import re
import subprocess


class Skip(Exception):
    """Raised by a case that cannot run here; its text says why."""


def run(*command, **keywords):
    """The output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, **keywords)
    if done.returncode != 0:
        line = " ".join(str(word) for word in command)
        raise AssertionError(f"{line}\nexit status {done.returncode}\n{done.stdout}")
    return done.stdout


def run_cases(cases, *args):
    """Call each case with the arguments, one TAP line each: the exit status of the program."""
    wanted = os.environ.get("MANTIS_TEST_CASES", "").split()
    cases = [case for case in cases if not wanted or any(word in case.__name__ for word in wanted)]
    assert cases, f"no case is called {wanted}"
    bad = 0
    print(f"1..{len(cases)}")
    for number, case in enumerate(cases, 1):
        try:
            case(*args)
            print(f"ok {number} - {case.__name__}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {case.__name__} # SKIP {reason}", flush=True)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as problem:
            bad += 1
            print(f"not ok {number} - {case.__name__}")
            print("".join(f"# {line}\n" for line in str(problem).splitlines()), end="", flush=True)
    return 1 if bad else 0


class Tree:
    """An installed tree, by the folder that it was put into."""

    def __init__(self, root):
        self.root = root
        self.lib = self.one("pkgconfig/mantispool.pc").parent.parent
        self.include = self.one("mantis/pool.h").parent.parent
        self.program = self.one("bin/mantispool")
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(self.lib),
                            "PKG_CONFIG_PATH": str(self.lib / "pkgconfig")}
        for path in self.lib.glob("pkgconfig/*.pc"):  # as if this were the PREFIX
            path.write_text(re.sub(r"^prefix=.*", f"prefix={self.include.parent}", path.read_text(),
                                   flags=re.MULTILINE))

    def one(self, ending):
        """The one file whose path ends like this."""
        found = [path for path in self.root.rglob("*") if str(path).endswith("/" + ending)]
        assert len(found) == 1, f"{ending} is installed {len(found)} times"
        return found[0]

    def libraries(self):
        """The shared libraries, by the name that a program links."""
        return sorted(self.lib.glob("libmantispool*.so"))


def install(build, root):
    """Install a build into a folder."""
    run("meson", "install", "-C", build, "--no-rebuild", "--destdir", root)
    return Tree(root)


def needed(path):
    """The libraries that an ELF file asks for."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", path))
