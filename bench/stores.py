"""The embedded store: mantispool bench, and bench_store beside bare RocksDB."""

import json
import shutil
import statistics
import subprocess
import tempfile

import bars
import peers

SECONDS_MAX = 600
LOADS = {  # scenario: arguments of mantispool bench
    "set": ["--threads", "1", "--connections", "1", "--mix", "set=100"],
    "get": ["--threads", "1", "--connections", "1", "--mix", "get=100"],
    "mixed": ["--threads", "2", "--connections", "8", "--mix", "get=80,set=20"],
}
SECONDS = 3


class Failed(Exception):
    """A program that did not print its figures."""


def run_json(command):
    """Run a program that prints one JSON object."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, check=False, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS_MAX)
        return json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Failed(str(why)) from None
    except json.JSONDecodeError:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failed(f"{words[0]}: {said[-1]}") from None


def flatten(value, path=""):
    """The numbers of an object by their paths: {"get": {"ops": 1}} is {"get.ops": 1}."""
    if isinstance(value, dict):
        found = {}
        for key, inner in value.items():
            found.update(flatten(inner, f"{path}.{key}" if path else key))
        return found
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {path: value} if is_number else {}


def summarize(rounds):
    """Of flat rounds: each figure's numbers with median, least and most."""
    summary = {}
    for name in rounds[0] if rounds else {}:
        numbers = [line[name] for line in rounds if name in line]
        summary[name] = {"median": statistics.median(numbers), "min": min(numbers),
                         "max": max(numbers), "rounds": numbers}
    return summary


def measure_load(scenario, folder):
    """One run of mantispool bench; the first one on a store loads its keys."""
    line = run_json([peers.ROOT / "build/mantispool", "bench", f"mantis:{folder}/store",
                     "--seconds", SECONDS, "--json", *LOADS[scenario]])
    flat = flatten(line)
    if flat.get("errors"):
        raise Failed(f"mantispool bench had {flat['errors']} errors")
    return flat


def measure_bare(folder, rounds):
    """One run of bench_store, which measures bare RocksDB beside the store in rounds of its own."""
    program = peers.ROOT / "build/bench/store/bench_store"
    return run_json([program, folder, "--rounds", rounds])


def measure(rounds, say):
    """Returns the figures, the bars and the faults."""
    peers.BUILT.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="store-", dir=peers.BUILT)
    lines, bare = {}, {}
    faults = set()
    for number in range(rounds):
        for scenario in LOADS:
            say(f"round {number + 1} of {rounds}: store {scenario}")
            try:
                lines.setdefault(scenario, []).append(measure_load(scenario, folder))
            except Failed as why:
                faults.add(f"store {scenario}: {why}")
    say(f"{rounds} rounds: the store beside bare RocksDB")
    try:
        bare = measure_bare(folder, rounds)
    except Failed as why:
        faults.add(f"the store beside bare RocksDB: {why}")
    shutil.rmtree(folder, ignore_errors=True)
    figures = {"store": {scenario: summarize(found) for scenario, found in lines.items()},
               "bare": bare}
    return figures, bars.judge_store(figures["store"], flatten(bare)), sorted(faults)


def show(figures):
    """The main figures as two tables."""
    heads = ("operations/s", "acquire p99.9 us", "get p99 us", "set p99 us")
    names = ("ops_per_s", "acquire_ns.p999", "get_ns.p99", "set_ns.p99")
    print("\nThe embedded store through mantispool bench: medians")
    print(f"{'':14}" + "".join(f"{head:>18}" for head in heads))
    for scenario in LOADS:
        texts = []
        for name in names:
            value = figures["store"].get(scenario, {}).get(name, {}).get("median")
            scale, digits = (1000, 1) if "_ns" in name else (1, 0)
            texts.append("-" if value is None else f"{value / scale:,.{digits}f}")
        print(f"{scenario:14}" + "".join(f"{text:>18}" for text in texts))
    print("\nThe store beside bare RocksDB: medians")
    print(f"{'':18}{'operations/s':>16}{'bare':>12}{'ratio':>8}{'CPU s/100,000':>16}{'bare':>8}"
          f"{'ratio':>8}")
    for work, row in figures["bare"].items():
        if isinstance(row, dict):
            print(f"{work:18}{row['ours_ops_per_s']['median']:>16,.0f}"
                  f"{row['bare_ops_per_s']['median']:>12,.0f}{row['ops_ratio']:>8.2f}"
                  f"{row['ours_cpu_s_per_100k']:>16.3f}{row['bare_cpu_s_per_100k']:>8.3f}"
                  f"{row['cpu_ratio']:>8.2f}")
