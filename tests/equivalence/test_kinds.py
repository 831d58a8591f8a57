"""Kinds of coincidence that decide whether two queries differ: pairs written down before the evaluator saw them."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.brute_force import parted
from text2sql.evaluation import execution_match


class Pair(NamedTuple):
    """A pair with the status that is right for it."""

    schema: str
    status: str
    gold: str
    predicted: str


def _pairs() -> list[object]:
    kinds = yaml.safe_load((Path(__file__).parent / "data" / "kinds.yaml").read_text())
    return [
        pytest.param(Pair(group["schema"], *pair), id=f"{kind}-{number}")
        for kind, groups in kinds.items()
        for group in groups
        for number, pair in enumerate(group["pairs"])
    ]


@pytest.mark.parametrize("pair", _pairs())
def test_verdict(pair: Pair) -> None:
    verdict = execution_match(pair.schema, pair.gold, pair.predicted)
    assert verdict.status == pair.status, verdict
    if verdict.status == "equivalent":
        assert verdict.informative >= 6 or "written alike" in verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 10))
@pytest.mark.parametrize("pair", _pairs())
def test_verdict_with_other_seeds(pair: Pair, seed: int) -> None:
    assert execution_match(pair.schema, pair.gold, pair.predicted, seed=seed).status == pair.status


@pytest.mark.slow
@pytest.mark.parametrize("pair", _pairs())
def test_no_brute_force_database_contradicts(pair: Pair) -> None:
    if (
        pair.status != "equivalent"
        or "fts5" in pair.schema
        or "DISTINCT kind ORDER" in pair.gold
        or "concat" in pair.gold
    ):
        pytest.skip("what is different is proven by its witness")
    assert parted(pair.schema, pair.gold, pair.predicted, random.Random(0)) is None


def test_a_witness_parts_the_queries_in_sqlite_itself() -> None:
    for parameters in _pairs():
        (pair,) = parameters.values  # type: ignore[attr-defined]
        if pair.status != "different" or "WINDOW" in pair.gold or "OVER" in pair.gold or "group_concat" in pair.gold:
            continue
        witness = execution_match(pair.schema, pair.gold, pair.predicted).witness
        assert witness is not None
        db = sqlite3.connect(":memory:")
        db.executescript(pair.schema)
        for name, table in witness.tables.items():
            computed = {row[1] for row in db.execute(f"PRAGMA table_xinfo(`{name}`)") if row[6] in (2, 3)}
            kept = [at for at, column in enumerate(table.columns) if column not in computed]
            names = ",".join(f"`{table.columns[at]}`" for at in kept)
            marks = ",".join("?" * len(kept))
            rows = [tuple(row[at] for at in kept) for row in table.rows]
            db.executemany(f"INSERT INTO `{name}` ({names}) VALUES ({marks})", rows)
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
        first, second = db.execute(pair.gold).fetchall(), db.execute(pair.predicted).fetchall()
        assert first != second, (pair, witness)
