"""How much of what real pairs teach about a schema do made pairs teach?

    python scripts/bench_made.py --data DIRECTORY --output made-runs [KEY=VALUE ...]
        [--databases college_2 college_1]

DIRECTORY holds ``spider_train.jsonl`` and ``spider_databases``. The questions on a database are dealt into two halves,
all wordings of one query into the same. A model is trained on one half and asked the other, and the reverse; a second
model is trained on pairs that `text2sql data make` writes from the database alone, and asked the same. No made pair is
trained on whose query is, but for its spelling, one that the half asks for. All see the schema in the same words, and
all take as many steps. The same command goes on where an earlier one stopped.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from text2sql.config import load_config
from text2sql.data.make.options import MakeOptions
from text2sql.data.make.pairs import make_pairs
from text2sql.engines.url import locate
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.record_files import read_record
from text2sql.runs.summary import SUMMARY, Summary
from text2sql.sql.canonical import canonical
from text2sql.sql.trees import parse_sqlite

Row = dict[str, str]


@dataclass(frozen=True)
class Taught:
    """How many of so many questions a model answers right before and after it was trained.

    Attributes:
        pairs: Trained on.
        before: Right answers before.
        after: Right answers after.
        asked: Questions.
    """

    pairs: int
    before: int
    after: int
    asked: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="directory of the pairs and the runs")
    parser.add_argument("--databases", nargs="+", default=["college_2", "college_1"])
    parser.add_argument("--count", type=int, default=1000, help="made pairs a database")
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    questions = [json.loads(line) for line in (args.data / "spider_train.jsonl").read_text().splitlines()]
    taught: dict[tuple[str, str], list[Taught]] = {}
    for name in args.databases:
        database = args.data / "spider_databases" / name / f"{name}.sqlite"
        made = _made(database, args.output / f"{name}.jsonl", args.count)
        real = [{**row, "context": made[0]["context"]} for row in questions if row["db_id"] == name]
        halves = _halves(real)
        for number, asked in enumerate(halves):
            wanted = {_meaning(row["answer"]) for row in asked}
            kinds = {"real": halves[1 - number], "made": [row for row in made if _meaning(row["answer"]) not in wanted]}
            before: int | None = None
            for kind, pairs in kinds.items():
                run = args.output / f"{name}-{kind}-{number}"
                found = _run(run, pairs, asked, args, before)
                taught.setdefault((name, kind), []).append(found)
                before = found.before
    show(taught)


def _made(database: Path, path: Path, count: int) -> list[Row]:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_pairs(MakeOptions(locate(str(database)), path, count))
    return [json.loads(line) for line in path.read_text().splitlines()]


def _halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows in two halves; those of one query stay together."""
    queries = sorted({_meaning(row["answer"]) for row in rows})
    random.Random(0).shuffle(queries)
    first = set(queries[: len(queries) // 2])
    return [row for row in rows if _meaning(row["answer"]) in first], [
        row for row in rows if _meaning(row["answer"]) not in first
    ]


def _meaning(sql: str) -> str:
    """A query without the choices of its spelling."""
    tree = parse_sqlite(sql)
    return canonical(tree) if tree is not None else sql


def _run(run: Path, pairs: Sequence[Row], asked: Sequence[Row], args: argparse.Namespace, before: int | None) -> Taught:
    """Trains on the pairs and asks the questions, of the untrained model too if it is not known what it answers."""
    databases = args.data / "spider_databases"
    if not (run / SUMMARY).is_file():
        files = {}
        for side, rows in (("train", pairs), ("test", asked)):
            files[side] = run.with_name(f"{run.name}-{side}.jsonl")
            files[side].write_text("".join(json.dumps(row) + "\n" for row in rows))
        epochs = max(1, round(args.count / len(pairs)))
        settings = [
            f"name={run.name}",
            f"output_dir={run}",
            "on_existing=resume",
            f"data.source={files['train']}",
            f"data.databases={databases}",
            f"data.test={{source: {files['test']}, databases: {databases}}}",
            "data.limit=null",
            f"data.test_size={len(asked)}",
            # Schemas of real databases are long, and so are some of the queries that people ask of them.
            "data.max_tokens=2048",
            "evaluation.max_new_tokens=160",
            "data.max_dropped=1",
            f"training.epochs={epochs}",
            f"evaluation.baseline={before is None}",
            "evaluation.novel_questions=false",
        ]
        run_pipeline(load_config(args.config, [*settings, *args.overrides]))
    summary = read_record(run / SUMMARY, Summary)
    assert summary and summary.headline.tuned
    base, tuned = summary.headline.base, summary.headline.tuned
    if before is None:
        assert base
        before = base.correct
    return Taught(len(pairs), before, tuned.correct, tuned.n)


def show(taught: dict[tuple[str, str], list[Taught]]) -> None:
    """Prints a line a database and kind of pairs."""
    table = Table("database", "pairs", "trained on", "before", "after", "gain of the real pairs' gain")
    for (name, kind), halves in taught.items():
        gain = sum(half.after - half.before for half in halves)
        real = sum(half.after - half.before for half in taught[name, "real"])
        asked = sum(half.asked for half in halves)
        share = f"{gain / real:.0%}" if kind == "made" and real > 0 else ""
        before, after = (f"{sum(n)} of {asked}" for n in zip(*((h.before, h.after) for h in halves), strict=True))
        table.add_row(name, kind, " / ".join(str(half.pairs) for half in halves), before, after, share)
    Console().print(table)


if __name__ == "__main__":
    main()
