#!/usr/bin/env python3
"""src/pg beside PostgreSQL itself: as a client of a real server, and as a server for libpq."""

import os
import pathlib
import random
import subprocess
import sys

from lab import CLEARTEXT, MD5, SCRAM, Driver, hexed

from cases import case, main
from postgres import Servers

HBA = """local all all trust
host all postgres 127.0.0.1/32 trust
host all clear 127.0.0.1/32 password
host all hashed 127.0.0.1/32 md5
host all all 127.0.0.1/32 scram-sha-256
"""
USERS = """SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'pencil';
SET password_encryption = 'scram-sha-256'; CREATE ROLE clear LOGIN PASSWORD 'pencil';
CREATE ROLE scram LOGIN PASSWORD 'pencil'"""


class Ground:
    """What the cases share: the driver, and a server with a user for each method."""

    def __init__(self, driver, servers):
        self.driver = driver
        self.servers = servers
        self.server = servers.start(hba=HBA)
        self.server.sql(USERS)

    def session(self, user, queries=(), **how):
        return self.driver.session(self.server.port, user, queries, **how)

    def secret_of(self, user):
        return self.server.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'")


# ---- as a client ----


@case
def a_query_is_answered_as_psql_would_show_it(ground):
    lines = ground.session("postgres", ["SELECT 1 AS a, NULL, 'it''s'; SELECT 2", "BEGIN",
                                        "SELECT 1/0", "ROLLBACK", ""])
    assert lines == ["in", "T", "D 1|NULL|it's", "C SELECT 1", "T", "D 2", "C SELECT 1", "Z I",
                     "C BEGIN", "Z T", "E ERROR 22012 division by zero", "Z E", "C ROLLBACK",
                     "Z I", "I", "Z I"], lines


@case
def errors_come_with_detail_and_hint(ground):
    lines = ground.session("postgres", [
        "DO $$ BEGIN RAISE WARNING 'w' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'MP001'; END $$"])
    assert lines[1] == "N WARNING MP001 w detail: d hint: h", lines


@case
def each_method_of_login_lets_the_right_secret_in(ground):
    for user, secrets in (("clear", ["pencil"]), ("scram", ["pencil"]),
                          ("hashed", ["pencil", ground.secret_of("hashed")])):
        for secret in secrets:
            lines = ground.session(user, ["SELECT user"], secret=secret)
            assert lines[:3] == ["in", "T", f"D {user}"], (user, secret, lines)


@case
def each_method_of_login_refuses_a_wrong_secret(ground):
    for user in ("clear", "scram", "hashed"):
        lines = ground.session(user, secret="pen")
        assert lines == [f"E FATAL 28P01 password authentication failed for user \"{user}\""], lines


@case
def a_method_that_is_not_allowed_is_not_answered(ground):
    for user, methods, word in (("clear", SCRAM | MD5, "cleartext"), ("hashed", SCRAM, "MD5"),
                                ("scram", CLEARTEXT | MD5, "SASL"),
                                ("postgres", SCRAM, "no authentication")):
        lines = ground.session(user, secret="pencil", methods=methods)
        assert lines[0].startswith("refused 28000") and word in lines[0], lines


@case
def long_values_and_thousands_of_rows_arrive_whole(ground):
    lines = ground.session("postgres", ["SELECT repeat('x', 200000)",
                                        "SELECT g FROM generate_series(1, 20000) g"])
    assert lines[2] == "D " + "x" * 200000
    assert lines[6:20006] == [f"D {number}" for number in range(1, 20001)]


@case
def renamed_messages_are_the_servers_statement(ground):
    lines = ground.driver.run("extended", ground.server.port, "postgres")
    assert lines == ["1", "t", "T", "2", "T", "D 42|it's|t", "C SELECT 1", "Z I",
                     "T", "D ours_1", "C SELECT 1", "Z I", "3", "Z I"], lines


@case
def a_literal_is_the_text_it_was_made_of(ground):
    texts = ["plain", "it's", "a\\b", "\\", "'\\'", "\\'; SELECT 1; --", "\u00e4\n\t$$", "''"]
    lines = ground.driver.run("literals", ground.server.port, "postgres",
                              lines=[hexed(text) for text in texts])
    told = [line[2:] for line in lines if line.startswith("D ")]
    assert told == [hexed(text) for text in texts for _ in range(2)], lines


@case
def a_copy_ends_when_we_say_that_it_failed(ground):
    lines = ground.driver.run("copy", ground.server.port, "postgres")
    assert lines[:2] == ["C CREATE TABLE", "G text 2"], lines
    assert lines[2].startswith("E ERROR 57014 COPY from stdin failed: the client has gone"), lines
    assert lines[3:] == ["Z I"], lines


@case
def a_cancel_request_cancels(ground):
    lines = ground.driver.run("cancel", ground.server.port, "postgres")
    assert lines == ["T", "E ERROR 57014 canceling statement due to user request", "Z I"], lines


@case
def a_server_that_has_gone_is_noticed(ground):
    lines = ground.session("postgres", ["SELECT pg_terminate_backend(pg_backend_pid())"])
    assert lines[0] == "in" and lines[-1] == "closed", lines
    assert "E FATAL 57P01" in lines[-2], lines


# ---- passwords ----


@case
def a_password_of_any_characters_is_the_servers_too(ground):
    rng = random.Random(20241124)
    passwords = ["pencil", "", " ", "I\u00adX", "\u00aa\u2168", "a\u00a0b", "\u0627\u0628",
                 "\u0627a", "e\u0301\u0323", "\u1100\u1161\u11a8", "\ufb01", "\u0007\u00e4",
                 "\U0001f600", "x" * 1000, "\u212b\u2126", "md5", "SCRAM-SHA-256$"]
    pool = [chr(code) for code in range(0x20, 0x2FFF) if code != 0x27]
    passwords += ["".join(rng.choices(pool, k=rng.randrange(1, 9))) for _ in range(60)]
    made = [password for password in passwords if password]
    script = "".join(f"CREATE ROLE u{number} LOGIN PASSWORD $pw${password}$pw$;"
                     for number, password in enumerate(made))
    ground.session("postgres", [script])
    secrets = ground.server.sql("SELECT rolpassword FROM pg_authid WHERE rolname ~ '^u[0-9]+$' "
                                "ORDER BY substr(rolname, 2)::int").splitlines()
    right = ground.driver.check(zip(secrets, [f"u{n}" for n in range(len(made))], made))
    assert all(right), [made[n] for n, is_right in enumerate(right) if not is_right]
    wrong = ground.driver.check((secret, f"u{n}", made[n] + "x")
                                for n, secret in enumerate(secrets))
    assert not any(wrong)
    for number in range(0, len(made), 5):
        lines = ground.session(f"u{number}", secret=made[number])
        assert lines == ["in"], (made[number], lines)


# ---- as a server for libpq ----


class Served:
    """The driver as a server for one client."""

    def __init__(self, driver, method, secret):
        self.process = subprocess.Popen([driver.path, "serve", method, hexed(secret)],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def finish(self):
        output = self.process.stdout.read()
        self.process.stdout.close()
        assert self.process.wait(120) == 0, output
        return output.splitlines()


def serve_psql(ground, method, secret, password, user="alice"):
    """psql logs in to us and asks something: (what it says, what we say)."""
    served = Served(ground.driver, method, secret)
    environment = {**ground.servers.environment(), "PGPASSWORD": password}
    told = subprocess.run(
        [ground.servers.programs / "psql", "-XAt", "-h", "127.0.0.1", "-p", str(served.port),
         "-U", user, "-d", "shop", "-c", "SELECT anything"], check=False, capture_output=True,
        text=True, env=environment, timeout=120)
    return told, served.finish()


@case
def libpq_logs_in_to_us_by_each_method(ground):
    hashed, scram = ground.secret_of("hashed"), ground.secret_of("scram")
    for method, secret, user in (
            ("cleartext", "pencil", "alice"), ("cleartext", hashed, "hashed"),
            ("cleartext", scram, "alice"), ("md5", "pencil", "alice"), ("md5", hashed, "hashed"),
            ("scram", "pencil", "alice"), ("scram", scram, "alice")):
        told, said = serve_psql(ground, method, secret, "pencil", user)
        assert told.returncode == 0 and told.stdout == "42|\n", (method, secret, told, said)
        assert "NOTICE:  heard\nDETAIL:  a detail\nHINT:  a hint" in told.stderr, told.stderr
        assert said[0] == f"user {user} database shop" and said[-1] == "query SELECT anything", said


@case
def libpq_with_a_wrong_password_is_refused_by_each_method(ground):
    for method, secret in (("cleartext", "pencil"), ("md5", "pencil"), ("scram", "pencil"),
                           ("scram", ground.secret_of("scram")), ("md5", None),
                           ("cleartext", None), ("md5", ground.secret_of("scram"))):
        told, said = serve_psql(ground, method, secret, "pen")
        assert told.returncode == 2 and said[-1] == "login 0", (method, told, said)
        assert "FATAL:  password authentication failed" in told.stderr, told.stderr


@case
def keys_that_libpq_showed_us_log_in_to_the_server(ground):
    _, said = serve_psql(ground, "scram", ground.secret_of("scram"), "pencil", "scram")
    keys = next(line.split()[1] for line in said if line.startswith("keys "))
    lines = ground.session("scram", ["SELECT user"], keys=keys, methods=SCRAM)
    assert lines[2] == "D scram", lines
    lines = ground.session("scram", keys=keys[:-2] + "00", methods=SCRAM)
    assert lines[0].startswith("refused 28P01 incorrect server signature"), lines
    lines = ground.session("scram", keys="00" + keys[2:], methods=SCRAM)
    assert lines[0].startswith("E FATAL 28P01"), lines


# ---- SQL ----

# Each is run as one simple query; the tags that the server answers must be the statements' kinds.
TEXTS = [
    "BEGIN; COMMIT", "BEGIN; ROLLBACK; START TRANSACTION; END; BEGIN; ABORT",
    "/* a /* b */ ; */ BEGIN -- ;\n; /* ' */ COMMIT",
    "SELECT ';BEGIN;'; BEGIN; COMMIT", "SELECT E'a\\';BEGIN;--'; BEGIN; COMMIT",
    "SELECT 'a\\'; BEGIN; COMMIT", "SELECT E'a'\n'b\\'; BEGIN; --'; LISTEN x",
    "SELECT 'a' -- ;\n 'b'; LISTEN x", "SELECT $$;BEGIN;$$; LISTEN x",
    "SELECT $a$ $$ $b$a$; LISTEN x", "SELECT 1 AS a$b$; LISTEN x",
    "SELECT 1 AS \"a;\"\"b\"; LISTEN x",
    "SELECT B'1'; SELECT X'1f'; SELECT N';'; LISTEN x", "SELECT U&'\\0061;' ; LISTEN x",
    "SELECT 1 AS U&\"d\\0061;t\"; LISTEN x", "SELECT 5 - -1; SELECT 5 --1;\n; LISTEN x",
    "SELECT 1+--;\n2; LISTEN x", "SELECT 2*/*;*/3; LISTEN x", "SELECT 1 /**/; LISTEN x;;;",
    "PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p",
    "PREPARE \"P q\"\"r\" AS SELECT 1; DEALLOCATE PREPARE \"P q\"\"r\"",
    "PREPARE transaction AS SELECT 1; DEALLOCATE transaction; DEALLOCATE ALL",
    "PREPARE prepare AS SELECT 1; DEALLOCATE prepare; DEALLOCATE PREPARE ALL",
    "SET search_path TO a; RESET search_path; SET my.own = 1; RESET ALL",
    "BEGIN; SET LOCAL work_mem = '1MB'; SET TRANSACTION READ ONLY; COMMIT",
    "SET TIME ZONE 'UTC'; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; SET NAMES 'utf8'",
    "SET SCHEMA 'public'; SET ROLE postgres; RESET ROLE; RESET SESSION AUTHORIZATION",
    "LISTEN x; NOTIFY x, 'y;z'; UNLISTEN x; UNLISTEN *",
    "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT; CLOSE ALL",
    "BEGIN; SAVEPOINT begin; ROLLBACK TO begin; RELEASE begin; COMMIT AND CHAIN; ROLLBACK",
    "CREATE TEMP TABLE t (a int); LOCK TABLE t; DROP TABLE t",
    "CREATE TABLE r (a int);"
    "CREATE RULE x AS ON INSERT TO r DO ALSO (DELETE FROM r; DELETE FROM r); DROP TABLE r",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;"
    "DROP FUNCTION f()",
    "DO $do$ BEGIN PERFORM 1; END $do$; LISTEN x", "DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES",
    "SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1)", "", ";;", "/* */", "--",
]
SHOWN = {"SET": "SET", "RESET": "RESET", "DEALLOCATE ALL": "DEALLOCATE", "LOCK TABLE": "LOCK",
         "DECLARE CURSOR": "DECLARE", "DISCARD PLANS": "DISCARD", "DISCARD TEMP": "DISCARD",
         "DISCARD SEQUENCES": "DISCARD", "START TRANSACTION": "BEGIN"}
KINDS = {"BEGIN", "COMMIT", "ROLLBACK", "PREPARE", "DEALLOCATE", "LISTEN", "UNLISTEN", "NOTIFY"}


def kind_of(tag):
    """The kind that a tag of the server is of."""
    if tag in SHOWN:
        return SHOWN[tag]
    return tag if tag in KINDS else "OTHER"


def kinds_of_server(lines):
    tags = [line[2:] for line in lines if line.startswith("C ")]
    assert not any(line.startswith("E ") for line in lines), lines
    return [kind_of(tag) for tag in tags]


@case
def statements_are_parted_and_told_apart_as_the_server_does(ground):
    for text, shown in zip(TEXTS, ground.driver.statements(TEXTS), strict=True):
        lines = ground.session("postgres", [text])
        found = [piece.split(" ")[0] for piece in shown.split("; ")] if shown else []
        expected = kinds_of_server(lines)
        # EXECUTE answers with the tag of what it runs
        found = ["OTHER" if kind == "EXECUTE" else kind for kind in found]
        # the rollback to a savepoint is one for the server, and nothing that ends for us
        if "ROLLBACK TO" in text:
            assert len(found) == len(expected), (text, shown, expected)
        else:
            assert found == expected, (text, shown, expected)


@case
def names_are_folded_and_cut_as_the_server_does(ground):
    names = ["Abc", '"Abc"', '"a""b"', "x" * 70, '"' + "Y" * 70 + '"', '"' + "z" * 62 + 'ä"',
             '"' + "z" * 61 + 'ä"', "Äpfel", '"' + '""' * 70 + '"', "_a$1", '"sp ace"']
    shown = ground.driver.statements([f"PREPARE {name} AS SELECT 1" for name in names])
    for name, line in zip(names, shown, strict=True):
        lines = ground.session("postgres", [f"PREPARE {name} AS SELECT 1",
                                            "SELECT name FROM pg_prepared_statements"])
        told = next(row[2:] for row in lines if row.startswith("D "))
        assert line == f"PREPARE {told}", (name, line, told)


@case
def without_standard_strings_texts_are_parted_as_the_server_does(ground):
    texts = ["SELECT 'a\\';BEGIN;--'; LISTEN x", "SELECT 'a' \n 'b\\'; BEGIN;--'; LISTEN x",
             "SELECT $$a\\$$; LISTEN x", "SELECT 1 AS \"a\\\"; LISTEN x", "SELECT B'1'; LISTEN x"]
    shown = ground.driver.statements(texts, standard_strings=False)
    for text, line in zip(texts, shown, strict=True):
        lines = ground.session("postgres", ["SET standard_conforming_strings = off; "
                                            "SET escape_string_warning = off", text])
        found = [piece.split(" ")[0] for piece in line.split("; ")]
        assert found == kinds_of_server(lines)[2:], (text, line)


if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1])
    with Servers(path.parent) as started:
        os.environ.pop("PGPASSWORD", None)
        main(Ground(Driver(path), started))
