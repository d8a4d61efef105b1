"""Builds and runs blocks as someone would who installed MantisPool and copies them."""

import dataclasses
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile

import wrap

SECONDS_MAX = 120  # a guard against hanging, not a measurement
C_FLAGS = ["-std=gnu17", "-Wall", "-Werror"]
FRAGMENT_FLAGS = ["-Wno-unused"]  # what a fragment declares is used by the rest of the program
PACKAGES = {  # the pkg-config package that an #include asks for
    r"mantis/postgres\.h": "mantispool-pq", r"mantis/redis\.h": "mantispool-redis",
    r"mantis/store\.h": "mantispool-store", r"mantis/": "mantispool", r"libpq-fe\.h": "libpq",
    r"hiredis/": "hiredis", r"uv\.h": "libuv", r"event2/": "libevent_core",
}
GO_MODULE = """module example

go 1.19

require mantisDB v0.0.0

replace mantisDB => {root}/go
"""


class Failed(Exception):
    """The block does not do what its document says; the text says why."""


class Absent(Exception):
    """What the block needs is not here; the text says what."""


@dataclasses.dataclass
class Outcome:
    """What there is to report of a block: a sentence, and why it failed or was skipped."""

    sentence: str
    failure: str = None
    skipped: str = None


def call(command, cwd, environment):
    """Run a command to its end: (exit status, its output). What it leaves running stays in the
    process group of this test, and ends with it."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([str(word) for word in command], cwd=cwd, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
        status = process.wait()
        out.seek(0)
        return status, out.read().decode("utf-8", "replace")


def must(command, cwd, environment):
    """The output of a command that must succeed."""
    status, output = call(command, cwd, environment)
    if status == -signal.SIGKILL:
        raise Failed(f"still running after {SECONDS_MAX} s, or killed\n{output}")
    if status != 0:
        raise Failed(f"{output}{command[0]}: exit status {status}")
    return output


def is_like(expected, output):
    """Is the output as the document has it? `...` stands for anything in its line, and a line of
    its own for any lines."""
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        words = [re.escape(piece) for piece in line.rstrip().split("...")]
        pattern += r"(?:.*\n)*" if line.strip() == "..." else ".*".join(words) + r"[ \t]*\n"
    return re.fullmatch(pattern, output.rstrip("\n") + "\n") is not None


def must_be_like(expected, output):
    if expected is not None and not is_like(expected, output):
        raise Failed(f"it should print\n{expected}and prints\n{output}")


class Place:
    """An installed MantisPool, and room to build and run in. It is installed below the build
    directory, under a name that stays: Go's cache knows flags by where they lead."""

    def __init__(self, build, root, scratch, name):
        self.root, self.scratch = root, scratch
        self.stage = build / f"docs-{name}"
        shutil.rmtree(self.stage, ignore_errors=True)
        must(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", self.stage],
             root, os.environ)
        pc = next(self.stage.rglob("mantispool.pc"))
        for path in pc.parent.glob("*.pc"):  # as if the folder were its own prefix
            text = path.read_text(encoding="utf-8")
            path.write_text(re.sub(r"^prefix=", f"prefix={self.stage}", text, flags=re.MULTILINE),
                            encoding="utf-8")
        library = pc.parent.parent
        program = next(self.stage.rglob("bin/mantispool"))
        self.headers = sorted(path.name for path in self.stage.rglob("include/mantis/*.h"))
        self.header_lines = self.read_headers()
        self.environment = {
            **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(library), "PKG_CONFIG_PATH": str(pc.parent),
            "BUILD": str(build), "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
        self.go_module, self.go_folders = scratch / "go", {}
        self.why_no_go = self.prepare_go()

    def read_headers(self):
        """Of each public header its lines as a document shows them."""
        headers = sorted(self.stage.rglob("include/mantis/*.h"))
        return [[line.replace("MANTIS_API ", "").strip()
                 for line in header.read_text(encoding="utf-8").splitlines()] for header in headers]

    def folder(self):
        """A new folder."""
        return pathlib.Path(tempfile.mkdtemp(dir=self.scratch))

    def within(self, folder):
        """The environment of a block that runs in this folder."""
        return {**self.environment, "HOME": str(folder), "TMPDIR": str(folder)}

    # ---- C ----

    def flags_of(self, text):
        """What pkg-config says for the headers that a program includes."""
        included = re.findall(r'^\s*#\s*include [<"]([^>"]+)', text, re.MULTILINE)
        names = {next((package for pattern, package in PACKAGES.items()
                       if re.match(pattern, header)), None) for header in included}
        names = sorted(names - {None})
        for name in names:
            if call(["pkg-config", "--exists", name], self.scratch, self.environment)[0] != 0:
                raise Absent(f"{name} is not here")
        if not names:
            return []
        return shlex.split(must(["pkg-config", "--cflags", "--libs", *names], self.scratch,
                                self.environment))

    def compile(self, source, *flags):
        """Compile and link: the program."""
        folder = self.folder()
        path = folder / "block.c"
        path.write_text(source, encoding="utf-8")
        program = folder / "block"
        must([os.environ.get("CC", "cc"), *C_FLAGS, *flags, path, "-o", program, "-pthread",
              "-Wl,--as-needed", *self.flags_of(source)], self.root, self.environment)
        return program

    def is_declaration(self, text):
        """Do all of its lines stand in a public header, in this order?"""
        wanted = [line.strip() for line in text.splitlines() if line.strip()]
        for lines in self.header_lines:
            rest = iter(lines)
            if all(line in rest for line in wanted):
                return True
        return False

    def build_c(self, block):
        """(what it is, the program or None)."""
        if wrap.c_is_program(block.text):
            source = f'#line {block.line} "{block.path}"\n{block.text}'
            return "the program", self.compile(source)
        if self.is_declaration(block.text):
            return "the declarations", None
        try:
            flags = (*FRAGMENT_FLAGS, "-shared", "-fPIC")
            self.compile(wrap.c_file_level(block, self.headers), *flags)
            return "the definitions", None
        except Failed:
            source = wrap.c_function(block, self.headers)
            return "the fragment", self.compile(source, *FRAGMENT_FLAGS)

    # ---- Go ----

    def prepare_go(self):
        """A module for all blocks of Go; the reason why there is none."""
        if not shutil.which("go"):
            return "Go is not installed"
        if not (self.root / "go/pool/pool.go").exists():
            return "there is no Go package"
        names = ("GOCACHE", "GOMODCACHE", "GOPATH", "CGO_CFLAGS")
        known = must(["go", "env", *names], self.root, os.environ).splitlines()
        self.environment.update(zip(names, known))
        # Go does not see that a header outside of it has changed, but that a flag has.
        digest = hashlib.sha256(repr(self.header_lines).encode()).hexdigest()
        self.environment["CGO_CFLAGS"] += f" -DMANTIS_HEADERS_{digest[:16]}"
        self.go_module.mkdir()
        (self.go_module / "go.mod").write_text(GO_MODULE.format(root=self.root), encoding="utf-8")
        return None

    def go_folder(self, block):
        """The folder of the block's package, which has its source."""
        program = wrap.go_program(block)
        if program not in self.go_folders:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="block-", dir=self.go_module))
            (folder / "main.go").write_text(program, encoding="utf-8")
            self.go_folders[program] = folder
        return self.go_folders[program]

    def build_all_go(self, blocks):
        """Build many at once, which is faster; a block that fails is built again by itself."""
        if blocks and not self.why_no_go:
            names = [f"./{self.go_folder(block).name}" for block in blocks]
            call(["go", "build", "-o", "bin/", *names], self.go_module, self.environment)

    def build_go(self, block):
        """(what it is, the program)."""
        if self.why_no_go:
            raise Absent(self.why_no_go)
        name = self.go_folder(block).name
        program = self.go_module / "bin" / name
        if not program.exists():
            must(["go", "build", "-o", "bin/", f"./{name}"], self.go_module, self.environment)
        return ("the program" if wrap.go_is_program(block.text) else "the fragment"), program

    # ---- the shell ----

    def document_folder(self, path):
        """The folder of a document's shell blocks: it looks like the project's own."""
        folder = self.scratch / "documents" / re.sub(r"\W", "_", path)
        if not folder.exists():
            folder.mkdir(parents=True)
            for entry in self.root.iterdir():
                if not entry.name.startswith((".", "build", "mantis-data")):
                    (folder / entry.name).symlink_to(entry)
        return folder

    def run_sh(self, block):
        folder = self.document_folder(block.path)
        output = must(["sh", "-euc", block.text], folder, self.within(folder))
        must_be_like(block.expected, output)

    def run_console(self, block):
        """Each command's output is what follows it."""
        commands, shown = split_console(block.text)
        mark = "---- the next command ----"
        script = "\n".join(f"{command}\necho '{mark}'" for command in commands)
        folder = self.document_folder(block.path)
        output = must(["bash", "-c", script], folder, self.within(folder))
        said = output.split(f"{mark}\n")
        if len(said) != len(commands) + 1:
            raise Failed(f"it ended early:\n{output}")
        for command, expected, text in zip(commands, shown, said):
            if not is_like(expected, text) if expected else text:
                raise Failed(f"$ {command}\nshould print\n{expected}and prints\n{text}")


def split_console(text):
    """(the commands, the text after each)."""
    commands, shown = [], []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
            shown.append("")
        elif commands:
            shown[-1] += line + "\n"
        else:
            raise Failed("it does not begin with '$ COMMAND'")
    return commands, shown


def check_syntax(block):
    """Of a shell block that is not run."""
    text = block.text
    if block.language == "console":
        text = "\n".join(split_console(text)[0])
    must(["bash", "-nc", text], "/", os.environ)


class Checker:
    """Builds and runs the blocks of documents, and says what came of each."""

    def __init__(self, place):
        self.place = place

    def prepare(self, blocks):
        """What is quicker for all blocks together."""
        self.place.build_all_go([block for block in blocks if block.language == "go"
                                 and "not built" not in block.marks])

    def check(self, block):
        """The outcomes of a block."""
        if "not built" in block.marks:
            return [Outcome(f"the {block.language} at {block.place}",
                            skipped=f"not built: {block.marks['not built']}")]
        needed = block.marks.get("needs")
        if needed and not shutil.which(needed):
            return [Outcome(f"the {block.language} at {block.place}",
                            skipped=f"there is no {needed}")]
        if block.language in ("c", "go"):
            return self.check_program(block)
        return self.check_shell(block)

    def check_program(self, block):
        build = self.place.build_c if block.language == "c" else self.place.build_go
        language = {"c": "C", "go": "Go"}[block.language]
        if "file" in block.marks:
            folder = self.place.document_folder(block.path)
            (folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
        try:
            what, program = build(block)
        except Failed as why:
            return [Outcome(f"the {language} at {block.place} builds", failure=str(why))]
        except Absent as why:
            return [Outcome(f"the {language} at {block.place} builds", skipped=str(why))]
        if not program:
            return [Outcome(f"{what} at {block.place} are C as it is")]
        sentence = f"{what} at {block.place} builds and runs"
        if "not run" in block.marks:
            return [Outcome(f"{what} at {block.place} builds"),
                    Outcome(f"{what} at {block.place} runs",
                            skipped=f"not run: {block.marks['not run']}")]
        return [self.attempt(sentence, lambda: self.run_program(block, program))]

    def run_program(self, block, program):
        folder = self.place.folder()
        must_be_like(block.expected, must([program], folder, self.place.within(folder)))

    def check_shell(self, block):
        what = f"the commands at {block.place}"
        if "not run" in block.marks:
            return [self.attempt(f"{what} can be read", lambda: check_syntax(block)),
                    Outcome(f"{what} run", skipped=f"not run: {block.marks['not run']}")]
        run = self.place.run_sh if block.language == "sh" else self.place.run_console
        end = "print what is shown" if block.language == "console" or block.expected else "succeed"
        return [self.attempt(f"{what} {end}", lambda: run(block))]

    def attempt(self, sentence, action):
        try:
            action()
        except Failed as why:
            return Outcome(sentence, failure=str(why))
        except Absent as why:
            return Outcome(sentence, skipped=str(why))
        return Outcome(sentence)


def temporary():
    """A folder for a Place, removed at the end."""
    return tempfile.TemporaryDirectory(prefix="docs-")


def as_path(word):
    return pathlib.Path(word).resolve()
