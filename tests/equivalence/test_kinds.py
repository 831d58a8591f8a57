"""Kinds of coincidence that decide whether two queries differ: pairs written down before the evaluator saw them."""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.brute_force import parted
from text2sql.evaluation import execution_match

_FILES = (
    *("kinds.yaml", "more_kinds.yaml", "fresh_kinds.yaml", "blind_kinds.yaml", "far_kinds.yaml"),
    "check_kinds.yaml",
)
# Judged by the slow tests alone.
_FURTHER = ("compared_kinds.yaml", "thin_kinds.yaml")


class Pair(NamedTuple):
    """A pair with the status that is right for it."""

    schema: str
    status: str
    gold: str
    predicted: str


def _pairs(names: Sequence[str] = _FILES) -> list[object]:
    data = Path(__file__).parent / "data"
    files = [yaml.safe_load((data / name).read_text(encoding="utf-8")) for name in names]
    return [
        pytest.param(Pair(group["schema"], *pair), id=f"{kind}-{number}")
        for kinds in files
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
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("pair", _pairs((*_FILES, *_FURTHER)))
def test_verdict_with_every_seed(pair: Pair, seed: int) -> None:
    assert execution_match(pair.schema, pair.gold, pair.predicted, seed=seed).status == pair.status


@pytest.mark.slow
def test_pairs_of_writers_who_have_not_seen_the_evaluator() -> None:
    """700 pairs, each checked by its writer with a witness or on hundreds of random databases."""
    lines = gzip.decompress((Path(__file__).parent / "data" / "blind_pairs.jsonl.gz").read_bytes()).splitlines()
    wrong = set()
    for row in map(json.loads, lines):
        status = execution_match(row["schema"], row["gold"], row["predicted"]).status
        if (status == "equivalent") != (row["status"] == "equivalent"):
            wrong.add(row["id"])
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("pair", _pairs((*_FILES, *_FURTHER)))
def test_no_brute_force_database_contradicts(pair: Pair) -> None:
    if pair.status != "equivalent" or "fts5" in pair.schema or "concat" in pair.gold:
        pytest.skip("what is different is proven by its witness; GROUP_CONCAT's order is open")
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
        # A table that neither query reads is not in it.
        orphans = db.execute("PRAGMA foreign_key_check").fetchall()
        assert not [row for row in orphans if row[2] in witness.tables], (pair, witness)
        first, second = db.execute(pair.gold).fetchall(), db.execute(pair.predicted).fetchall()
        assert first != second, (pair, witness)
