"""Verdicts through Ray against the local pool: pairs a second, and what a pair costs beyond being judged.

Usage: python scripts/bench_cluster.py [--data DIR] [--rows 800] [--nodes 2] [--rounds 3] [--json FILE]

A Ray cluster of `--nodes` nodes with one processor each is started on this machine (the extra ray is needed), and
judges the pairs of `bench_evaluator.py` in turn with as many local processes. `overhead` is measured on tasks that ask
for nothing: their verdict comes with them, so that what is left is the way there and back.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_common import table
from bench_evaluator import create_context_pairs

from backends.planning.matmul_rates import processor
from text2sql.equivalence.processes.process_pool import Workers, run_tasks
from text2sql.equivalence.scoring import Pair, PairTask, score_pair, score_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TEXT2SQL_DATA", "../shared/data")))
    parser.add_argument("--rows", type=int, default=800, help="rows of sql-create-context")
    parser.add_argument("--empty", type=int, default=4000, help="tasks that ask for nothing")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    pairs = create_context_pairs(json.loads((args.data / "sql_create_context.json").read_text()), args.rows)
    cluster = start_cluster(args.nodes)
    try:
        figures = measure(pairs, args)
    finally:
        stop_cluster(cluster)
    report(figures, args)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def start_cluster(nodes: int) -> Any:
    """A Ray cluster on this machine, which this process has joined."""
    import ray
    from ray.cluster_utils import Cluster

    # Nodes find the packages where this process does.
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    # Ray gives way to all else on a machine; the local processes that it is compared with do not.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    return cluster


def stop_cluster(cluster: Any) -> None:
    import ray

    ray.shutdown()
    cluster.shutdown()


def measure(pairs: Sequence[Pair], args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every round by way, and whether the verdicts are the same."""
    ways: dict[str, Workers] = {f"{args.nodes} local processes": args.nodes, f"Ray, {args.nodes} nodes": "ray"}
    answers = {name: dict(score_pairs(pairs, workers=way)) for name, way in ways.items()}
    known = next(iter(answers.values()))[0].to_dict()
    empty = [PairTask(*pairs[0], effort=None, seed=0, timeout=2.0, known=known)] * args.empty
    judged: dict[str, list[float]] = {name: [] for name in ways}
    idle: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            answers[name] = dict(score_pairs(pairs, workers=way))
            judged[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            list(run_tasks(score_pair, empty, workers=way, seconds=2.0))
            idle[name].append(time.perf_counter() - start)
    shown = [{number: verdict.to_dict() for number, verdict in found.items()} for found in answers.values()]
    return {
        "pairs": len(pairs),
        "empty": len(empty),
        "judged": judged,
        "idle": idle,
        "same verdicts": all(found == shown[0] for found in shown),
    }


def report(figures: dict[str, Any], args: argparse.Namespace) -> None:
    rows = []
    for name in figures["judged"]:
        judged, idle = (statistics.median(figures[kind][name]) for kind in ("judged", "idle"))
        rows.append(
            [
                name,
                f"{figures['pairs'] / judged:.0f}",
                f"{judged / figures['pairs'] * args.nodes * 1e3:.2f}",
                f"{idle / figures['empty'] * args.nodes * 1e3:.2f}",
            ]
        )
    print(table(["", "pairs/s", "ms a pair and processor", "of it overhead"], rows))
    same = "the same" if figures["same verdicts"] else "NOT THE SAME"
    print(f"{figures['pairs']} pairs, verdicts {same}; {os.cpu_count()} cores of {processor()}")


if __name__ == "__main__":
    main()
