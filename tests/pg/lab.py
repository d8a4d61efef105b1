"""The driver of driver.c for the tests of src/pg, and where the library of tests is."""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

NOTHING, CLEARTEXT, MD5, SCRAM, ANY = 1, 2, 4, 8, 15  # as in src/pg/login.h


def hexed(text):
    """A text or some bytes for the driver."""
    if text is None:
        return "-"
    data = text.encode("utf-8") if isinstance(text, str) else text
    return data.hex()


class Driver:
    """Runs the driver, one process a command."""

    def __init__(self, path):
        self.path = path

    def run(self, *words, lines=()):
        """The lines that it prints to these lines in hexadecimal."""
        text = "".join(line + "\n" for line in lines)
        done = subprocess.run([self.path, *map(str, words)], input=text, capture_output=True,
                              text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.splitlines()

    def prepare(self, passwords):
        """Each password as it is hashed, in bytes."""
        lines = self.run("prepare", lines=[hexed(password) for password in passwords])
        return [bytes.fromhex(line) for line in lines]

    def check(self, rows):
        """Is the password the secret's of the user, for each row of the three?"""
        lines = [" ".join(hexed(word) for word in row) for row in rows]
        return [line == "1" for line in self.run("check", lines=lines)]

    def statements(self, texts, standard_strings=True):
        return self.run("statements", "on" if standard_strings else "off",
                        lines=[hexed(text) for text in texts])

    def session(self, port, user, queries=(), secret=None, keys=None, methods=ANY):
        """What a session prints: "in" first, if it was let in."""
        return self.run("session", port, user, hexed(secret), keys or "-", methods,
                        lines=[hexed(query) for query in queries])
