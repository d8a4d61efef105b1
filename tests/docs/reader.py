"""The code blocks of a document: where they stand, their language, and what is said of them.

A block is a fence with a language. One line directly before it may say something about it:

    <!-- not run: REASON -->     it is built, or its syntax is read, and no more
    <!-- not built: REASON -->   not even that
    <!-- file: NAME -->          it is also a file of this name, for the shell blocks after it
    <!-- needs: PROGRAM -->      it is passed over, and listed, where there is no such program

A block of `output` is what the block before it prints, line by line; `...` stands for anything in
its line, and a line of its own for any lines."""

import dataclasses
import re

RUN = ("c", "go", "sh", "console")  # what is built and run
SHOWN = ("text", "ini", "sql", "json", "cmake", "meson", "make", "diff")  # what is only shown
OUTPUT = "output"
NAMED = ("file", "needs")  # marks that name something; the others say why

FENCE = re.compile(r"^(\s*)```(.*)$")
MARK = re.compile(r"^\s*<!-- (not run|not built|file|needs)\b:?\s*(.*?)\s*-->\s*$")
INDENTED = re.compile(r"^(?: {4}|\t)\s*\S")
LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s")


@dataclasses.dataclass
class Block:
    """One block of a document."""

    path: str
    line: int  # of its first line of code
    language: str
    text: str
    marks: dict
    expected: str = None  # what it prints, if the document says so

    @property
    def place(self):
        return f"{self.path}:{self.line}"


@dataclasses.dataclass
class Finding:
    """Something in a document that is wrong in itself."""

    path: str
    line: int
    text: str


class Reader:
    """Reads one document from its top."""

    def __init__(self, path, text):
        self.path, self.lines = str(path), text.splitlines()
        self.index = 0
        self.mark = None  # (line, word, rest) of the line before
        self.last = ""  # the last line that begins at the margin: is this a list?
        self.blocks, self.findings = [], []

    def find(self, line, text):
        self.findings.append(Finding(self.path, line, text))

    def read(self):
        """All blocks and findings."""
        while self.index < len(self.lines):
            line = self.lines[self.index]
            fence, mark = FENCE.match(line), MARK.match(line)
            if fence:
                self.read_block(*fence.groups())
                continue
            self.drop_mark()
            if mark:
                self.mark = (self.index + 1, *mark.groups())
            else:
                self.read_text(line)
            self.index += 1
        self.drop_mark()
        return self.blocks, self.findings

    def drop_mark(self):
        if self.mark:
            self.find(self.mark[0], "no block follows this line")
        self.mark = None

    def read_text(self, line):
        before = self.lines[self.index - 1].strip() if self.index else ""
        if INDENTED.match(line) and not before and not LIST_ITEM.match(self.last):
            self.find(self.index + 1, "a block by indentation: make it a fence with a language")
        if line.strip() and not line.startswith((" ", "\t")):
            self.last = line

    def read_block(self, margin, language):
        first = self.index + 1
        code = []
        self.index += 1
        while self.index < len(self.lines) and self.lines[self.index].strip() != "```":
            code.append(self.lines[self.index].removeprefix(margin))
            self.index += 1
        if self.index == len(self.lines):
            self.find(first, "this fence has no end")
        self.index += 1
        block = Block(self.path, first + 1, language.strip(), "\n".join(code) + "\n", {})
        self.take_mark(block)
        self.add(block, first)

    def take_mark(self, block):
        if not self.mark:
            return
        line, word, rest = self.mark
        self.mark = None
        if not rest:
            self.find(line, f"'{word}' needs a {'name' if word in NAMED else 'reason'}")
        elif word != "file" and block.language not in RUN:
            self.find(line, f"a block of '{block.language}' is not run anyway")
        else:
            block.marks[word] = rest

    def add(self, block, first):
        if block.language == OUTPUT:
            before = self.blocks[-1] if self.blocks else None
            if not before or before.expected is not None or before.language not in RUN:
                self.find(first, "no block is before this output")
            else:
                before.expected = block.text
        elif not block.language:
            self.find(first, "this fence has no language")
        elif block.language not in RUN + SHOWN:
            self.find(first, f"'{block.language}' is none of {' '.join(RUN + SHOWN + (OUTPUT,))}")
        else:
            self.blocks.append(block)


def read(path, text):
    """(blocks, findings) of a document."""
    return Reader(path, text).read()
