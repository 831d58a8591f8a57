"""Scores the evaluator itself on labelled pairs: false positives and negatives by policy, category and source.

Usage: python scripts/score_evaluator.py FILE [FILE …] [--effort N] [--workers N] [--show] [--prove]
       python scripts/score_evaluator.py FILE [FILE …] --seeds 0-9 [--effort N] [--workers N]

Each line of a FILE is a JSON object with ``schema``, ``gold_sql``, ``pred_sql`` and ``label`` (``equivalent`` or
``not_equivalent``), and optionally ``policy``, ``category``, ``source_kind`` and ``db_id``. With ``--seeds`` every pair
is judged once for each seed, and the pairs whose status is not the same for all are printed; there should be none.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from text2sql.evaluation import Pair, Verdict, execution_match, score_pairs, wilson_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--effort", type=int, default=None, help="databases per pair")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 runs in this one and times every pair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=seed_range, help="judge with each of these, such as 0-9, and compare")
    parser.add_argument("--show", action="store_true", help="print every pair decided wrongly")
    parser.add_argument("--prove", action="store_true", help="instead, try to prove every pair, whatever its verdict")
    args = parser.parse_args()
    rows = [json.loads(line) for path in args.files for line in path.read_text().splitlines() if line.strip()]
    if args.prove:
        report_proofs(rows)
        return
    options: dict[str, Any] = {"seed": args.seed} | ({"effort": args.effort} if args.effort else {})
    if args.seeds:
        raise SystemExit(
            report_seeds(rows, {seed: score(rows, args.workers, options | {"seed": seed})[0] for seed in args.seeds})
        )
    start = time.perf_counter()
    verdicts, times = score(rows, args.workers, options)
    report(rows, verdicts, time.perf_counter() - start, times, show=args.show)


def score(rows: list[dict[str, Any]], workers: int, options: dict[str, Any]) -> tuple[list[Verdict], list[float]]:
    """Verdicts in the order of the rows, and the seconds each took if measured."""
    if workers:
        pairs = [Pair(row["schema"], row["gold_sql"], row["pred_sql"]) for row in rows]
        found = dict(score_pairs(pairs, workers=workers, **options))
        return [found[index] for index in range(len(rows))], []
    verdicts, times = [], []
    for row in rows:
        start = time.perf_counter()
        verdicts.append(execution_match(row["schema"], row["gold_sql"], row["pred_sql"], **options))
        times.append(time.perf_counter() - start)
    return verdicts, times


def seed_range(text: str) -> range:
    """``0-9`` or ``3`` as the seeds it names."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def report_seeds(rows: list[dict[str, Any]], verdicts: dict[int, list[Verdict]]) -> int:
    """Prints the pairs whose status depends on the seed, and the errors of each seed; 1 if there is such a pair."""
    unsteady = 0
    for place, row in enumerate(rows):
        statuses = {seed: found[place].status for seed, found in verdicts.items()}
        if len(set(statuses.values())) == 1:
            continue
        unsteady += 1
        seeds = ", ".join(f"{seed}: {status}" for seed, status in statuses.items())
        print(f"\n{row.get('id')} {row['label']} ({row.get('policy')}, {row.get('category')}): {seeds}")
        print(f"  gold      {row['gold_sql']}\n  predicted {row['pred_sql']}")
    for seed, found in verdicts.items():
        positives, negatives = rates(rows, found, None)["all"]
        print(f"seed {seed}: false positives {fraction(positives)}, false negatives {fraction(negatives)}")
    print(f"{unsteady} of {len(rows)} verdicts depend on the seed")
    return int(unsteady > 0)


def report(
    rows: list[dict[str, Any]], verdicts: list[Verdict], seconds: float, times: list[float], *, show: bool
) -> None:
    for key in ("policy", "category", "source_kind"):
        print(f"\n{'by ' + key:32} {'false pos.':>16} {'false neg.':>16}")
        for name, (positives, negatives) in sorted(rates(rows, verdicts, key).items()):
            print(f"{name:32} {fraction(positives):>16} {fraction(negatives):>16}")
    positives, negatives = rates(rows, verdicts, None)["all"]
    core = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if row.get("policy", "core") == "core"]
    core_rates = rates([row for row, _ in core], [verdict for _, verdict in core], None)["all"]
    print(f"\nall pairs   false positives {interval(positives)}   false negatives {interval(negatives)}")
    print(f"core        false positives {interval(core_rates[0])}   false negatives {interval(core_rates[1])}")
    print("status      " + ", ".join(f"{name} {n}" for name, n in Counter(v.status for v in verdicts).most_common()))
    print(f"time        {1000 * seconds / max(1, len(rows)):.1f} ms a pair, {len(rows) / seconds:.0f} pairs/s")
    if times:
        print(
            f"            slowest {max(times):.2f} s; 95 % within {sorted(times)[int(0.95 * len(times))] * 1000:.0f} ms"
        )
    if show:
        for row, verdict in zip(rows, verdicts, strict=True):
            if verdict.correct != (row["label"] == "equivalent"):
                print(
                    f"\n{row.get('id')} {row['label']} ({row.get('policy')}, {row.get('category')}): {verdict.status}"
                )
                print(f"  gold      {row['gold_sql']}\n  predicted {row['pred_sql']}\n  reason    {verdict.reason}")
                if verdict.witness:
                    print(f"  witness   {json.dumps(verdict.witness.to_dict())}")


def report_proofs(rows: list[dict[str, Any]]) -> None:
    """How many pairs are proven, by label and by what they consist of, and what that costs."""
    from text2sql.equivalence.proof.work import ProofTask, prove

    counts: Counter[tuple[str, bool, bool]] = Counter()
    times = []
    for row in rows:
        start = time.thread_time()
        proven = prove(ProofTask(row["schema"], row["gold_sql"], row["pred_sql"])).bound is not None
        times.append(time.thread_time() - start)
        others = re.search(r"\b(over|union|intersect|except|with)\b", f"{row['gold_sql']} {row['pred_sql']}", re.I)
        counts[row["label"], others is None, proven] += 1
        if proven and row["label"] != "equivalent":
            print(f"wrongly proven: {row.get('id')} {row['gold_sql']} | {row['pred_sql']}")
    for label, plain in sorted({key[:2] for key in counts}):
        proofs, all_of = counts[label, plain, True], counts[label, plain, True] + counts[label, plain, False]
        name = "select, join, aggregate" if plain else "with windows, set operations or CTEs"
        print(f"{label:16} {name:38} proven {fraction((proofs, all_of))}")
    times.sort()
    print(
        f"time        {1000 * sum(times) / len(times):.0f} ms of the processor a pair; 95 % within "
        f"{1000 * times[int(0.95 * len(times))]:.0f} ms; slowest {times[-1]:.2f} s"
    )


def rates(
    rows: list[dict[str, Any]], verdicts: list[Verdict], key: str | None
) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """(wrong, of) for non-equivalent and for equivalent pairs, by the value of ``key``."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row, verdict in zip(rows, verdicts, strict=True):
        entry = counts[str(row.get(key)) if key else "all"]
        equivalent = row["label"] == "equivalent"
        entry[3 if equivalent else 1] += 1
        entry[2 if equivalent else 0] += verdict.correct != equivalent
    return {name: ((c[0], c[1]), (c[2], c[3])) for name, c in counts.items()} or {"all": ((0, 0), (0, 0))}


def fraction(part: tuple[int, int]) -> str:
    return f"{part[0]}/{part[1]}" + (f" {100 * part[0] / part[1]:.2f} %" if part[1] else "")


def interval(part: tuple[int, int]) -> str:
    low, high = wilson_interval(*part)
    return f"{fraction(part)} (95 %: {100 * low:.2f} to {100 * high:.2f} %)"


if __name__ == "__main__":
    main()
