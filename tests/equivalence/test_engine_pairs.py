"""200 pairs for each engine, labelled before they were judged: 100 in SQL that all read, 100 in each one's own."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.engines import ENGINES, require_engine
from text2sql.equivalence.scoring import Pair, score_pairs
from text2sql.equivalence.verdict import Verdict

DATA = Path(__file__).parent / "data"
# A gold query that the engine refuses; nothing can be decided.
FAILS = "fails"


class Labelled(NamedTuple):
    """A pair with what is true of it."""

    place: str
    gold: str
    predicted: str
    same: bool | str
    why: str


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DATA / f"engine_{name}.yaml").read_text())


@cache
def labelled(dialect: str) -> tuple[Labelled, ...]:
    """The pairs of an engine: what all read first, then its own."""
    found = []
    for file in ("core", dialect):
        for number, (gold, predicted, same, why) in enumerate(_read(file)["pairs"], start=1):
            label = same[dialect] if isinstance(same, dict) else same
            found.append(Labelled(f"{file} {number}", gold, predicted, label, why))
    return tuple(found)


def is_right(pair: Labelled, verdict: Verdict) -> bool:
    """Whether a verdict says what is true."""
    if pair.same == FAILS:
        return verdict.cause == "gold_failed"
    return verdict.correct if pair.same else verdict.status in ("different", "error", "refused")


@pytest.mark.parametrize("dialect", ENGINES)
def test_each_engine_has_as_many_pairs_and_both_kinds(dialect: str) -> None:
    pairs = labelled(dialect)
    assert len(pairs) == 200 and len({pair[1:3] for pair in pairs}) == 200
    assert all(pair.why for pair in pairs)
    assert 80 <= sum(pair.same is True for pair in pairs) <= 120


@pytest.mark.parametrize("dialect", ENGINES)
def test_every_labelled_pair(dialect: str) -> None:
    require_engine(dialect)
    pairs, schema = labelled(dialect), _read("core")["schema"]
    tasks = [Pair(schema, pair.gold, pair.predicted, None, dialect) for pair in pairs]
    # A machine that is busy may take several times as long.
    found = dict(score_pairs(tasks, workers=2, timeout=10.0))
    wrong = [
        f"{pair.place} ({pair.why}): {found[place].status}, {found[place].reason}"
        for place, pair in enumerate(pairs)
        if not is_right(pair, found[place])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dialect", ["sqlite", *ENGINES])
def test_pairs_of_a_writer_who_has_not_seen_the_evaluator(dialect: str) -> None:
    """What is shown or sorted by, schemas with more than columns, functions with literals, each engine's own ways."""
    if dialect != "sqlite":
        require_engine(dialect)
    lines = gzip.decompress((DATA / "blind_engines.jsonl.gz").read_bytes()).splitlines()
    rows = [row for row in map(json.loads, lines) if row["dialect"] == dialect]
    tasks = [Pair(row["schema"], row["gold"], row["predicted"], None, dialect) for row in rows]
    found = dict(score_pairs(tasks, workers=2, timeout=10.0))
    wrong = [
        f"{row['gold']} | {row['predicted']} ({row['why']}): {found[place].status}, {found[place].reason}"
        for place, row in enumerate(rows)
        if found[place].status not in (("equivalent",) if row["same"] else ("different", "error", "refused"))
    ]
    assert len(rows) > 70 and not wrong, "\n".join(wrong)
