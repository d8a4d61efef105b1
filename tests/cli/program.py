"""Running the program in a directory of its own."""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

TIMEOUT_S = 240  # a guard against hanging


class Program:
    """The program, and a directory for its stores."""

    def __init__(self, path):
        self.path = path
        self.scratch = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
        self.count = 0

    def store(self):
        """The DSN of a new store."""
        self.count += 1
        return f"mantis:{self.scratch / str(self.count)}"

    def run(self, *args, code=0, given=None):
        """(standard output, standard error) of a run that must end with this exit code."""
        done = subprocess.run([self.path, *map(str, args)], check=False, capture_output=True,
                              text=True, input=given, cwd=self.scratch, timeout=TIMEOUT_S)
        assert done.returncode == code, \
            f"{args}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
        return done.stdout, done.stderr

    def refused(self, *args):
        """What it says to wrong arguments: on standard error, with exit code 2."""
        out, error = self.run(*args, code=2)
        assert out == "", f"{args}: standard output has {out!r}"
        return error

    def start(self, *args):
        """A run with pipes to all three streams, unbuffered on our side."""
        return subprocess.Popen([self.path, *map(str, args)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                cwd=self.scratch)
