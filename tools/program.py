"""What the program's --help says, as data: the one source of its man page and its completions.

The form is that of src/cli/args.c: two blanks, a name, two blanks or more, what it means; more text
of the same entry is indented deeper."""

import dataclasses
import os
import re
import subprocess

ENTRY = re.compile(r"^  (\S.*?)  +(\S.*)$")
OPTION = re.compile(r"^(?:-\w, )?--([\w-]+)(?: (\S+))?$")
CHOICES = re.compile(r": ((?:\w+, )*\w+ or \w+)$")


@dataclasses.dataclass
class Option:
    """One option of a command."""

    name: str       # without its dashes
    value: str      # what --help calls its value; "" for a flag
    meaning: str
    default: str    # "" if it says none, or one that depends on the machine

    @property
    def choices(self):
        """The values that it can have, if there are but a few."""
        found = CHOICES.search(self.meaning)
        return re.split(r", | or ", found.group(1)) if found else []


@dataclasses.dataclass
class Command:
    """One command of the program."""

    name: str
    summary: str
    usage: str                                      # the whole line, without "Usage: "
    options: list
    blocks: list = dataclasses.field(default_factory=list)  # the rest: paragraphs of lines

    @property
    def operations(self):
        """(name, meaning) of the words that may follow its options."""
        for block in self.blocks:
            if block[0] == "Operations:":
                return [(words.split()[0], meaning) for words, meaning in entries_of(block[1:])]
        return []


@dataclasses.dataclass
class Program:
    """The program."""

    summary: str
    commands: list
    rest: list      # the end of its help, paragraphs of lines


def entries_of(lines):
    """(what stands left, meaning) of a list in two columns; None if it is not one."""
    found = []
    for line in lines:
        entry = ENTRY.match(line)
        if entry:
            found.append((entry.group(1), entry.group(2)))
        elif found and line.startswith("   "):
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            return None
    return found


def blocks_of(text):
    """The paragraphs of a text, as lists of lines."""
    return [block.splitlines() for block in re.split(r"\n\n+", text.strip("\n")) if block.strip()]


def read_option(left, meaning):
    """An option from the two columns of its line."""
    name, value = OPTION.match(left).groups()
    meaning, default = re.match(r"^(.*?)(?: \(([^()]*)\))?$", meaning).groups()
    if "; default " in meaning:
        default = ""  # what stands in brackets is this machine's
    return Option(name, value or "", meaning, default or "")


def read_command(program, name, summary):
    """A command from its own --help."""
    usage, options, *rest = blocks_of(help_of(program, name, "--help"))
    entries = entries_of(options[1:])
    if not usage[0].startswith("Usage: ") or not options[0].startswith("Options") or not entries:
        raise SystemExit(f"the help of {name} is not of the form that tools/program.py knows")
    return Command(name, summary, usage[0].removeprefix("Usage: "),
                   [read_option(*entry) for entry in entries], rest)


def help_of(program, *words):
    return subprocess.run([os.path.abspath(program), *words], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def read_program(program):
    """All that the program says of itself."""
    head, commands, *rest = blocks_of(help_of(program, "--help"))
    return Program(head[1], [read_command(program, *entry) for entry in entries_of(commands)],
                   rest)
