#!/usr/bin/env python3
"""mantispool kv: its operations, batches, and the protocol of its shell."""

import os
import select
import signal
import sys

from program import Program

from cases import case, main

LONG = os.environ.get("MANTIS_TEST_LONG") == "1"
KILLS = 20 if LONG else 4


def kv(program, dsn, *args, code=0, given=None):
    return program.run("kv", "--store", dsn, *args, code=code, given=given)


class Shell:
    """A running shell: one line there, one line back."""

    def __init__(self, program, dsn):
        self.running = program.start("kv", "--store", dsn, "shell")

    def ask(self, line):
        self.running.stdin.write(line.encode() + b"\n")
        return self.answer()

    def answer(self):
        ready, _, _ = select.select([self.running.stdout], [], [], 60)
        assert ready, "no answer: was it flushed?"
        return self.running.stdout.readline().decode()[:-1]

    def end(self, code=0):
        out, error = self.running.communicate(timeout=60)
        assert self.running.returncode == code, error
        assert out == b"" and error == b"", (out, error)

    def kill(self):
        self.running.send_signal(signal.SIGKILL)
        self.running.communicate()


@case
def set_get_del_and_exists_agree(program):
    dsn = program.store()
    assert kv(program, dsn, "set", "k", "a value") == ("", "")
    assert kv(program, dsn, "get", "k") == ("a value\n", "")
    kv(program, dsn, "exists", "k")
    kv(program, dsn, "set", "k", "")
    assert kv(program, dsn, "get", "k") == ("\n", "")
    kv(program, dsn, "del", "k")
    kv(program, dsn, "del", "k")
    for operation in ["get", "exists"]:
        out, error = kv(program, dsn, operation, "k", code=1)
        assert out == "" and "there is no key 'k'" in error


@case
def behind_two_dashes_nothing_is_an_option(program):
    dsn = program.store()
    kv(program, dsn, "set", "--", "--store", "--help")
    assert kv(program, dsn, "get", "--", "--store")[0] == "--help\n"


@case
def keys_and_values_are_any_bytes(program):
    dsn = program.store()
    kv(program, dsn, "set", "schlüssel", "zwei\nzeilen\tund \\")
    assert kv(program, dsn, "get", "schlüssel")[0] == "zwei\nzeilen\tund \\\n"
    assert kv(program, dsn, "scan")[0] == "schlüssel\tzwei\\x0azeilen\\x09und \\x5c\n"
    program.run("bench", dsn, "--seconds", 1, "--keys", 200)  # values of random bytes
    out, _ = kv(program, dsn, "scan")
    assert len(out.splitlines()) == 202 and "\\x" in out


@case
def scan_is_in_order_by_prefix_and_up_to_its_limit(program):
    dsn = program.store()
    kv(program, dsn, "batch", given="set b2 2\nset a 0\nset b1 1\nset c 3\nset b3 3\n")
    assert kv(program, dsn, "scan")[0] == "a\t0\nb1\t1\nb2\t2\nb3\t3\nc\t3\n"
    assert kv(program, dsn, "scan", "b")[0] == "b1\t1\nb2\t2\nb3\t3\n"
    assert kv(program, dsn, "scan", "b", "--limit", 2)[0] == "b1\t1\nb2\t2\n"
    assert kv(program, dsn, "scan", "d")[0] == ""


@case
def a_batch_is_applied_as_a_whole(program):
    dsn = program.store()
    kv(program, dsn, "set", "old", "1")
    out, _ = kv(program, dsn, "batch", given="set a value with spaces\nset empty\ndel old\n")
    assert out == "applied 3 writes\n"
    assert kv(program, dsn, "scan")[0] == "a\tvalue with spaces\nempty\t\n"


@case
def a_batch_with_a_wrong_line_applies_nothing(program):
    dsn = program.store()
    for wrong, says in [("get b", "line 2: it must be 'set K V' or 'del K'"),
                        ("set", "line 2: there is no key"), ("set  x", "line 2: there is no key"),
                        ("del a b", "line 2: del takes one key"),
                        ("set " + 70000 * "k" + " v", "write 2 of 2: the key has 70000 bytes")]:
        _, error = kv(program, dsn, "batch", given=f"set a 1\n{wrong}\n", code=1)
        assert says in error and "nothing was applied" in error, error
    assert kv(program, dsn, "scan")[0] == ""


@case
def limits_are_named_with_what_was_given(program):
    dsn = program.store()
    _, error = kv(program, dsn, "set", 65537 * "k", "v", code=1)
    assert "the key has 65537 bytes: at most 65536" in error, error
    _, error = kv(program, dsn, "set", "", "v", code=1)
    assert "the key is empty" in error, error
    kv(program, dsn, "set", 65536 * "k", "v")


@case
def the_shell_answers_each_line_at_once_with_one_line(program):
    shell = Shell(program, program.store())
    for line, answer in [
            ("set k value", "OK"), ("get k", "value"), ("get none", "(nil)"),
            ("set k  two  spaces ", "OK"), ("get k", " two  spaces "),
            ("set empty ", "OK"), ("get empty", ""), ("set empty", "OK"), ("get empty", ""),
            ("del k", "OK"), ("get k", "(nil)"), ("del k", "OK"), ("exists empty", "1"),
            ("exists k", "0"), ("set ünï çødé", "OK"), ("get ünï", "çødé")]:
        assert shell.ask(line) == answer, line
    shell.end()


@case
def the_shell_answers_mistakes_with_err_and_goes_on(program):
    shell = Shell(program, program.store())
    for line, says in [("frobnicate", "no command 'frobnicate'"), ("", "no command"),
                       ("get", "needs a key"), ("set", "needs a key"), ("set  v", "needs a key"),
                       ("get a b", "one word"), ("get " + 65537 * "k", "65537 bytes"),
                       ("set " + 65537 * "k" + " v", "at most 65536")]:
        answer = shell.ask(line)
        assert answer.startswith("ERR ") and says in answer, answer
    assert shell.ask("set k v") == "OK"
    assert shell.ask("quit") == "OK"
    shell.end()


@case
def the_shell_keeps_its_one_line_for_a_value_with_a_line_break(program):
    dsn = program.store()
    kv(program, dsn, "set", "k", "two\nlines")
    shell = Shell(program, dsn)
    assert shell.ask("get k").startswith("ERR the value has a line break")
    assert shell.ask("exists k") == "1"
    shell.end()


@case
def the_shell_scans_and_ends_with_ok(program):
    shell = Shell(program, program.store())
    for key in ["b", "a1", "a2"]:
        assert shell.ask(f"set {key} v") == "OK"
    assert [shell.ask("scan a"), shell.answer(), shell.answer()] == ["a1\tv", "a2\tv", "OK"]
    shell.end()


@case
def a_last_line_without_its_break_is_run(program):
    dsn = program.store()
    assert kv(program, dsn, "shell", given="set k v\nget k")[0] == "OK\nv\n"


@case
def the_shell_takes_large_values(program):
    shell = Shell(program, program.store())
    value = "0123456789" * 100000
    assert shell.ask(f"set k {value}") == "OK"
    assert shell.ask("get k") == value
    shell.end()


@case
def what_the_shell_acknowledged_survives_kill_9(program):
    dsn = program.store()
    acknowledged = 0
    for kill in range(KILLS):
        shell = Shell(program, dsn)
        for i in range(100):
            assert shell.ask(f"set {kill}-{i} value {kill * i}") == "OK"
            acknowledged += 1
        shell.kill()
    lines = kv(program, dsn, "scan")[0].splitlines()
    assert len(lines) == acknowledged
    found = dict(line.split("\t") for line in lines)
    for kill in range(KILLS):
        for i in range(100):
            assert found[f"{kill}-{i}"] == f"value {kill * i}"


@case
def cas_writes_over_the_version_that_get_told_and_no_other(program):
    dsn = program.store()
    version, = kv(program, dsn, "cas", "k", "0", "one")[0].split()
    assert kv(program, dsn, "get", "k", "--version")[0] == f"{version}\tone\n"
    out, error = kv(program, dsn, "cas", "k", "0", "two", code=1)
    assert out == "" and f"has version {version}" in error and "not to be there" in error, error
    after, = kv(program, dsn, "cas", "k", version, "two")[0].split()
    assert int(after) > int(version)
    _, error = kv(program, dsn, "cas", "k", version, "three", code=1)
    assert f"has version {after} now, not {version}" in error, error
    assert kv(program, dsn, "cas", "k", after)[0] == "0\n"  # without a value it deletes
    kv(program, dsn, "get", "k", code=1)
    assert "is not there" in kv(program, dsn, "cas", "k", after, "x", code=1)[1]
    assert kv(program, dsn, "cas", "k", "0", "", "--ttl", "1h")[0] != "0\n"
    assert kv(program, dsn, "get", "k")[0] == "\n"


@case
def a_key_set_with_ttl_says_how_long_it_lives_and_is_gone_then(program):
    dsn = program.store()
    for time, ms in [("10s", 10000), ("5m", 300000), ("2h", 7200000), ("7d", 604800000),
                     ("9007199254740992ms", 2**53)]:
        kv(program, dsn, "set", "k", "v", "--ttl", time)
        left = kv(program, dsn, "ttl", "k")[0]
        assert left.endswith("ms\n") and ms - 60000 < int(left[:-3]) <= ms, left
    kv(program, dsn, "set", "k", "v")
    assert kv(program, dsn, "ttl", "k")[0] == "never\n"
    kv(program, dsn, "set", "k", "v", "--ttl=1ms")
    program.run("kv", "--store", dsn, "exists", "k", code=1)
    assert "there is no key 'k'" in kv(program, dsn, "ttl", "k", code=1)[1]


@case
def times_versions_and_options_that_do_not_fit_are_refused(program):
    dsn = program.store()
    for args, says in [(["set", "k", "v", "--ttl", "10"], "--ttl is '10': it must be a number"),
                       (["set", "k", "v", "--ttl", "0s"], "such as 500ms or 10s"),
                       (["set", "k", "v", "--ttl", "-1s"], "such as 500ms or 10s"),
                       (["set", "k", "v", "--ttl", "s"], "such as 500ms or 10s"),
                       (["set", "k", "v", "--ttl", "104249992d"], "too long: at most 90071992547"),
                       (["set", "k", "v", "--ttl", 30 * "9" + "s"], "too long"),
                       (["get", "k", "--ttl", "1s"], "get takes no --ttl"),
                       (["set", "k", "v", "--version"], "set takes no --version"),
                       (["get", "k", "--limit", "3"], "get takes no --limit"),
                       (["cas", "k", "one", "v"], "VERSION is 'one': it must be a version"),
                       (["cas", "k", "-1", "v"], "it must be a version"),
                       (["cas", "k"], "cas has 1 argument"),
                       (["cas", "k", "1", "--ttl", "1s"], "cas without V deletes the key")]:
        _, error = kv(program, dsn, *args, code=2)
        assert says in error, error


@case
def the_shell_compares_and_sets_and_lets_keys_expire(program):
    shell = Shell(program, program.store())
    assert shell.ask("version k") == "0"
    version = shell.ask("cas k 0 first value")
    assert shell.ask("version k") == version and shell.ask("get k") == "first value"
    assert shell.ask("cas k 0 second").startswith("CONFLICT key 'k' has version")
    assert shell.ask(f"cas k {version}") == "0" and shell.ask("get k") == "(nil)"
    assert int(shell.ask("cas k 0 ")) > int(version) and shell.ask("get k") == ""
    assert shell.ask("ttl k") == "never" and shell.ask("ttl none") == "(nil)"
    assert shell.ask("ttl k 100s for a while") == "OK" and shell.ask("get k") == "for a while"
    assert 0 < int(shell.ask("ttl k")[:-2]) <= 100000
    assert shell.ask("ttl k 1ms") == "OK"
    while shell.ask("exists k") == "1":
        pass
    for line, says in [("cas k", "ERR cas: say cas K VERSION V"),
                       ("cas k x y", "it must be a version"), ("ttl k 10 v", "must be a number"),
                       ("version", "it needs a key")]:
        answer = shell.ask(line)
        assert answer.startswith("ERR ") and says in answer, answer
    shell.end()


@case
def a_transaction_in_the_shell_is_all_or_nothing(program):
    dsn = program.store()
    shell = Shell(program, dsn)
    for line, answer in [("set a 1", "OK"), ("begin", "OK"), ("get a", "1"), ("set b 2", "OK"),
                         ("del a", "OK"), ("get a", "(nil)"), ("get b", "2"), ("commit", "OK"),
                         ("get a", "(nil)"), ("get b", "2"), ("begin", "OK"), ("set b 3", "OK"),
                         ("rollback", "OK"), ("get b", "2"), ("rollback", "OK"),
                         ("snapshot", "OK"), ("get b", "2"), ("commit", "OK")]:
        assert shell.ask(line) == answer, line
    for line, says in [("commit", "no transaction"), ("begin now", "stands alone"),
                       ("commit x", "stands alone")]:
        answer = shell.ask(line)
        assert answer.startswith("ERR ") and says in answer, answer
    assert shell.ask("snapshot") == "OK"
    assert "only reads" in shell.ask("set b 4")
    assert "has a transaction" in shell.ask("begin")
    assert shell.ask("rollback") == "OK" and shell.ask("begin") == "OK"
    assert shell.ask("set b never") == "OK"
    shell.end()  # in the middle of it: it is rolled back
    assert kv(program, dsn, "scan")[0] == "b\t2\n"


@case
def a_store_in_use_says_by_whom(program):
    dsn = program.store()
    shell = Shell(program, dsn)
    assert shell.ask("set k v") == "OK"
    _, error = kv(program, dsn, "get", "k", code=1)
    assert str(shell.running.pid) in error and dsn[len("mantis:"):] in error, error
    shell.end()


@case
def a_full_standard_output_is_a_failure(program):
    dsn = program.store()
    kv(program, dsn, "set", "k", "v")
    command = f"{program.path} kv --store {dsn} get k > /dev/full"
    assert os.waitstatus_to_exitcode(os.system(command + " 2>/dev/null")) == 1


main(Program(sys.argv[1]))
