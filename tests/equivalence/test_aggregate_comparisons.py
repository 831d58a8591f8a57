"""Groups at the boundary of a comparison are made whatever the seed: in HAVING, subqueries, CTEs and windows."""

from __future__ import annotations

from contextlib import closing

import pytest

from text2sql.equivalence.match import open_generator
from text2sql.equivalence.sqlite_pair import SqlitePreparation
from text2sql.evaluation import execution_match

SCHEMA = """CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT, credit INTEGER);
CREATE TABLE o (id INTEGER PRIMARY KEY, cid INTEGER REFERENCES c(id), total INTEGER, price REAL, paid BOOLEAN NOT NULL,
  status TEXT, day DATE, at DATETIME)"""
BY = "SELECT cid FROM o GROUP BY cid HAVING {}"
CORRELATED = "SELECT name FROM c WHERE (SELECT SUM(total) FROM o WHERE o.cid = c.id) {}"
# The comparison in a query, and another that differs at its boundary alone.
BOUNDARIES = [
    (BY, "SUM(total) > 117", "SUM(total) >= 117"),
    (BY, "SUM(total) * 2 - 6 > 173", "SUM(total) * 2 - 6 > 174"),
    (BY, "AVG(total) > 30.5", "AVG(total) >= 30.5"),
    (BY, "ROUND(AVG(price), 1) > 2.5", "ROUND(AVG(price), 1) >= 2.5"),
    (BY, "MAX(day) > '2020-05-05'", "MAX(day) >= '2020-05-05'"),
    (BY, "MIN(price) BETWEEN 3 AND 8", "MIN(price) > 3 AND MIN(price) <= 8"),
    (BY, "SUM(total) > 100 AND COUNT(*) > 3", "SUM(total) >= 100 AND COUNT(*) > 3"),
    (BY, "SUM(total) > 100 AND COUNT(*) > 3", "SUM(total) > 100 AND COUNT(*) >= 3"),
    (BY, "COUNT(*) * 3 > 57", "COUNT(*) * 3 >= 57"),
    (BY, "COUNT(*) / 2.0 > 55", "COUNT(*) / 2.0 >= 55"),
    (BY, "SUM(total) > 100 AND COUNT(*) = 50", "SUM(total) >= 100 AND COUNT(*) = 50"),
    (BY, "COUNT(total) > 3", "COUNT(*) > 3"),
    (BY, "COUNT(DISTINCT day) * 1.0 / COUNT(*) > 0.3", "COUNT(DISTINCT day) * 1.0 / COUNT(*) >= 0.3"),
    (BY, "SUM(total * price) > 77.5", "SUM(total * price) >= 77.5"),
    (
        BY,
        "100.0 * SUM(CASE WHEN status = 'open' THEN 1 ELSE 0 END) / COUNT(*) > 12.5",
        "100.0 * SUM(CASE WHEN status = 'open' THEN 1 ELSE 0 END) / COUNT(*) >= 12.5",
    ),
    ("SELECT {} FROM o", "AVG(paid) > 0.25", "AVG(paid) >= 0.25"),
    (CORRELATED, "> 71", ">= 71"),
    (CORRELATED, "> c.credit", ">= c.credit"),
    ("SELECT id FROM o WHERE total {} (SELECT AVG(total) FROM o) + 30", ">", ">="),
    ("SELECT id FROM o x WHERE total {} 2 * (SELECT AVG(total) FROM o WHERE cid = x.cid)", ">", ">="),
    ("SELECT cid FROM o WHERE total {} 7 GROUP BY cid HAVING SUM(price) > 90", ">", ">="),
    ("SELECT cid FROM o GROUP BY cid HAVING SUM(julianday(at) - julianday(day)) {} 10", ">", ">="),
    ("SELECT cid FROM (SELECT cid, MAX(price) AS m FROM o GROUP BY cid) WHERE m {}", "> 99.5", ">= 99.5"),
    (
        "WITH s(c, t) AS (SELECT cid, SUM(total) FROM o GROUP BY cid) SELECT name FROM c JOIN s ON s.c = c.id WHERE {}",
        "t - 5 > 70",
        "t > 76",
    ),
    ("SELECT id FROM (SELECT id, SUM(total) OVER (PARTITION BY cid) AS s FROM o) WHERE s {}", "> 91", ">= 91"),
    (
        "SELECT name FROM c WHERE id NOT IN (SELECT cid FROM o GROUP BY cid HAVING {})",
        "SUM(total) > 9",
        "SUM(total) > 8",
    ),
]


@pytest.mark.parametrize(("query", "gold", "predicted"), BOUNDARIES)
@pytest.mark.parametrize("seed", [3, 8])
def test_a_group_at_the_boundary_is_made_whatever_the_seed(query: str, gold: str, predicted: str, seed: int) -> None:
    verdict = execution_match(SCHEMA, query.format(gold), query.format(predicted), seed=seed)
    assert verdict.status == "different", verdict


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("strftime('%H', at)", "strftime('%H:%M', at)"),
        ("lower(status)", "lower(trim(status))"),
        ("ROUND(price)", "ROUND(price, 1)"),
    ],
)
def test_values_that_one_of_two_expressions_makes_equal_are_made(one: str, other: str, seed: int) -> None:
    gold, predicted = (f"SELECT COUNT(*) FROM o GROUP BY {term}" for term in (one, other))
    assert execution_match(SCHEMA, gold, predicted, seed=seed).status == "different"
    assert execution_match(SCHEMA, predicted, gold, seed=seed).status == "different"


def test_comparisons_of_both_queries_have_no_databases_of_their_own() -> None:
    gold = BY.format("SUM(total) > 117")
    assert _target_count(gold, gold.replace("cid", "status")) == 0
    assert _target_count(gold, gold.replace("117", "118")) > 4


def _target_count(gold: str, predicted: str) -> int:
    preparation = SqlitePreparation(SCHEMA, gold, predicted)
    with closing(preparation), open_generator(preparation.prepare(), 0) as generator:
        return generator.target_count
