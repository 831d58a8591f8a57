"""Rows of SQLite in another dialect: to try a run in one for which there are no data at hand.

    python scripts/translate_rows.py spider_train.jsonl --rows 800 --output train.jsonl
    python scripts/translate_rows.py spider_dev.jsonl --rows 200 --output test.jsonl
    text2sql run quickstart data.source=train.jsonl data.test.source=test.jsonl data.dialect=postgres

sqlglot translates schema and query, with all names in lower case and without quotes. A row is kept where the gold
query, judged in the engine, is equivalent to itself; which rows are drawn depends on the seed alone. Such queries are
those that both dialects can say: they hold little of the engine's own.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.config import SourceConfig
from text2sql.data.example import Example
from text2sql.data.sources import load_examples
from text2sql.engines.dialect import Dialect, read_dialect
from text2sql.equivalence.pair import GoldFails
from text2sql.equivalence.sqlite_pair import SqlitePreparation
from text2sql.evaluation import Pair, score_pairs
from text2sql.formats import pluralize
from text2sql.sql.trees import parse_statements

# Rows that are judged at a time.
_AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dialect", default="postgres")
    parser.add_argument("--rows", type=int, help="how many are written; by default all that can be")
    parser.add_argument("--longest", type=int, help="characters of a schema in SQLite; longer ones are left out")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dialect = read_dialect(args.dialect, "--dialect")
    examples = load_examples(SourceConfig(source=str(args.file)))
    examples = [example for example in examples if args.longest is None or len(example.context) <= args.longest]
    Random(args.seed).shuffle(examples)
    found = list(islice(kept(examples, dialect, args.workers), args.rows))
    rows = [row for _, row in found]
    args.output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    databases = len({row["db_id"] for row in rows})
    tried = found[-1][0] + 1 if found and len(found) == args.rows else len(examples)
    made = f"{pluralize(len(rows), 'row')} on {pluralize(databases, 'database')}"
    print(f"{args.output}: {made}; {tried} were tried for them")


def kept(examples: Sequence[Example], dialect: Dialect, workers: int) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows whose translated gold query the engine can judge, each with its example's place."""
    for start in range(0, len(examples), _AT_ONCE):
        part = enumerate(examples[start : start + _AT_ONCE], start)
        found = [(at, example, texts) for at, example in part if (texts := translated(example, dialect)) is not None]
        pairs = [Pair(context, answer, answer, None, dialect) for _, _, (context, answer) in found]
        verdicts = dict(score_pairs(pairs, workers=workers))
        for place, (at, example, (context, answer)) in enumerate(found):
            if verdicts[place].correct:
                row = {"question": example.question, "context": context, "answer": answer, "db_id": example.db_id}
                yield at, row


def translated(example: Example, dialect: Dialect) -> tuple[str, str] | None:
    """Schema and gold query in another dialect; None where sqlglot does not follow, or SQLite refuses the query."""
    preparation = SqlitePreparation(example.context, example.answer, example.answer)
    try:
        # What is in double quotes is a name or a text, which SQLite knows.
        gold = preparation.prepare_gold()
        statements = parse_statements(example.context, "sqlite")
    except (GoldFails, SqlglotError, sqlite3.Error):
        return None
    finally:
        preparation.close()
    if gold.tree is None:
        return None
    schema = [_plain(tree).sql(dialect) for tree in statements]
    return ";\n".join(schema) + ";", _plain(gold.tree).sql(dialect)


def _plain(tree: exp.Expr) -> exp.Expr:
    """A tree with its names in lower case, of letters, digits and underscores, without quotes."""
    tree = tree.copy()
    for name in tree.find_all(exp.Identifier):
        name.set("this", re.sub(r"\W", "_", str(name.this)).lower())
        name.set("quoted", False)
    return tree


if __name__ == "__main__":
    main()
