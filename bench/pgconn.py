"""Pooling libpq's connections: MantisPool beside a connection a caller, beside libpq opened for
each query, and beside pgx's pool. All send the query of `pgbench -S`, prepared once a connection,
to one PostgreSQL; `mantispool bench postgres://…` reads keys of a table beside them."""

import bars
import database
import peers
import stores

SECONDS = 2
CONNS = 8
CALLERS = {"even": 8, "crowd": 64}  # scenario: how many ask for the 8 connections
WAYS = ("bench", "pool", "own", "opened", "pgxpool")
ONLY_EVEN = ("bench",)  # which times waiting for a connection apart
NAMES = {
    "bench": "mantispool bench postgres://",
    "pool": "MantisPool, PGconn",
    "own": "libpq, one a caller",
    "opened": "libpq, opened a query",
    "pgxpool": "pgxpool",
}


def build_pgxpool():
    """The Go program; Missing where the module proxy does not answer."""
    return peers.build_go("pgxpool", ["github.com/jackc/pgx/v5"])


def run_bench(server, callers):
    """One run of the program, with the figures named as those of the others."""
    dsn = f"{server.dsn()}?sslmode=disable&gssencmode=disable"
    flat = stores.flatten(stores.run_json(
        [peers.ROOT / "build/mantispool", "bench", dsn, "--threads", callers, "--connections",
         CONNS, "--seconds", SECONDS, "--mix", "get=100", "--keys", "100000", "--json"]))
    return {"ops": flat["operations"], "errors": flat["errors"], "ops_per_s": flat["ops_per_s"],
            "p50_us": flat["get_ns.p50"] / 1000, "p99_us": flat["get_ns.p99"] / 1000,
            "acquire_p50_us": flat["acquire_ns.p50"] / 1000,
            "cpu_s_per_100k": flat["cpu_s_per_100k"]}


def run_way(way, programs, server, callers):
    """One run of one way."""
    conninfo = database.conninfo(server.port)
    if way == "bench":
        line = run_bench(server, callers)
    elif way == "pgxpool":
        known = conninfo.replace(" gssencmode=disable", "")  # pgx has no such thing to disable
        line = stores.run_json([*programs[way], known, callers, CONNS, SECONDS])
    else:
        line = stores.run_json([*programs["select"], way, conninfo, callers, CONNS, "prepared",
                                SECONDS])
    if line["errors"]:
        raise stores.Failed(f"{way}: {line['errors']} errors")
    return line


def measure_rounds(programs, server, rounds, say):
    """All lines by scenario and way, and the faults."""
    lines, faults = {}, set()
    ways = [way for way in WAYS if way != "pgxpool" or way in programs]
    for number in range(rounds):
        turn = number % len(ways)
        for scenario, callers in CALLERS.items():
            for way in ways[turn:] + ways[:turn]:
                if scenario != "even" and way in ONLY_EVEN:
                    continue
                say(f"round {number + 1} of {rounds}: postgres {scenario} {NAMES[way]}")
                try:
                    line = run_way(way, programs, server, callers)
                    lines.setdefault(scenario, {}).setdefault(way, []).append(line)
                except stores.Failed as why:
                    faults.add(f"postgres {scenario}: {why}")
    return lines, faults


def describe(lines, server, missing):
    """What the figures are of."""
    versions = {way: found[0]["version"] for some in lines.values() for way, found in some.items()
                if "version" in found[0]}
    return {"server": server.sql("SHOW server_version").split()[0], "conns": CONNS,
            "callers": CALLERS, "versions": versions, "missing": missing}


def measure(rounds, say):
    """Returns the figures, the bars and the faults."""
    missing = {}
    try:
        programs = {"select": database.build_select()}
        servers, server = database.start_postgres()
    except peers.Missing as why:
        return {"postgres": {}}, bars.judge_postgres({}), [f"postgres: {why}"]
    try:
        programs["pgxpool"] = build_pgxpool()
    except peers.Missing as why:
        missing["pgxpool"] = str(why)  # which is no fault of ours
    with servers:
        lines, faults = measure_rounds(programs, server, rounds, say)
        about = describe(lines, server, missing)
    figures = {scenario: {way: stores.summarize([stores.flatten(line) for line in found])
                          for way, found in some.items()} for scenario, some in lines.items()}
    return ({"postgres": {**figures, "about": about}}, bars.judge_postgres(figures),
            sorted(faults))


def show(found):
    """One table."""
    figures = found["postgres"]
    if not figures:
        return
    print(f"\nPostgreSQL {figures['about']['server']}, {CONNS} connections: medians")
    print(f"{'':30}{'8 callers/s':>14}{'p50 us':>9}{'p99 us':>9}{'CPU s/100,000':>15}"
          f"{'64 callers/s':>14}{'p99 us':>10}")
    for way in WAYS:
        even, crowd = (figures.get(scenario, {}).get(way, {}) for scenario in CALLERS)
        cells = [(even, "ops_per_s", 14, 0), (even, "p50_us", 9, 0), (even, "p99_us", 9, 0),
                 (even, "cpu_s_per_100k", 15, 3), (crowd, "ops_per_s", 14, 0),
                 (crowd, "p99_us", 10, 0)]
        texts = [f"{row[name]['median']:>{width},.{digits}f}" if row else f"{'-':>{width}}"
                 for row, name, width, digits in cells]
        print(f"{NAMES[way]:30}" + "".join(texts))
    for way, why in figures["about"]["missing"].items():
        print(f"{NAMES[way]} is skipped: {why}")
