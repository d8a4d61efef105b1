#!/usr/bin/env python3
"""Servers that fail: a pool says why, does not storm them, and is back within 1 s plus one back-off
when they are."""

import contextlib
import pathlib
import subprocess
import sys
import time

from driver import Pool

from cases import case, main
from postgres import TRUST, Servers, Silent, wait_for

BACK_OFF_MS = 300  # least and most: how long a pool leaves a server alone that has failed
RECOVERY_MS = 1000 + BACK_OFF_MS
BORROWERS = 12
OUTAGE_S = 1.0  # where connects are counted
SCRAM = TRUST.replace("host all all 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256")


class Ground:
    def __init__(self, servers, path):
        self.servers = servers
        self.path = path

    def pool(self, dsn, **settings):
        return Pool(self.path, dsn, **{"conns_max": 4, "backoff_min_ms": BACK_OFF_MS,
                                       "backoff_max_ms": BACK_OFF_MS, **settings})


def see_cause(pool, words, sqlstate="-", seconds=OUTAGE_S):
    """Many borrowers at once, none of whom gets a connection: each is told why."""
    for status, state, text in pool.burst(BORROWERS, int(1000 * seconds)):
        assert status == "TIMEOUT", f"{status}: {text}"
        assert words in text, text
        assert state == sqlstate, f"{state}: {text}"


def attempts_allowed(seconds):
    """Of a pool whose server is down: one prober, behind the few opens that were under way when it
    went down, and never sooner than three quarters of the back-off."""
    return 4 + 1 + seconds * 1000 / (0.75 * BACK_OFF_MS)


def see_recovery(pool, what):
    """The threads of the pool's load work again, soon."""
    took_ms = int(pool.tell("recover 60000"))
    print(f"# figure recovery_ms.{what} {took_ms}")
    assert took_ms <= RECOVERY_MS, f"{took_ms} ms"


# ---- a server that goes and comes back ----


@case
def a_pool_is_back_soon_after_its_server_was_killed(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn()) as pool:
        pool.tell("load 6")
        pool.tell("recover 60000")
        server.kill()
        began, failed = time.monotonic(), pool.stats()["open_failed"]
        see_cause(pool, "Connection refused")
        attempts = pool.stats()["open_failed"] - failed
        assert attempts <= attempts_allowed(time.monotonic() - began), f"{attempts} connects"
        mark = server.mark()
        server.start()
        see_recovery(pool, "killed")
        pool.tell("rest")
        assert server.count("host=127.0.0.1", mark) <= 4 + 4, "a storm of connects"
        assert pool.stats()["failing"] == 0


@case
def a_pool_is_back_soon_after_its_server_was_restarted(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn()) as pool:
        pool.tell("load 6")
        pool.tell("recover 60000")
        mark = server.mark()
        server.restart()
        see_recovery(pool, "restarted")
        pool.tell("rest")
        # until it was down, each connection that broke was replaced once at most
        assert server.count("host=127.0.0.1", mark) <= 4 + 4 + 4, "a storm of connects"


@case
def a_pool_follows_the_promotion_of_a_standby(ground):
    primary = ground.servers.start()
    standby = primary.start_standby()
    dsn = (f"postgres://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
           "?target_session_attrs=read-write")
    with ground.pool(dsn) as pool:
        assert pool.borrow("SHOW port") == str(primary.port)
        pool.tell("load 6")
        pool.tell("recover 60000")
        primary.stop()
        mark, began = standby.mark(), time.monotonic()
        see_cause(pool, "session is read-only")
        connects = standby.count("host=127.0.0.1", mark)
        assert connects <= attempts_allowed(time.monotonic() - began), f"{connects} connects"
        standby.promote()
        see_recovery(pool, "promoted")
        primary.follow(standby)  # demoted, at the place that is tried first
        pool.tell("rest")
        for number in range(8):
            pool.borrow("SELECT 1", how="broken")
            assert pool.borrow(f"SHOW port /* {number} */") == str(standby.port)


# ---- one that does not answer ----


@case
def a_server_that_accepts_and_never_answers_holds_nobody_beyond_the_deadline(ground):
    silent = Silent()
    with ground.pool(silent.dsn(), open_timeout_ms=300) as pool:
        began = time.monotonic()
        see_cause(pool, "no answer in")
        seconds = time.monotonic() - began
        wait_for(lambda: pool.stats()["opening"] == 0, "no opener hangs")
        assert silent.take_all() <= attempts_allowed(seconds)
        pool.tell("close 10000")
    silent.close()


@case
def a_silent_host_does_not_keep_a_pool_from_the_next(ground):
    server, silent, refusing = ground.servers.start(), Silent(), Silent()
    refusing.close()
    hosts = ",".join(f"127.0.0.1:{port}" for port in (refusing.port, silent.port, server.port))
    for more, settings in (("", {"open_timeout_ms": 1500}), ("?connect_timeout=1", {})):
        with ground.pool(f"postgres://postgres@{hosts}/postgres{more}", **settings) as pool:
            assert pool.borrow("SHOW port", wait_ms=60000) == str(server.port)
            assert pool.stats()["open_failed"] == 0
    with ground.pool(f"postgres://postgres@127.0.0.1:{silent.port},127.0.0.1:{refusing.port}/x",
                     open_timeout_ms=300) as pool:
        see_cause(pool, "Connection refused")  # who refuses tells more than who is silent
    silent.close()


@case
def a_name_that_is_none_is_named(ground):
    with ground.pool("postgres://postgres@no.such.host.invalid/postgres") as pool:
        see_cause(pool, 'could not translate host name "no.such.host.invalid"',
                  seconds=0.5)


@case
def a_reset_that_is_not_answered_ends_at_its_deadline(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn(), conns_max=1, open_timeout_ms=300) as pool:
        pid = pool.borrow("SELECT pg_backend_pid()")
        pool.tell("acquire 0 60000")
        server.freeze()
        pool.tell("release 0 dirty")
        wait_for(lambda: pool.stats()["closed_check"] == 1, "the reset is given up")
        server.thaw()
        assert pool.borrow("SELECT pg_backend_pid()", wait_ms=60000) != pid


@case
def a_check_that_is_not_answered_ends_at_its_deadline(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn(), conns_min=1, conns_max=1, open_timeout_ms=300,
                     check_interval_ms=50) as pool:
        pool.tell("warm 1 60000")
        server.freeze()
        wait_for(lambda: pool.stats()["closed_check"] == 1, "the check is given up")
        server.thaw()
        assert pool.borrow("SELECT 5", wait_ms=60000) == "5"


# ---- one that will not have us ----


@case
def a_wrong_password_is_named_and_a_right_one_works_soon(ground):
    server = ground.servers.start(hba=SCRAM)
    server.sql("CREATE ROLE app LOGIN PASSWORD 'right'")
    with ground.pool(server.dsn("app", password="wrong")) as pool:
        mark, began = server.mark(), time.monotonic()
        see_cause(pool, 'password authentication failed for user "app"', "28P01")
        connects = server.count("host=127.0.0.1", mark)
        assert 0 < connects <= attempts_allowed(time.monotonic() - began), f"{connects} connects"
        server.sql("ALTER ROLE app PASSWORD 'wrong'")
        pool.tell("load 1")
        see_recovery(pool, "password")
        pool.tell("rest")


@case
def a_full_server_is_named_and_a_place_is_taken_soon(ground):
    server = ground.servers.start(max_connections=6, superuser_reserved_connections=3,
                                  max_wal_senders=2)
    server.sql("CREATE ROLE app LOGIN")
    with contextlib.ExitStack() as stack:
        others = stack.enter_context(Pool(ground.path, server.dsn("app"), conns_min=3, conns_max=3))
        others.tell("warm 3 60000")
        pool = stack.enter_context(ground.pool(server.dsn("app")))
        mark, began = server.mark(), time.monotonic()
        see_cause(pool, "remaining connection slots are reserved", "53300")
        connects = server.count("host=127.0.0.1", mark)
        assert 0 < connects <= attempts_allowed(time.monotonic() - began), f"{connects} connects"
        pool.tell("load 6")
        others.tell("close 60000")
        see_recovery(pool, "full")
        pool.tell("rest")


@case
def a_database_that_is_not_there_is_named(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn(db="nowhere")) as pool:
        see_cause(pool, 'database "nowhere" does not exist', "3D000", seconds=0.5)


@case
def fail_fast_answers_at_once_with_the_cause(ground):
    server = ground.servers.start()
    with ground.pool(server.dsn(db="nowhere"), fail_fast=1) as pool:
        why = pool.refused("acquire 0 60000")
        assert why.status == "CONNECT_FAILED" and why.sqlstate == "3D000", why


@case
def something_that_is_no_postgresql_is_told_apart(ground):
    """A server of another kind: what it says is told, and it is not asked again at once."""
    server = subprocess.Popen([sys.executable, "-c", (
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "while True:\n    c = s.accept()[0]\n    c.recv(99)\n    c.sendall(b'HTTP/1.1 400')\n"
        "    c.close()\n")], stdout=subprocess.PIPE, text=True)
    try:
        port = server.stdout.readline().strip()
        with ground.pool(f"postgres://postgres@127.0.0.1:{port}/postgres") as pool:
            see_cause(pool, "received invalid response to SSL negotiation: H", seconds=0.5)
    finally:
        server.kill()
        server.communicate()


with Servers(pathlib.Path(sys.argv[1]).resolve().parent) as all_servers:
    main(Ground(all_servers, sys.argv[1]))
