"""What the figures must show, and what makes a run of the harness suspect."""

import statistics

# Wall nanoseconds over pairs that the peers took on a machine with two cores of an AMD EPYC and
# kernel 6.18, medians of six rounds. A peer that is far slower here than these say, and not because
# the whole machine is, was not measured properly.
REFERENCE_NS = {
    "prototype": {"t1": 10.2, "t8": 5.3, "t64h": 1e9 / 51132},
    "hikaricp": {"t1": 86.7, "t8": 48.1, "t64h": 1e9 / 50286},
    "puddle": {"t1": 143.1, "t8": 206.8, "t64h": 1e9 / 8326},
    "database_sql": {"t1": 214.1, "t8": 254.3, "t64h": 1e9 / 7996},
    "r2d2": {"t1": 183.9, "t8": 177.6, "t64h": 1e9 / 51748},
    "apr_reslist": {"t1": 46.7, "t8": 200.4, "t64h": 1e9 / 43646},
}
SLOWER_MAX = 2.0


class Bar:
    """One promise: a figure, and what it may be at most (or at least)."""

    def __init__(self, name, text, unit, most=None, least=None):
        self.name, self.text, self.unit = name, text, unit
        self.most, self.least = most, least

    def judge(self, value):
        """The bar as it stands in the results. A figure that is missing does not hold."""
        limit = self.most if self.most is not None else self.least
        holds = value is not None and (value <= limit if self.most is not None else value >= limit)
        return {"name": self.name, "text": self.text, "unit": self.unit, "value": value,
                "limit": limit, "sense": "most" if self.most is not None else "least",
                "holds": holds}


def median(figures, scenario, peer, figure="ns_pair"):
    """A median of the run, or None."""
    return figures.get(scenario, {}).get(peer, {}).get(figure, {}).get("median")


def ratio(above, below):
    return None if above is None or not below else round(above / below, 4)


def judge_all(rows):
    """Rows of a value, the bar's name, text and unit, and its limit."""
    return [Bar(*words, **limit).judge(value) for value, *words, limit in rows]


def judge_counts(counted):
    """All bars of what is counted, judged."""
    return judge_all([
        (counted.get("system_calls"), "system_calls",
         "system calls of 1,000,000 free pairs, 2 threads", "", {"most": 0}),
        (counted.get("allocations"), "allocations",
         "allocations of 1,000,000 free pairs, 2 threads", "", {"most": 0}),
        (counted.get("clock_reads_a_pair"), "clock_reads",
         "readings of the clock a pair", "", {"most": 0.033}),
        (counted.get("wakes_a_hand_off"), "wakes", "futex wakes a hand-off", "", {"most": 1}),
        (counted.get("slot_bytes"), "slot_bytes", "memory of an idle connection", "bytes",
         {"most": 192}),
        (counted.get("pool_of_1_bytes"), "pool_of_1_bytes",
         "memory of each of 10,000 pools of 1 connection", "bytes", {"most": 2048}),
        (counted.get("pool_of_20_bytes"), "pool_of_20_bytes",
         "memory of each of 10,000 pools of 20 connections", "bytes", {"most": 4096}),
        (counted.get("churn_bytes"), "churn_bytes",
         "growth of memory while 1,000 pools come and go", "bytes", {"most": 262144}),
        (counted.get("limit_least_share"), "limit_least_share",
         "least share of 3 saturated pools under one limit of 4", "x", {"least": 0.2}),
    ])


def judge_core(figures):
    """All bars of the core, judged."""
    rows = []

    def add(value, *words, **limit):
        rows.append((value, *words, limit))

    for scenario, threads in (("t1", "1 thread"), ("t8", "8 threads")):
        ours = median(figures, scenario, "mantispool")
        add(ratio(ours, median(figures, scenario, "hikaricp")), f"{scenario}_hikaricp",
            f"a pair of a free connection, {threads}, to HikariCP's", "x", most=0.25)
        add(ratio(ours, median(figures, scenario, "prototype")), f"{scenario}_prototype",
            f"a pair of a free connection, {threads}, to the bare prototype's", "x", most=2.5)
    add(median(figures, "held", "mantispool"), "held", "a pair, 8 threads each holding 16 of 256",
        "ns", most=20)
    add(median(figures, "scan1000", "mantispool"), "scan1000",
        "a pair, one of 1000 free and not where it was", "ns", most=60)
    add(ratio(median(figures, "t64h", "mantispool", "ops_per_s"),
              median(figures, "t64h", "hikaricp", "ops_per_s")), "t64h_throughput",
        "64 threads on 8, asleep 100 us: operations a second to HikariCP's", "x", least=0.90)
    add(median(figures, "t64h", "mantispool", "p99_us"), "t64h_p99",
        "64 threads on 8, asleep 100 us: p99 of acquire", "us", most=2500)
    add(median(figures, "t64h", "mantispool", "fairness"), "t64h_fairness",
        "64 threads on 8, asleep 100 us: fewest to most operations a thread", "x", least=0.95)
    return judge_all(rows)


def machine_factor(figures):
    """How much slower than the reference this machine is, in the middle; at least 1."""
    factors = [median(figures, scenario, peer) / ns for peer, row in REFERENCE_NS.items()
               for scenario, ns in row.items() if median(figures, scenario, peer)]
    return max(1.0, statistics.median(factors)) if factors else 1.0


def find_slow_peers(figures):
    """A sentence for each peer that is slower than it can be."""
    faults = []
    factor = machine_factor(figures)
    for peer, row in REFERENCE_NS.items():
        for scenario, reference_ns in row.items():
            ns = median(figures, scenario, peer)
            if ns is not None and ns > SLOWER_MAX * factor * reference_ns:
                faults.append(f"{peer} took {ns:.1f} ns in {scenario}, and {reference_ns:.1f} ns "
                              "when it was measured for reference")
    return faults


def judge_store(figures, bare):
    """All bars of the store, judged; bare has the flat figures of bench_store."""

    def best(scenario, name):
        return figures.get(scenario, {}).get(name, {}).get("max")

    def middle(scenario, name):
        return figures.get(scenario, {}).get(name, {}).get("median")

    acquire_ns = middle("mixed", "acquire_ns.p999")
    return judge_all([
        (best("set", "ops_per_s"), "store_set",
         "sets a second, one connection, sync=interval, best", "", {"least": 100000}),
        (best("get", "ops_per_s"), "store_get",
         "gets a second, one connection, sync=interval, best", "", {"least": 100000}),
        (None if acquire_ns is None else acquire_ns / 1000, "acquire_p999",
         "p99.9 of acquire with a connection free", "us", {"most": 1000}),
        (bare.get("set.cpu_ratio"), "store_set_cpu", "CPU time of a set to bare RocksDB's", "x",
         {"most": 1.15}),
        (bare.get("get.cpu_ratio"), "store_get_cpu", "CPU time of a get to bare RocksDB's", "x",
         {"most": 1.15}),
        (bare.get("group_64_writers.ops_ratio"), "store_group_64",
         "synced sets a second, 64 writers, sync=group, to bare RocksDB's", "x", {"least": 1.3}),
        (bare.get("group_1_writer.ops_ratio"), "store_group_1",
         "synced sets a second, 1 writer, sync=group, to bare RocksDB's", "x", {"least": 0.8}),
    ])


def judge_postgres(figures):
    """All bars of pooled PostgreSQL connections, judged."""
    pool, own, opened = (median(figures, "even", way, "ops_per_s")
                         for way in ("pool", "own", "opened"))
    return judge_all([
        (ratio(pool, own), "postgres_own",
         "queries a second, 8 callers on 8 pooled connections, to a connection a caller", "x",
         {"least": 0.9}),
        (ratio(pool, opened), "postgres_opened",
         "queries a second, 8 callers on 8 pooled connections, to one opened a query", "x",
         {"least": 5}),
    ])
