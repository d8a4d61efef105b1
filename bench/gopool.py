"""Pools in Go: MantisPool through its package, beside puddle and beside a buffered channel.

The peers run one after the other in each round. The store is measured through the package, too."""

import os
import shutil
import tempfile

import bars
import peers
import stores

SCENARIOS = {"t1": 0.5, "t8": 0.5, "t64c": 1.5}  # seconds of one run
STORE_SECONDS = {"set": 2, "get": 2, "acquire": 1}


def build_mantis_go():
    """As a user builds: with what go-env says."""
    peers.install({"go": "golang-go"})
    peers.copy_source("goload")
    source = peers.copy_source("mantis_go")
    package = source.parent / "go"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(peers.ROOT / "go", package)
    peers.call(peers.ROOT / "tools/go-env", peers.ROOT / "build")
    found = peers.ROOT / "build/go-env"
    peers.call("go", "build", "-o", peers.BUILT / "mantis_go", ".", cwd=source,
               env={"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "1",
                    "PKG_CONFIG_PATH": str(found)})
    return [peers.BUILT / "mantis_go"]


BUILDERS = {"mantis_go": build_mantis_go, "puddle": peers.build_puddle,
            "gochan": lambda: peers.build_go("gochan")}


def build_all():
    """The commands by name, and why others are missing."""
    commands, missing = {}, {}
    for name, build in BUILDERS.items():
        try:
            commands[name] = [str(word) for word in build()]
        except peers.Missing as why:
            missing[name] = str(why)
    return commands, missing


def run_round(commands, number, lines, faults):
    """Each scenario with each peer; who comes first changes."""
    names = list(commands)
    turn = number % len(names)
    for scenario, seconds in SCENARIOS.items():
        for name in names[turn:] + names[:turn]:
            try:
                line = stores.run_json([*commands[name], scenario, seconds])
            except stores.Failed as why:
                faults.add(f"{name} failed in {scenario}: {why}")
                continue
            lines.setdefault(scenario, {}).setdefault(name, []).append(line)


def run_store(command, folder, lines, faults):
    """The store through the package, in a folder of its own."""
    for scenario, seconds in STORE_SECONDS.items():
        try:
            line = stores.run_json([*command, scenario, seconds, os.path.join(folder, scenario)])
        except stores.Failed as why:
            faults.add(f"mantis_go failed in {scenario}: {why}")
            continue
        lines.setdefault(scenario, {}).setdefault("mantis_go", []).append(line)


def measure(rounds, say):
    """The figures, the bars and the faults."""
    peers.BUILT.mkdir(parents=True, exist_ok=True)
    commands, missing = build_all()
    lines, faults = {}, set()
    if "mantis_go" not in commands:
        return {"go": {}, "go_missing": missing}, [], [f"mantis_go: {missing['mantis_go']}"]
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: pools in Go")
        run_round(commands, number, lines, faults)
        folder = tempfile.mkdtemp(prefix="gopool-", dir=peers.BUILT)
        run_store(commands["mantis_go"], folder, lines, faults)
        shutil.rmtree(folder, ignore_errors=True)
    figures = {scenario: {name: {"version": found[0]["version"],
                                 **stores.summarize([stores.flatten(line) for line in found])}
                          for name, found in row.items()} for scenario, row in lines.items()}
    return {"go": figures, "go_missing": missing}, judge(figures, missing), sorted(faults)


def judge(figures, missing):
    """The bars; those beside a peer that is missing are left out, and the figures stand alone."""

    def middle(scenario, name, figure):
        return bars.median(figures, scenario, name, figure)

    def most(scenario, figure):
        return figures.get(scenario, {}).get("mantis_go", {}).get(figure, {}).get("max")

    rows = [
        (middle("t64c", "mantis_go", "p99_us"), "go_busy_p99",
         "Go: 64 goroutines on 8, 20 us of the processor each: p99 of acquire", "us",
         {"most": 2000}),
        (bars.ratio(middle("t64c", "mantis_go", "fairness"), middle("t64c", "gochan", "fairness")),
         "go_busy_fairness",
         "Go: 64 goroutines on 8, 20 us of the processor each: fairness to a buffered channel's",
         "x", {"least": 1}),
        (most("set", "ops_per_s"), "go_set", "Go: sets a second, one connection, best", "",
         {"least": 100000}),
        (most("get", "ops_per_s"), "go_get", "Go: gets a second, one connection, best", "",
         {"least": 100000}),
        (middle("acquire", "mantis_go", "p999_us"), "go_acquire_p999",
         "Go: p99.9 of acquire with a connection free", "us", {"most": 1000}),
    ]
    if "puddle" not in missing:
        rows += [
            (bars.ratio(middle("t1", "mantis_go", "ns_pair"), middle("t1", "puddle", "ns_pair")),
             "go_pair", "Go: a pair of a free connection to puddle's", "x", {"most": 0.85}),
            (bars.ratio(middle("t64c", "mantis_go", "ops_per_s"),
                        middle("t64c", "puddle", "ops_per_s")), "go_busy_throughput",
             "Go: 64 goroutines on 8, 20 us of the processor each: operations a second to puddle's",
             "x", {"least": 0.95}),
        ]
    return bars.judge_all(rows)


def show(found):
    """The figures as a table."""
    figures = found["go"]
    for name, why in found["go_missing"].items():
        print(f"{name} is missing: {why}")
    print(f"\n{'pools in Go, medians':22}{'t1 ns':>9}{'t8 ns':>9}{'t64c ops/s':>12}{'p50 us':>9}"
          f"{'p99 us':>9}{'fairness':>9}")
    for name in BUILDERS:
        cells = [bars.median(figures, *path) for path in (
            ("t1", name, "ns_pair"), ("t8", name, "ns_pair"), ("t64c", name, "ops_per_s"),
            ("t64c", name, "p50_us"), ("t64c", name, "p99_us"), ("t64c", name, "fairness"))]
        widths, digits = (9, 9, 12, 9, 9, 9), (1, 1, 0, 0, 0, 2)
        print(f"{name:22}" + "".join("-".rjust(width) if cell is None else
                                     f"{cell:{width},.{digit}f}"
                                     for cell, width, digit in zip(cells, widths, digits)))
    for scenario, figure in (("set", "ops_per_s"), ("get", "ops_per_s"), ("acquire", "p999_us")):
        value = bars.median(figures, scenario, "mantis_go", figure)
        print(f"mantis_go {scenario}: {figure} {'-' if value is None else f'{value:,.1f}'}")
