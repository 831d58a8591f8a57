"""Measures verdicts a second by dialect, and the ratio to SQLite in the same run.

Usage: python scripts/bench_engines.py [DIALECT …] [--workers N] [--repeat N] [--each N]

The pairs are those of tests/equivalence/data/engine_core.yaml, which every engine reads. Besides the clock, the
processor time of the workers and of a database server on this machine is told, which says more on a machine that others
use as well. With --each, every pair is judged N times in this process, the engines taking turns, and the best time of
each is added up: what a machine would do that nothing else uses. Engines that cannot be had are named and left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import yaml

from text2sql.engines.dialect import DIALECTS, Dialect, read_dialect
from text2sql.engines.sandbox.engine import EngineMissing, open_engine
from text2sql.evaluation import Pair, execution_match, score_pairs

PAIRS = Path(__file__).parents[1] / "tests" / "equivalence" / "data" / "engine_core.yaml"
SERVERS = ("postgres", "mariadbd", "mysqld")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialects", nargs="*", default=list(DIALECTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--each", type=int, help="the best of so many runs of each pair, in this process")
    args = parser.parse_args()
    content = yaml.safe_load(PAIRS.read_text())
    texts = [(content["schema"], gold, predicted) for gold, predicted, *_ in content["pairs"]]
    engines: dict[Dialect, str] = {}
    for name in args.dialects:
        dialect = read_dialect(name, "DIALECT")
        try:
            engines[dialect] = "SQLite" if dialect == "sqlite" else open_engine(dialect).version
        except EngineMissing as error:
            print(f"{dialect}: left out. {error}")
    if args.each:
        show_best(engines, texts, args.each)
        return
    first = 0.0
    for dialect, version in engines.items():
        rate, cost = measure(texts, dialect, args.workers, args.repeat)
        first = first or rate
        spent = f"{1000 * cost:.0f} ms of processor a pair"
        print(f"{version}: {rate:.0f} pairs/s, {spent}, {rate / first:.2f} of the first", flush=True)


def show_best(engines: Mapping[Dialect, str], texts: Sequence[tuple[str, str, str]], repeat: int) -> None:
    """Prints the time of a pair by engine, each pair's the best of several runs."""
    best = {dialect: [float("inf")] * len(texts) for dialect in engines}
    for dialect in engines:
        execution_match(*texts[0], dialect=dialect)
    for _ in range(repeat):
        for place, text in enumerate(texts):
            for dialect, found in best.items():
                begun = time.perf_counter()
                execution_match(*text, dialect=dialect)
                found[place] = min(found[place], time.perf_counter() - begun)
    first = 0.0
    for dialect, found in best.items():
        cost = sum(found) / len(found)
        first = first or cost
        print(f"{engines[dialect]}: {1000 * cost:.1f} ms a pair, {first / cost:.2f} of the first's speed")


def measure(texts: Sequence[tuple[str, str, str]], dialect: Dialect, workers: int, repeat: int) -> tuple[float, float]:
    """Pairs a second, the best of several runs behind one that starts the workers, and seconds of processor a pair."""
    pairs = [Pair(*text, None, dialect) for text in texts]
    list(score_pairs(pairs[: 2 * workers], workers=workers))
    found = []
    for seed in range(repeat):
        begun, spent = time.perf_counter(), processor()
        list(score_pairs(pairs, workers=workers, seed=seed))
        found.append((len(pairs) / (time.perf_counter() - begun), (processor() - spent) / len(pairs)))
    return max(found)


def processor() -> float:
    """Seconds that this process, its workers and the database servers of this machine have computed."""
    own = psutil.Process(os.getpid())
    processes = [own, *own.children(recursive=True)]
    processes += [other for other in psutil.process_iter(["name"]) if (other.info["name"] or "") in SERVERS]
    total = 0.0
    for process in processes:
        try:
            spent = process.cpu_times()
        except psutil.Error:
            continue
        total += spent.user + spent.system
    return total


if __name__ == "__main__":
    main()
