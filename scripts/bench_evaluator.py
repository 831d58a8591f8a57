"""Measures the evaluator: speed, accuracy against effort, workers, result cache, and the ratio to a simple baseline.

Usage: python scripts/bench_evaluator.py [--data DIR] [--rows 5000] [--labelled N] [--workers 2] [--json FILE]

DIR holds ``equivalence_dev.jsonl`` (labelled pairs) and ``sql_create_context.json``. The baseline is what one would
write in an afternoon: ten databases of random rows and the queries' literals, results compared as bags, or as lists
where the gold query sorts. It runs in this process, one pair after the other, in the same run as the evaluator.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from text2sql.equivalence.match import DEFAULT_EFFORT
from text2sql.equivalence.processes.process_pool import close_pools
from text2sql.evaluation import Pair, Verdict, execution_match, score_pairs
from text2sql.sql.ddl import parse_schema

EFFORTS = (1, 2, 5, 10, 20, DEFAULT_EFFORT, 2 * DEFAULT_EFFORT)
_LITERAL = re.compile(r"'((?:[^']|'')*)'|\"([^\"]*)\"|\b(\d+(?:\.\d+)?)\b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("TEXT2SQL_DATA", "data")),
        help="directory of sql_create_context.json, and of equivalence_dev.jsonl where there are labelled pairs",
    )
    parser.add_argument("--labelled", type=int, default=10**6, help="labelled pairs, from the start of the file")
    parser.add_argument("--rows", type=int, default=5000, help="rows of sql-create-context")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    context, file = args.data / "sql_create_context.json", args.data / "equivalence_dev.jsonl"
    if not context.is_file():
        raise SystemExit(
            f"{context} is not there. It is the file of https://huggingface.co/datasets/b-mc2/sql-create-context; "
            "--data names its directory."
        )
    lines = file.read_text().splitlines() if file.is_file() else []
    labelled = [json.loads(line) for line in lines[: args.labelled] if line.strip()]
    equal = [row["label"] == "equivalent" for row in labelled]
    pairs = [Pair(row["schema"], row["gold_sql"], row["pred_sql"]) for row in labelled]
    made = create_context_pairs(json.loads(context.read_text()), args.rows)
    figures: dict[str, Any] = {}
    if pairs:
        figures["accuracy against effort"] = effort_curve(pairs, equal)
        figures[f"labelled pairs ({len(pairs)})"] = throughput(pairs, args.workers, equal)
    figures[f"sql-create-context ({len(made)})"] = throughput(made, args.workers)
    for title, rows in figures.items():
        show(title, rows)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def create_context_pairs(rows: list[dict[str, str]], count: int) -> list[Pair]:
    """Gold queries against predictions of three kinds in turn: the same text, another way to write it, a wrong one."""
    chosen = random.Random(0).sample(rows, min(count, len(rows)))
    pairs = []
    for index, row in enumerate(chosen):
        gold = row["answer"]
        sorted_ = re.search(r"\border\s+by\b", gold, re.IGNORECASE)
        predictions = (gold, gold if sorted_ else f"SELECT * FROM ({gold}) AS answer", _wrong(gold))
        pairs.append(Pair(row["context"], gold, predictions[index % 3]))
    return pairs


def _wrong(sql: str) -> str:
    """The query with its last literal changed, or with DISTINCT where there is none."""
    found = list(_LITERAL.finditer(sql))
    if not found:
        return re.sub(r"(?i)^select\s+", "SELECT DISTINCT ", sql)
    last = found[-1]
    text = last.group()
    other = str(float(text) + 1) if last.group(3) else f"{text[:-1]}x{text[-1]}"
    return sql[: last.start()] + other + sql[last.end() :]


def effort_curve(pairs: Sequence[Pair], equal: list[bool]) -> list[dict[str, Any]]:
    """False positives and negatives, and time, by number of databases; the baseline in the last row."""
    found = []
    for effort in EFFORTS:
        verdicts, seconds = timed(partial(_judged, effort), pairs)
        found.append({"databases": str(effort), **_errors(verdicts, equal), **_speed(pairs, seconds)})
    verdicts, seconds = timed(baseline, pairs)
    found.append({"databases": "baseline, 10", **_errors(verdicts, equal), **_speed(pairs, seconds)})
    return found


def _judged(effort: int, pair: Pair) -> bool:
    return execution_match(*pair, effort=effort).correct


def throughput(pairs: Sequence[Pair], workers: int, equal: list[bool] | None = None) -> list[dict[str, Any]]:
    """Pairs per second with one worker and several, with an empty and with a full cache, and of the baseline."""
    with tempfile.TemporaryDirectory() as directory:
        cache = Path(directory)
        several, kept = partial(score_pairs, pairs, workers=workers), partial(score_pairs, pairs, cache=cache)
        ways: dict[str, Callable[[], Iterator[tuple[int, Verdict]]]] = {
            "1 worker": lambda: score_pairs(pairs, workers=1),
            f"{workers} workers": several,
            "1 worker, fills a cache": kept,
            "1 worker, from that cache": kept,
        }
        found, first = [], None
        simple, baseline_seconds = timed(baseline, pairs)
        for name, run in ways.items():
            start = _Clocks()
            verdicts = [verdict for _, verdict in sorted(run(), key=itemgetter(0))]
            # A process is counted when it ends, and each way starts its own.
            close_pools()
            seconds = start.passed()
            shown = [verdict.to_dict() for verdict in verdicts]
            first = first or shown
            found.append(
                {
                    "way": name,
                    **_speed(pairs, seconds),
                    "times the baseline's speed": round(baseline_seconds[0] / seconds[0], 2),
                    "same verdicts": shown == first,
                    **(_errors([verdict.correct for verdict in verdicts], equal) if equal else {}),
                    "status": ", ".join(f"{n} {name}" for name, n in Counter(v.status for v in verdicts).most_common()),
                }
            )
    last = {"way": "baseline, one process", **_speed(pairs, baseline_seconds), "times the baseline's speed": 1.0}
    return [*found, {**last, **(_errors(simple, equal) if equal else {})}]


def timed(decide: Callable[[Pair], bool], pairs: Sequence[Pair]) -> tuple[list[bool], tuple[float, float]]:
    """Decisions on all pairs in this process, and the seconds they took."""
    start = _Clocks()
    return [decide(pair) for pair in pairs], start.passed()


class _Clocks:
    """Seconds on the wall and of the processor, that of finished worker processes included."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        used = os.times()
        return time.perf_counter(), used.user + used.system + used.children_user + used.children_system

    def passed(self) -> tuple[float, float]:
        wall, processor = self._now()
        return wall - self._start[0], processor - self._start[1]


def _speed(pairs: Sequence[Pair], seconds: tuple[float, float]) -> dict[str, float]:
    wall, processor = seconds
    return {
        "pairs/s": round(len(pairs) / wall, 1),
        "ms a pair": round(1000 * wall / len(pairs), 2),
        "of the processor": round(1000 * processor / len(pairs), 2),
    }


def _errors(correct: Sequence[bool], equal: Sequence[bool]) -> dict[str, str]:
    positives = sum(a and not b for a, b in zip(correct, equal, strict=True))
    negatives = sum(b and not a for a, b in zip(correct, equal, strict=True))
    return {
        "false pos.": f"{positives}/{len(equal) - sum(equal)}",
        "false neg.": f"{negatives}/{sum(equal)}",
    }


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in names))
    Console().print(table)


# -- the baseline


def baseline(pair: Pair, databases: int = 10, rows: int = 20) -> bool:
    """Whether two queries agree on ten databases of random rows in which the queries' literals occur."""
    rng = random.Random(0)
    literals: list[Any] = []
    for match in _LITERAL.finditer(f"{pair.gold} {pair.predicted}"):
        number = match.group(3)
        literals.append(
            (float(number) if "." in number else int(number)) if number else match.group(1) or match.group(2)
        )
    near: list[Any] = [v + d for v in literals if isinstance(v, (int, float)) for d in (1, -1)]
    near += [text for v in literals if isinstance(v, str) for text in (v + "x", v.upper(), v.lower())]
    tables = parse_schema(pair.schema).tables.values()
    is_sorted = re.search(r"\border\s+by\b", pair.gold, re.IGNORECASE) is not None
    db = sqlite3.connect(":memory:")
    steps = [0]

    def count() -> bool:
        steps[0] += 1
        return steps[0] > 2000

    db.set_progress_handler(count, 1000)
    try:
        for table in tables:
            db.execute(replace(table, checks=[]).ddl())
        for _ in range(databases):
            for table in tables:
                values = ",".join("?" * len(table.columns))
                db.execute(f"DELETE FROM `{table.name}`")
                for number in range(rows):
                    row = [_value(column.kind, literals, near, rng) for column in table.columns.values()]
                    for at, key in enumerate(table.columns):
                        if key in table.primary_key:
                            row[at] = number
                    db.execute(f"INSERT OR IGNORE INTO `{table.name}` VALUES ({values})", row)
            steps[0] = 0
            gold, predicted = db.execute(pair.gold).fetchall(), db.execute(pair.predicted).fetchall()
            if (gold != predicted) if is_sorted else (Counter(gold) != Counter(predicted)):
                return False
        return True
    except (sqlite3.Error, sqlite3.Warning):
        return False
    finally:
        db.close()


def _value(domain: str, literals: list[Any], near: list[Any], rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.1:
        return None
    if literals and chance < 0.4:
        return rng.choice(literals)
    if near and chance < 0.55:
        return rng.choice(near)
    return rng.randrange(10) if domain in ("integer", "real", "boolean") else rng.choice(("a", "b", "c", "1", "2"))


if __name__ == "__main__":
    main()
