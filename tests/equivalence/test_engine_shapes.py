"""Values with parts, collations of a schema's own, tables that are seen through others, and shapes of grouping.

Every pair was run in its engine on the rows that stand beside it, which show the difference where there is one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.engines import ENGINES, require_engine
from text2sql.equivalence.execution_match import execution_match
from text2sql.equivalence.scoring import Pair, score_pairs

DATA = Path(__file__).parent / "data" / "shapes.yaml"


@cache
def groups(dialect: str) -> tuple[dict[str, Any], ...]:
    """The groups of a dialect's pairs."""
    return tuple(group for group in yaml.safe_load(DATA.read_text()) if group["dialect"] == dialect)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("dialect", ENGINES)
def test_every_labelled_pair(dialect: str, seed: int) -> None:
    require_engine(dialect)
    pairs = [(group["schema"], *pair) for group in groups(dialect) for pair in group["pairs"]]
    tasks = [Pair(schema, gold, predicted, None, dialect) for schema, gold, predicted, _, _ in pairs]
    found = dict(score_pairs(tasks, workers=2, timeout=10.0, seed=seed))
    # The PostgreSQL that comes as a wheel is built without ICU, and cannot create such collations.
    judged = [place for place in found if "ICU is not supported in this build" not in found[place].reason]
    wrong = [
        f"{gold} | {predicted} ({why}): {found[place].status}, {found[place].reason}"
        for place, (_, gold, predicted, same, why) in enumerate(pairs)
        if place in judged and found[place].status != ("equivalent" if same else "different")
    ]
    assert len(judged) > 30 and not wrong, "\n".join(wrong)


def test_rows_beside_pairs_show_what_is_said_of_them() -> None:
    duckdb = pytest.importorskip("duckdb")
    for group in groups("duckdb"):
        base = duckdb.connect()
        base.execute(group["schema"])
        differing = set[int]()
        for statement in ("SELECT 1", *group["rows"]):
            base.execute(statement)
            for place, (gold, predicted, *_) in enumerate(group["pairs"]):
                results = [sorted(map(repr, base.execute(query).fetchall())) for query in (gold, predicted)]
                differing |= {place} if results[0] != results[1] else set()
        assert differing == {place for place, pair in enumerate(group["pairs"]) if not pair[2]}


def test_a_witness_shows_the_parts_of_a_value() -> None:
    require_engine("duckdb")
    schema = "CREATE TABLE p (id INTEGER, addr STRUCT(city VARCHAR, no INTEGER), m MAP(VARCHAR, INTEGER), l INTEGER[])"
    verdict = execution_match(
        schema, "SELECT id FROM p WHERE addr.no > 3", "SELECT id FROM p WHERE addr.no >= 3", dialect="duckdb"
    )
    assert verdict.status == "different" and verdict.witness is not None
    (row,) = verdict.witness.tables["p"].rows
    assert '"no": 3' in str(row[1])


@pytest.mark.parametrize(
    "condition",
    ["COALESCE(s.a.b, 0) > 1", "s.a.b + 1 > 2", "s['a']['b'] > 1", "struct_extract(s.a, 'b') > 1", "t.s.a.b > 1"],
)
def test_a_field_has_many_spellings(condition: str) -> None:
    require_engine("duckdb")
    schema = "CREATE TABLE t (id INTEGER, s STRUCT(a STRUCT(b INTEGER)))"
    gold = "SELECT id FROM t WHERE s.a.b > 1"
    assert execution_match(schema, gold, f"SELECT id FROM t WHERE {condition}", dialect="duckdb").status == "equivalent"
    near = condition.replace("> 1", ">= 1").replace("> 2", ">= 2")
    assert execution_match(schema, gold, f"SELECT id FROM t WHERE {near}", dialect="duckdb").status == "different"


def test_the_guard_sees_no_more_of_a_created_type_or_collation_than_its_parts() -> None:
    require_engine("postgres")
    schema = (
        "CREATE COLLATION c (provider = icu, locale = 'und''; DROP TABLE x; --', deterministic = true);"
        "CREATE TABLE t (id INT, name TEXT COLLATE c)"
    )
    verdict = execution_match(schema, "SELECT id FROM t", "SELECT id FROM t WHERE name = 'a'", dialect="postgres")
    assert verdict.status in ("different", "undecided")
