"""Pairs told apart by a coincidence of moments, rows of a window or parts of a text, with every seed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.engines import ENGINES, require_engine
from text2sql.equivalence.scoring import Pair, score_pairs

DATA = Path(__file__).parent / "data" / "coincidences.yaml"
SETS = ("first", "second", "third", "fourth", "between_marks", "units", "fractions", "numbers", "signs", "left_out")


@cache
def _read() -> dict[str, Any]:
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))


def _wrong(dialect: str, seed: int) -> list[str]:
    read = _read()
    rows = [row for name in SETS for row in read[name] if row[0] == dialect]
    tasks = [Pair(read["schemas"][table][dialect], gold, other, None, dialect) for _, table, gold, other, *_ in rows]
    found = dict(score_pairs(tasks, workers=2, seed=seed, timeout=10.0))
    assert len(rows) > 25
    return [
        f"{gold} | {other} ({why}): {found[place].status}, {found[place].reason}"
        for place, (_, _, gold, other, same, why) in enumerate(rows)
        if found[place].status != ("equivalent" if same else "different")
    ]


@pytest.mark.parametrize("dialect", ["sqlite", *ENGINES])
def test_each_pair_is_judged_right(dialect: str) -> None:
    if dialect != "sqlite":
        require_engine(dialect)
    wrong = _wrong(dialect, 0)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("dialect", ["sqlite", *ENGINES])
def test_no_verdict_depends_on_the_seed(dialect: str, seed: int) -> None:
    if dialect != "sqlite":
        require_engine(dialect)
    wrong = _wrong(dialect, seed)
    assert not wrong, "\n".join(wrong)
