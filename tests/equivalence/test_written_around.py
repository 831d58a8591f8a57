"""Comments, semicolons and spaces around a query change nothing of what is said about it."""

from __future__ import annotations

import pytest

from text2sql.equivalence.execution_match import execution_match
from text2sql.sql.features import features_of
from text2sql.sql.hardness import hardness
from text2sql.sql.prepare import parse

SCHEMA = "CREATE TABLE staff (id INTEGER PRIMARY KEY, name VARCHAR(20), pay INTEGER, team VARCHAR(20))"
GOLD = "SELECT team, COUNT(*) FROM staff WHERE pay > 10 GROUP BY team"
SAME = "SELECT s.team, COUNT(s.id) FROM staff s WHERE NOT (s.pay <= 10) GROUP BY s.team"
OTHER = "SELECT team, COUNT(*) FROM staff WHERE pay >= 10 GROUP BY team"
AROUND = [
    "{};",
    "{};;",
    "{}; -- the answer; SELECT 1",
    "{} -- it's done",
    "{} /* a; b */ ; /* c */ ;\n",
    "-- first\n{}",
    "\n\t-- first; second\r\n/* it's */ /* ** */\n{}",
    "\r\n  {}\r\n",
]


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
@pytest.mark.parametrize("around", AROUND)
def test_verdicts_are_those_of_the_bare_queries(around: str, dialect: str) -> None:
    for gold, predicted in ((around.format(GOLD), SAME), (GOLD, around.format(SAME)), (around.format(GOLD), OTHER)):
        expected = "different" if predicted == OTHER else "equivalent"
        verdict = execution_match(SCHEMA, gold, predicted, dialect=dialect)  # type: ignore[arg-type]
        assert verdict.status == expected, (gold, predicted, verdict.reason)


@pytest.mark.parametrize("around", AROUND)
def test_hardness_and_features_are_those_of_the_bare_query(around: str) -> None:
    tree, bare = parse(around.format(GOLD)), parse(GOLD)
    assert tree is not None and bare is not None
    assert hardness(around.format(GOLD)) == hardness(GOLD)
    assert features_of(tree) == features_of(bare)


@pytest.mark.parametrize("text", ["{}; {}", "{}; DROP TABLE staff", "-- {}", "", ";"])
@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_other_texts_than_one_query_are_no_gold(text: str, dialect: str) -> None:
    verdict = execution_match(SCHEMA, text.format(GOLD, OTHER), GOLD, dialect=dialect)  # type: ignore[arg-type]
    assert verdict.cause == "gold_failed"
