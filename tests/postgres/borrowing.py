#!/usr/bin/env python3
"""What a borrower of a PostgreSQL connection gets: a connection as new, one that works, one of a
server in its role; and what is said of a DSN that is none."""

import contextlib
import pathlib
import sys

from driver import Pool, Refused

from cases import case, main
from postgres import Servers, wait_for


class Ground:
    """A server for all cases, and pools on it."""

    def __init__(self, servers, path):
        self.servers = servers
        self.path = path
        self.server = servers.start(max_connections=40)
        self.server.sql("CREATE ROLE app LOGIN SUPERUSER")

    def pool(self, dsn=None, **settings):
        return Pool(self.path, dsn or self.server.dsn("app"), **settings)


# ---- reset ----


@case
def a_dirty_release_makes_the_connection_as_new(ground):
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        pool.tell("acquire 0 10000")
        for sql in ("SET work_mem = '77MB'", "CREATE TEMP TABLE mine (x int)", "LISTEN news",
                    "PREPARE mine AS SELECT 1", "SELECT pg_advisory_lock(7)"):
            pool.tell(f"sql 0 {sql}")
        pool.tell("release 0 dirty")
        assert pool.borrow("SELECT pg_backend_pid()") == pid, "it was replaced"
        assert pool.borrow("SHOW work_mem") != "77MB"
        assert pool.borrow("SELECT to_regclass('pg_temp.mine') IS NULL") == "t"
        assert pool.borrow("SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'") == "0"
        assert pool.borrow("SELECT count(*) FROM pg_listening_channels()") == "0"
        assert pool.borrow("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
        assert pool.stats()["was_reset"] == 1


@case
def a_clean_release_leaves_the_connection_as_it_is(ground):
    with ground.pool(conns_max=1) as pool:
        pool.borrow("SET work_mem = '77MB'")
        assert pool.borrow("SHOW work_mem") == "77MB"


@case
def a_dirty_release_rolls_back(ground):
    ground.server.sql("CREATE TABLE IF NOT EXISTS rolled (x int)")
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        for spoil in ("SELECT 1", "SELECT 1/0"):
            pool.tell("acquire 0 10000")
            pool.tell("sql 0 BEGIN")
            pool.tell("sql 0 INSERT INTO rolled VALUES (1)")
            pool.ask(f"sql 0 {spoil}")
            pool.tell("release 0 dirty")
        assert pool.borrow("SELECT count(*) FROM rolled") == "0"
        assert pool.borrow("SELECT pg_backend_pid()") == pid


@case
def a_transaction_by_begin_is_rolled_back_at_a_plain_release(ground):
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        pool.tell("acquire 0 10000")
        pool.tell("begin 0")
        pool.tell("set 0 rolled back")
        pool.tell("release 0 clean")
        pool.tell("acquire 0 10000")
        assert pool.refused("get 0 rolled").status == "NOT_FOUND"
        pool.tell("release 0 clean")
        assert pool.borrow("SELECT pg_backend_pid()") == pid


@case
def a_connection_given_back_inside_a_transaction_is_not_lent_again(ground):
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        pool.borrow("BEGIN")
        assert pool.borrow("SELECT pg_backend_pid()") != pid
        assert pool.stats()["closed_broken"] == 1


@case
def a_reset_takes_back_what_the_borrower_did_to_its_end(ground):
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        pool.tell("acquire 0 10000")
        pool.tell("sql 0 LISTEN news")
        pool.tell("sql 0 NOTIFY news")
        pool.tell("modes 0")
        pool.tell("release 0 dirty")
        pool.tell("acquire 0 10000")
        assert pool.tell("look 0") == "nonblocking 0 pipeline 0 notified 0 transaction 0"
        assert pool.tell("sql 0 SELECT pg_backend_pid()") == pid
        pool.tell("release 0 clean")


@case
def a_connection_with_a_statement_under_way_is_replaced(ground):
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        for how in ("dirty", "clean"):
            pool.tell("acquire 0 10000")
            pool.tell("send 0 SELECT pg_sleep(600)")
            pool.tell(f"release 0 {how}")
            new = pool.borrow("SELECT pg_backend_pid()")
            assert new != pid
            pid = new
    ground.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                      "WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()")


@case
def the_caller_chooses_the_reset(ground):
    dsn = ground.server.dsn("app", mantis_reset="RESET%20work_mem;%20SELECT%201")
    with ground.pool(dsn, conns_max=1) as pool:
        pool.borrow("SET work_mem = '77MB'", how="dirty")
        pool.borrow("SET statement_timeout = '77s'", how="dirty")
        assert pool.borrow("SHOW work_mem") != "77MB"
        assert pool.borrow("SHOW statement_timeout") == "77s"


@case
def key_value_operations_go_on_after_any_reset(ground):
    for reset in ("DISCARD%20ALL", "SELECT%201", "DEALLOCATE%20ALL"):
        with ground.pool(ground.server.dsn("app", mantis_reset=reset), conns_max=1) as pool:
            for number in range(3):
                pool.tell("acquire 0 10000")
                pool.tell(f"set 0 again {number}")
                assert pool.tell("get 0 again") == str(number)
                pool.tell("release 0 dirty")


@case
def a_reset_that_fails_costs_the_connection_and_nothing_else(ground):
    with ground.pool(ground.server.dsn("app", mantis_reset="nonsense"), conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()", how="dirty")
        assert pool.borrow("SELECT pg_backend_pid()") != pid
        assert pool.stats()["closed_check"] == 1


# ---- broken connections ----


@case
def a_connection_that_the_server_ended_is_not_lent_and_is_replaced(ground):
    with ground.pool(conns_min=3, conns_max=3) as pool:
        pool.tell("warm 3 10000")
        for number in range(3):
            pool.tell(f"acquire {number} 10000")
        pids = {pool.tell(f"sql {number} SELECT pg_backend_pid()") for number in range(3)}
        for number in range(3):
            pool.tell(f"release {number} clean")
        ended = ground.server.sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                                  "WHERE usename = 'app'").split()
        assert ended == ["t"] * 3
        for number in range(3):
            pool.tell(f"acquire {number} 10000")
            assert pool.tell(f"sql {number} SELECT pg_backend_pid()") not in pids
        for number in range(3):
            pool.tell(f"release {number} clean")
        stats = pool.stats()
        assert stats["closed_broken"] == 3 and stats["opened"] == 6, stats


@case
def a_connection_that_breaks_in_use_is_not_lent_again(ground):
    with ground.pool(conns_max=1) as pool:
        pool.tell("acquire 0 10000")
        why = pool.refused("sql 0 SELECT pg_terminate_backend(pg_backend_pid())")
        assert "terminating connection" in why.text, why
        pool.tell("release 0 clean")
        assert pool.borrow("SELECT 5") == "5"


@case
def a_notice_or_a_notification_does_not_cost_the_connection(ground):
    with ground.pool(conns_max=1) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        pool.borrow("LISTEN news")
        for _ in range(20):
            ground.server.sql("NOTIFY news")
        pool.borrow("DO $$ BEGIN RAISE WARNING 'look out'; END $$")
        assert pool.borrow("SELECT pg_backend_pid()") == pid


@case
def an_idle_connection_is_checked(ground):
    with ground.pool(conns_min=1, conns_max=1, check_interval_ms=50) as pool:
        pool.tell("warm 1 10000")
        wait_for(lambda: pool.stats()["checked"] > 0, "it is checked")
        assert pool.stats()["closed_check"] == 0
        assert pool.borrow("SELECT 5") == "5"


@case
def a_check_notices_a_dead_connection_that_nobody_borrows(ground):
    with ground.pool(conns_min=1, conns_max=1, check_interval_ms=50) as pool:
        pool.tell("warm 1 10000")
        ground.server.sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                          "WHERE usename = 'app'")
        wait_for(lambda: pool.stats()["opened"] == 2 and pool.stats()["idle"] == 1,
                 "it is replaced")
        assert pool.stats()["closed_check"] + pool.stats()["closed_broken"] == 1


@case
def all_of_it_works_over_tls(ground):
    server = ground.servers.start(tls=True)
    certificate, _ = ground.servers.certificate()
    dsn = server.dsn(sslmode="verify-full", sslrootcert=certificate)
    with ground.pool(dsn, conns_min=1, conns_max=1, check_interval_ms=50) as pool:
        assert pool.borrow("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
        pid = pool.borrow("SELECT pg_backend_pid()", how="dirty")
        wait_for(lambda: pool.stats()["checked"] > 0, "it is checked")
        assert pool.borrow("SELECT pg_backend_pid()") == pid
        server.sql(f"SELECT pg_terminate_backend({pid}, 60000)")
        assert pool.borrow("SELECT pg_backend_pid()") != pid


# ---- roles ----


@case
def a_server_that_has_become_read_only_is_left_after_one_statement(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn(target_session_attrs="read-write"), conns_max=1) as pool:
        assert pool.borrow("SHOW transaction_read_only") == "off"
        server.reload(default_transaction_read_only="on")
        pool.borrow("SELECT 1")  # with whose answer the server tells
        why = pool.refused("acquire 0 500")
        assert why.status == "TIMEOUT" and "session is read-only" in why.text, why
        server.reload(default_transaction_read_only="off")
        assert pool.borrow("SELECT 5") == "5"


@case
def a_check_notices_another_role_on_an_idle_connection(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn(target_session_attrs="read-write"), conns_min=1, conns_max=1,
                     check_interval_ms=50) as pool:
        pool.tell("warm 1 10000")
        server.reload(default_transaction_read_only="on")
        wait_for(lambda: pool.stats()["closed_check"] == 1, "it is closed")


@case
def each_role_is_found_among_two_servers(ground):
    primary = ground.servers.start()
    standby = primary.start_standby()
    hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
    ports = {"read-write": primary.port, "primary": primary.port, "standby": standby.port,
             "read-only": standby.port, "prefer-standby": standby.port, "any": standby.port}
    with contextlib.ExitStack() as stack:
        pools = {role: stack.enter_context(ground.pool(
            f"postgres://postgres@{hosts}/postgres?target_session_attrs={role}", conns_min=1,
            conns_max=1, check_interval_ms=20)) for role in ports}
        for role, pool in pools.items():
            assert pool.borrow("SHOW port") == str(ports[role]), role
        for role, pool in pools.items():
            wait_for(lambda pool=pool: pool.stats()["checked"] > 0, "it is checked")
            assert pool.stats()["closed_check"] == 0, role


@case
def a_promoted_standby_is_noticed(ground):
    primary = ground.servers.start()
    standby = primary.start_standby()
    with ground.pool(standby.dsn(target_session_attrs="standby"), conns_max=1) as pool:
        assert pool.borrow("SELECT pg_is_in_recovery()") == "t"
        primary.stop()
        standby.promote()
        pool.borrow("SELECT 1")
        why = pool.refused("acquire 0 500")
        assert "server is not in hot standby mode" in why.text, why


# ---- DSNs ----

WRONG = [
    ("postgres://h/db?mantis_tabel=x", ["'mantis_tabel'", "mantis_table=NAME", "mantis_reset"]),
    ("postgres://h/db?mantis_table=", ["mantis_table is ''", "letters, digits"]),
    ("postgres://h/db?mantis_table=a.b.c", ["'a.b.c'", "SCHEMA.NAME"]),
    ("postgres://h/db?mantis_table=x%22y", ["mantis_table is 'x\"y'"]),
    ("postgres://h/db?mantis_table", ["'mantis_table'"]),
    ("postgres://h/db?mantis_reset=", ["mantis_reset is empty", "DISCARD ALL"]),
    ("postgres://h/db?mantis_reset=%zz", ["mantis_reset", "%25"]),
    ("postgres://h/db?colour=red", ['invalid URI query parameter: "colour"']),
    ("postgres://h/db?sslmode", ["missing key/value separator"]),
    ("nonsense", ["missing"]),
    ("colour=red", ['invalid connection option "colour"']),
    ("postgres://u:secret@[::1/db", ["matching", "IPv6"]),
    ("postgres://u:sec%zzret@h/db", ["percent-encoded"]),
    ("host=h password=secret secretx", ["missing"]),
    ('postgres://u:p"secret%zz@h/db', ['percent-encoded token: "..."']),
    ('postgres://u:="secret%zz@h/db', ['percent-encoded token: "..."']),
    ('postgres://u:"secret" a%00@h/db', ["forbidden value %00"]),
    ('host=h password=a b"secret', ['missing "=" after "..."']),
    ('postgres://u:p"secret@[::1/db', ["matching", "IPv6"]),
    ('postgres://u:p"secret@[::1]x/db', ["unexpected character"]),
    ("host=h password='secret", ["unterminated quoted string"]),
    ("postgres://" + ",".join(f"h{number}" for number in range(65)) + "/db", ["65 hosts"]),
]


@case
def a_dsn_that_cannot_be_read_is_refused_with_what_is_wrong(ground):
    for dsn, words in WRONG:
        try:
            ground.pool(dsn)
        except Refused as why:
            assert why.status == "INVALID", why
            assert "secret" not in why.text and "sec%" not in why.text, why.text
            for word in words:
                assert word in why.text, f"{dsn}: {why.text}"
        else:
            raise AssertionError(f"{dsn} was taken")


@case
def our_parameters_stand_anywhere_among_those_of_libpq(ground):
    ground.server.sql("CREATE SCHEMA IF NOT EXISTS deep")
    for query in ("mantis_table=deep.Kv&application_name=me&mantis_reset=SELECT%201",
                  "application_name=me&mantis_table=deep.Kv",
                  "mantis_reset=SELECT 1&application_name=me&mantis_table=deep.%4bv"):
        with ground.pool(ground.server.dsn("app") + "?" + query, conns_max=1) as pool:
            assert pool.borrow("SHOW application_name") == "me"
            pool.tell("acquire 0 10000")
            pool.tell("set 0 k v")
            pool.tell("release 0 clean")
    assert ground.server.sql('SELECT count(*) FROM deep."Kv"') == "1"


@case
def a_dsn_of_keys_and_values_is_libpqs_own(ground):
    dsn = f"host=127.0.0.1 port={ground.server.port} user=app dbname=postgres"
    with ground.pool(dsn, conns_max=1) as pool:
        assert pool.borrow("SHOW application_name") == "mantispool"


with Servers(pathlib.Path(sys.argv[1]).resolve().parent) as all_servers:
    main(Ground(all_servers, sys.argv[1]))
