#!/usr/bin/env python3
"""Complete words in real shells on a terminal, with the installed completions.
Usage: completion.py BUILD

The shell is told to print the line that it has, so that nothing depends on when it is asked: what
was typed comes out in order. ESC * puts all of bash's completions for a word into the line."""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

from installed import Skip, install, run, run_cases

PATIENCE_S = 60  # a guard against hanging, no measurement


class Shell:
    """A shell on a terminal of its own."""

    def __init__(self, command, environment, directory):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], command, environment)
        self.seen = ""

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read_until(self, pattern):
        """The first match in what the shell prints from here on."""
        until = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.terminal], [], [], until - time.monotonic())
            assert ready, f"the shell does not answer; it printed {self.seen!r}"
            self.seen += os.read(self.terminal, 65536).decode("utf-8", "replace")
        self.seen = self.seen[found.end():]
        return found

    def completed(self, line, keys="\t"):
        """What becomes of a line when keys are pressed at its end."""
        self.type(line + keys + "\x01echo \"<\x05>\"'END'\r")
        return self.read_until(r"\n<([^\r\n]*)>END").group(1)

    def close(self):
        """End the shell, which is in a session of its own."""
        try:
            self.type("\x15exit\r")
        except OSError:
            pass
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


class Ground:
    """An installed tree, and a place for shells to be in."""

    def __init__(self, build, scratch):
        self.installed = install(build, scratch / "root")
        self.home = scratch / "home"
        (self.home / "shop-data").mkdir(parents=True)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "dumb",
                            "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null", "COLUMNS": "2000"}

    def bash(self):
        shell = Shell(["bash", "--norc", "--noprofile", "-i"], self.environment, self.home)
        script = self.installed.one("bash-completion/completions/mantispool")
        shell.type(f"stty cols 2000; source {script} && echo ready-to-'complete'\r")
        shell.read_until("\nready-to-complete")
        return shell

    def zsh(self):
        if not shutil.which("zsh"):
            raise Skip("zsh is not installed")
        folder = self.installed.one("site-functions/_mantispool").parent
        shell = Shell(["zsh", "-f", "-i"], self.environment, self.home)
        shell.type(f"stty cols 2000; bindkey -e; unsetopt zle_bracketed_paste; PS1='$ '; "
                   f"fpath=({folder} $fpath); autoload -U compinit && compinit -u -D && "
                   "echo ready-to-'complete'\r")
        shell.read_until("\nready-to-complete")
        return shell


def words_of_help(ground, *command):
    """The options and operations that a command's --help lists."""
    said = run(ground.installed.program, *command, "--help")
    return set(re.findall(r"^  (?:-h, )?(--[\w-]+|[a-z]+)(?: \S+)*  +\S", said,
                          flags=re.MULTILINE))


def check(shell, lines):
    """Complete each line, and compare. Not what ends a word: zsh takes it back."""
    try:
        for line, expected in lines.items():
            found = shell.completed(line).rstrip()
            assert found == expected, f"'{line}' became '{found}' and not '{expected}'"
    finally:
        shell.close()


COMMON = {
    "mantispool be": "mantispool bench",
    "mantispool help ver": "mantispool help version",
    "mantispool kv --sto": "mantispool kv --store",
    "mantispool kv --store mantis:shop she": "mantispool kv --store mantis:shop shell",
    "mantispool bench --preload al": "mantispool bench --preload always",
    "mantispool bench --preload=ne": "mantispool bench --preload=never",
}


def bash_completes_commands_options_operations_and_values(ground):
    check(ground.bash(), COMMON)


def bash_offers_all_that_help_says(ground):
    shell = ground.bash()
    try:
        for command in ("bench", "kv", "version"):
            offered = shell.completed(f"mantispool {command} ", "\x1b*").split()[2:]
            expected = words_of_help(ground, command)
            assert set(offered) == expected, f"{command}: {set(offered) ^ expected}"
        offered = shell.completed("mantispool ", "\x1b*").split()[1:]
        assert {"bench", "kv", "version", "help"} <= set(offered), offered
    finally:
        shell.close()


def bash_offers_no_operation_behind_one_and_no_value_of_ones_own(ground):
    check(ground.bash(), {"mantispool kv get sh": "mantispool kv get shop-data/",
                          "mantispool bench --threads --co": "mantispool bench --threads --co",
                          "mantispool kv --store mantis:sh":
                          "mantispool kv --store mantis:shop-data/"})


def zsh_completes_commands_options_operations_and_values(ground):
    check(ground.zsh(), COMMON)


def fish_completes_commands_options_operations_and_values(ground):
    if not shutil.which("fish"):
        raise Skip("fish is not installed")
    script = ground.installed.one("vendor_completions.d/mantispool.fish")
    for line, completed in COMMON.items():
        said = subprocess.run(["fish", "--no-config", "-c",
                               f"source {script}; complete -C '{line}'"], check=True, text=True,
                              stdout=subprocess.PIPE, env=ground.environment, cwd=ground.home)
        words = [offer.split("\t")[0] for offer in said.stdout.splitlines()]
        expected = completed.split()[-1]
        assert words == [expected], f"'{line}' is offered {words} and not '{expected}'"


CASES = [bash_completes_commands_options_operations_and_values, bash_offers_all_that_help_says,
         bash_offers_no_operation_behind_one_and_no_value_of_ones_own,
         zsh_completes_commands_options_operations_and_values,
         fish_completes_commands_options_operations_and_values]


def main():
    with tempfile.TemporaryDirectory() as scratch:
        return run_cases(CASES, Ground(pathlib.Path(sys.argv[1]).resolve(),
                                       pathlib.Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
