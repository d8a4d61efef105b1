#!/usr/bin/env python3
"""Arguments, help and versions: what is wrong, where, and what would be right."""

import re
import sys

from program import Program

from cases import case, main

COMMANDS = ["bench", "kv", "version"]
OPTIONS = {
    "bench": ["threads", "connections", "seconds", "mix", "value-size", "keys", "preload", "json"],
    "kv": ["store", "limit", "ttl", "version"],
    "version": [],
}
# What is asked for, and what the answer must say.
MISTAKES = [
    (["bnech"], ["bnech", "bench"]),
    (["frobnicate"], ["no command 'frobnicate'", "--help"]),
    (["bench", "--thread", "4"], ["--thread", "--threads"]),
    (["bench", "--frobnicate"], ["no option --frobnicate"]),
    (["bench", "--threads"], ["--threads needs a value", "--threads N"]),
    (["bench", "--threads", "many"], ["--threads", "'many'", "from 1 to 1024"]),
    (["bench", "--threads", "0"], ["--threads", "'0'", "from 1 to 1024"]),
    (["bench", "--threads=4x"], ["--threads", "'4x'", "from 1 to 1024"]),
    (["bench", "--connections", "-1"], ["--connections", "'-1'", "from 0 to"]),
    (["bench", "--seconds", "1.5"], ["--seconds", "'1.5'", "whole number"]),
    (["bench", "--seconds", ""], ["--seconds", "''", "whole number"]),
    (["bench", "--keys", "99999999999999999999"], ["--keys", "from 1 to"]),
    (["bench", "--value-size", "67108865"], ["--value-size", "67108864"]),
    (["bench", "--json=yes"], ["--json takes no value"]),
    (["bench", "--mix", "gett=1"], ["--mix", "gett", "did you mean get"]),
    (["bench", "--mix", "get"], ["--mix", "'get'", "get=80"]),
    (["bench", "--mix", "get=0"], ["--mix", "'get=0'", "from 1 to"]),
    (["bench", "--mix", "get=1,get=2"], ["--mix", "'get'", "twice"]),
    (["bench", "--mix", "get=1,"], ["--mix", "''", "get, set, delete, exists, scan"]),
    (["bench", "--mix", ""], ["--mix", "get=80,set=20"]),
    (["bench", "--preload", "maybe"], ["--preload", "'maybe'", "auto, always or never"]),
    (["bench", "mantis:a", "mantis:b"], ["'mantis:b'", "one argument too many"]),
    (["bench", "a-directory"], ["'a-directory'", "mantis:a-directory"]),
    (["bench", ""], ["the DSN is empty", "mantis:DIR"]),
    (["bench", "mysql://me:secret@host/db"], ["mysql:", "not built into", "mantis:DIR"]),
    (["kv"], ["no operation", "OPERATION"]),
    (["kv", "gte", "k"], ["'gte'", "did you mean get"]),
    (["kv", "frobnicate"], ["get, set, cas, ttl, del, exists, scan, batch, shell"]),
    (["kv", "get"], ["get has 0 arguments", "kv get K"]),
    (["kv", "get", "a", "b"], ["get has 2 arguments", "kv get K"]),
    (["kv", "set", "a"], ["set has 1 argument", "kv set K V"]),
    (["kv", "set", "a", "b", "c"], ["set has 3 arguments", "quote"]),
    (["kv", "set", "a", "b", "c", "d"], ["'d'", "too many"]),
    (["kv", "--store", "files", "get", "k"], ["--store", "mantis:files"]),
    (["kv", "--limit", "-1", "scan"], ["--limit", "from 0 to"]),
    (["version", "now"], ["'now'", "too many"]),
]


@case
def each_wrong_argument_is_named_with_what_would_be_right(program):
    for args, says in MISTAKES:
        error = program.refused(*args)
        for text in says:
            assert text in error, f"{args}: {error!r} does not say {text!r}"


@case
def a_message_never_shows_a_password(program):
    for url in ["mysql://me:secret@host/db", "no://:secret@host", "me:secret@host",
                "no://host?password=secret", "no://sec@ret:secret@host"]:
        assert "secret" not in program.refused("bench", url)
        assert "secret" not in program.refused("kv", "--store", url, "get", "k")


@case
def no_arguments_show_the_help_and_are_an_error(program):
    error = program.refused()
    assert "Usage: mantispool COMMAND" in error


@case
def help_names_each_command(program):
    for args in [["--help"], ["-h"], ["help"]]:
        out, error = program.run(*args)
        assert error == ""
        for command in COMMANDS:
            assert re.search(rf"^  {command} +\w", out, re.MULTILINE), command


@case
def help_of_each_command_names_each_option(program):
    for command in COMMANDS:
        texts = {program.run(command, "--help")[0], program.run(command, "-h")[0],
                 program.run("help", command)[0]}
        assert len(texts) == 1
        text = texts.pop()
        assert f"Usage: mantispool {command}" in text
        for option in [*OPTIONS[command], "help"]:
            assert f"--{option}" in text, f"{command}: --{option}"
        shown = set(re.findall(r"^  --([a-z-]+)", text, re.MULTILINE))
        assert shown == set(OPTIONS[command]), shown


@case
def help_of_kv_names_each_operation(program):
    text = program.run("kv", "--help")[0]
    for operation in ["get K", "set K V", "cas K VERSION [V]", "ttl K", "del K", "exists K",
                      "scan [PREFIX]", "batch", "shell"]:
        assert f"\n  {operation} " in text, operation


@case
def help_of_an_unknown_command_is_refused(program):
    assert "did you mean bench" in program.refused("help", "bensh")


@case
def version_says_what_is_built_in(program):
    for args in [["--version"], ["version"]]:
        out, error = program.run(*args)
        assert error == ""
        lines = out.splitlines()
        assert re.fullmatch(r"mantispool \d+\.\d+\.\d+", lines[0]), lines[0]
        assert re.match(r"store: rocksdb \d+\.\d+\.\d+ ", lines[1]), lines[1]


main(Program(sys.argv[1]))
