"""How many connections a pool should have: the same callers through pools of different sizes.

There are as many callers as the rule of thumb "processors x 100" has connections. The embedded
store with reads and writes, and with synced writes that wait for the disk; PostgreSQL with a query
that computes, and with one that waits."""

import os
import shutil
import tempfile

import database
import peers
import stores

SECONDS = 1.5
RULE = 100 * (os.cpu_count() or 1)
SIZES = [1, 2, 4, 8, 16, 32, 64, RULE]
STORE_LOADS = {  # name: DSN after the folder, and arguments
    "store": ("", ["--mix", "get=80,set=20", "--keys", "200000"]),
    "store_group": ("?sync=group", ["--mix", "set=100", "--keys", "20000"]),
}
POSTGRES_LOADS = {"postgres": "select", "postgres_wait": "wait"}


def measure_store(load, size, folder):
    """One run of mantispool bench."""
    tail, words = STORE_LOADS[load]
    dsn = f"mantis:{folder}/{load}{tail}"
    line = stores.run_json([peers.ROOT / "build/mantispool", "bench", dsn, "--threads", RULE,
                            "--connections", size, "--seconds", "2", "--json", *words])
    flat = stores.flatten(line)
    if flat.get("errors"):
        raise stores.Failed(f"{load}, {size}: {flat['errors']} errors")
    found = {"ops_per_s": flat["ops_per_s"], "acquire_p99_us": flat["acquire_ns.p99"] / 1000,
             "use_p99_us": flat["set_ns.p99"] / 1000}
    return found


def measure_postgres(program, server, load, size):
    """One run of bench/postgres/select.c."""
    line = stores.run_json([*program, "pool", database.conninfo(server.port), RULE, size,
                            POSTGRES_LOADS[load], SECONDS])
    if line["errors"]:
        raise stores.Failed(f"{load}, {size}: {line['errors']} errors")
    return stores.flatten(line)


def measure_all(rounds, say, loads, run_one):
    """Rounds of each load in each size: (figures, faults)."""
    lines, faults = {}, set()
    for number in range(rounds):
        for load in loads:
            for size in SIZES:
                say(f"round {number + 1} of {rounds}: {load}, {size} connections")
                try:
                    lines.setdefault(load, {}).setdefault(str(size), []).append(run_one(load, size))
                except (stores.Failed, peers.Missing) as why:
                    faults.add(f"sizing: {load}: {why}")
    figures = {load: {size: stores.summarize(found) for size, found in some.items()}
               for load, some in lines.items()}
    return figures, faults


def measure(rounds, say):
    """Returns the figures and the faults."""
    peers.BUILT.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="sizing-", dir=peers.BUILT)
    figures, faults = measure_all(rounds, say, STORE_LOADS,
                                  lambda load, size: measure_store(load, size, folder))
    shutil.rmtree(folder, ignore_errors=True)
    whole = {"sizing": figures, "sizing_rule": RULE}
    try:
        program = peers.compile_against_stage(peers.HERE / "store/conn_memory.c", "conn_memory",
                                              package="mantispool-store")
        whole.update(stores.run_json(program))
        program = database.build_select()
        servers, server = database.start_postgres()
    except (peers.Missing, stores.Failed) as why:
        return whole, sorted(faults | {f"sizing: {why}"})
    with servers:
        found, more = measure_all(rounds, say, POSTGRES_LOADS, lambda load, size:
                                  measure_postgres(program, server, load, size))
    figures.update(found)
    return whole, sorted(faults | more)


def show(found):
    """Operations a second by size."""
    print("\nOperations a second of", found["sizing_rule"], "callers by the pool's size: medians")
    print(f"{'':16}" + "".join(f"{size:>10}" for size in SIZES))
    for load, some in found["sizing"].items():
        cells = [some.get(str(size), {}).get("ops_per_s", {}).get("median") for size in SIZES]
        print(f"{load:16}" + "".join(f"{'-' if cell is None else f'{cell:,.0f}':>10}"
                                     for cell in cells))
