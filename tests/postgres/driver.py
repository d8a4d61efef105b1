"""The driver of driver.c as an object, and what the tests of PostgreSQL begin with."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))


class Refused(AssertionError):
    """An answer other than OK: its status, SQLSTATE and text."""

    def __init__(self, command, line):
        super().__init__(f"{command}: {line}")
        self.status, self.sqlstate, self.text = line.split(" ", 2)


class Pool:
    """One process with one pool. Ends with the test, since its standard input does."""

    def __init__(self, path, dsn, **settings):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        try:
            self.tell(f"open {words} | {dsn}")
        except Refused:
            self.finish()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self):
        """End it; it must have nothing to complain of (a sanitizer would)."""
        self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        assert code == 0, f"the driver ended with {code}"

    def ask(self, command):
        """The line that it answers, as it is."""
        self.process.stdin.write(command + "\n")
        line = self.process.stdout.readline()
        assert line, f"{command}: the driver has ended: {self.process.wait(60)}"
        return line.rstrip("\n")

    def tell(self, command):
        """The text that it answers, which must be OK."""
        line = self.ask(command)
        if not line.startswith("OK "):
            raise Refused(command, line)
        return line.split(" ", 2)[2]

    def refused(self, command):
        """What it answers, which must not be OK."""
        try:
            text = self.tell(command)
        except Refused as why:
            return why
        raise AssertionError(f"{command}: it said OK {text}")

    def stats(self):
        return json.loads(self.tell("stats"))

    def borrow(self, sql=None, index=0, wait_ms=10000, how="clean"):
        """Acquire, run some SQL, release: its value."""
        self.tell(f"acquire {index} {wait_ms}")
        value = self.tell(f"sql {index} {sql}") if sql else ""
        self.tell(f"release {index} {how}")
        return value

    def burst(self, count, wait_ms):
        """What so many borrowers at once saw: status, SQLSTATE and text of each."""
        return [line.split(" ", 2) for line in self.ask(f"burst {count} {wait_ms}").split("\t")]
