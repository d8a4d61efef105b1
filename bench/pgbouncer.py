"""A pool in the program beside PgBouncer in front of the server: the same callers, the same query
(that of `pgbench -S`), the same number of connections to the same PostgreSQL."""

import resource
import socket
import struct
import time

import database
import peers
import stores

SECONDS = 3
CALLERS = 32
SERVERS = 8
IDLE_CLIENTS = 2000
WAYS = ("own", "pool", "pgbouncer")  # a connection a caller; our pool; through PgBouncer


def run_way(way, program, server, bouncer):
    """One run; PgBouncer's own processor time beside that of the program."""
    conninfo = database.conninfo(server.port)
    if way == "pgbouncer":
        conninfo = database.conninfo(bouncer.port, "bench")
        before_s = database.cpu_seconds(bouncer.process.pid)
    line = stores.run_json([*program, "pool" if way == "pool" else "own", conninfo, CALLERS,
                            SERVERS, "select", SECONDS])
    if line["errors"]:
        raise stores.Failed(f"{way}: {line['errors']} errors")
    line["pooler_cpu_s_per_100k"] = 0.0
    if way == "pgbouncer":
        used_s = database.cpu_seconds(bouncer.process.pid) - before_s
        line["pooler_cpu_s_per_100k"] = used_s * 1e5 / line["ops"]
    return stores.flatten(line)


def connect_idle(port):
    """One client that has logged in and does nothing."""
    client = socket.create_connection(("127.0.0.1", port), 20)
    words = b"user\0postgres\0database\0bench\0\0"
    client.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
    answer = b""
    while b"Z\0\0\0\x05I" not in answer:
        more = client.recv(4096)
        if not more:
            raise stores.Failed(f"pgbouncer refused a client: {answer!r}")
        answer += more
    return client


def measure_idle(bouncer):
    """The memory of an idle client, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE_CLIENTS + 200), hard))
    clients = [connect_idle(bouncer.port) for _ in range(100)]
    before = database.resident_bytes(bouncer.process.pid)
    clients += [connect_idle(bouncer.port) for _ in range(IDLE_CLIENTS)]
    grown = database.resident_bytes(bouncer.process.pid) - before
    for client in clients:
        client.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    time.sleep(0.2)  # for PgBouncer to notice
    return grown / IDLE_CLIENTS


def measure_with(servers, server, rounds, say):
    """The rounds, each way in its turn."""
    lines, faults = {}, set()
    program = database.build_select()
    bouncer = database.Bouncer(servers, server, SERVERS)
    try:
        idle_bytes = measure_idle(bouncer)
        for number in range(rounds):
            for way in WAYS[number % len(WAYS):] + WAYS[:number % len(WAYS)]:
                say(f"round {number + 1} of {rounds}: pgbouncer, {way}")
                try:
                    lines.setdefault(way, []).append(run_way(way, program, server, bouncer))
                except stores.Failed as why:
                    faults.add(f"pgbouncer: {why}")
    finally:
        bouncer.stop()
    figures = {way: stores.summarize(found) for way, found in lines.items()}
    return {**figures, "version": bouncer.version(), "callers": CALLERS, "servers": SERVERS,
            "idle_client_bytes": round(idle_bytes), "idle_clients": IDLE_CLIENTS}, sorted(faults)


def measure(rounds, say):
    """Returns the figures and the faults."""
    try:
        servers, server = database.start_postgres()
        with servers:
            figures, faults = measure_with(servers, server, rounds, say)
    except (peers.Missing, stores.Failed) as why:
        return {"pgbouncer": {}}, [f"pgbouncer: {why}"]
    return {"pgbouncer": figures}, faults


def show(found):
    """The main figures."""
    print(f"\n{CALLERS} callers, {SERVERS} connections to PostgreSQL, the query of pgbench -S: "
          "medians")
    print(f"{'':12}{'queries/s':>12}{'p99 us':>10}{'CPU s/100,000':>16}{'pooler':>10}")
    for way in WAYS:
        row = {name: figure["median"] for name, figure in found["pgbouncer"].get(way, {}).items()}
        if row:
            print(f"{way:12}{row['ops_per_s']:>12,.0f}{row['p99_us']:>10,.0f}"
                  f"{row['cpu_s_per_100k']:>16.3f}{row['pooler_cpu_s_per_100k']:>10.3f}")
    print(f"an idle client of PgBouncer: {found['pgbouncer'].get('idle_client_bytes')} bytes")
