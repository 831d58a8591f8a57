"""Pairs that hang on what an engine's schema and functions mean, and SQLite's do not, are right on every seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.engines import ENGINES, require_engine
from text2sql.engines.declared.constraints import conjuncts
from text2sql.equivalence.execution_match import execution_match

DATA = Path(__file__).parent / "data"


def read(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((DATA / f"engine_{name}.yaml").read_text())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize("name", ["constraints", "semantics"])
def test_labelled_pairs(name: str, dialect: str, seed: int) -> None:
    require_engine(dialect)
    cases = [(found["schema"], *pair) for found in read(name) if found["dialect"] == dialect for pair in found["pairs"]]
    wrong = []
    for schema, gold, predicted, same, why in cases:
        verdict = execution_match(schema, gold, predicted, dialect=dialect, seed=seed)
        if verdict.status != ("equivalent" if same else "different"):
            wrong.append(f"{gold} | {predicted} | {why} | {verdict.status}: {verdict.reason}")
    assert not wrong, "\n".join(wrong)


def test_a_check_falls_into_its_conditions() -> None:
    assert conjuncts("(a > 0 AND b > 0) AND c > 0", "postgres") == ["a > 0", "b > 0", "c > 0"]
    assert conjuncts("a > 0 OR b > 0 AND c > 0", "postgres") == ["a > 0 OR b > 0 AND c > 0"]


def test_a_check_that_the_engine_does_not_accept_is_left_out() -> None:
    require_engine("postgres")
    schema = "CREATE TABLE t (id integer PRIMARY KEY, a integer CHECK (own_function(a)), CHECK (a > 3))"
    verdict = execution_match(
        schema, "SELECT id FROM t", "SELECT id FROM t WHERE a > 3 OR a IS NULL", dialect="postgres"
    )
    assert verdict.correct, verdict.reason
