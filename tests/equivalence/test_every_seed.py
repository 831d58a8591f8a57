"""Differences on single rows that a draw by chance finds for most seeds: each is made on purpose, so for all."""

from __future__ import annotations

import pytest

from text2sql.equivalence.execution_match import execution_match

SCHEMA = (
    "CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT);"
    "CREATE TABLE person (id INT, city_id INTEGER REFERENCES city(id), email TEXT, code TEXT, price REAL, age INTEGER)"
)
RANGES = "(SELECT 0 AS lo, 50 AS hi UNION ALL SELECT 50, 100 UNION ALL SELECT 100, 200) AS v"
DOMAIN = "substr(email, instr(email, '@') + 1)"
FRONT = "substr(code, 1, instr(code, '-') - 1)"
PAIRS = {
    "the boundary of an inner condition on the same table": (
        "SELECT DISTINCT age FROM person WHERE city_id IN (SELECT city_id FROM person WHERE id >= 2) AND age = 3",
        "SELECT DISTINCT age FROM person WHERE city_id IN (SELECT city_id FROM person WHERE id >= 3) AND age = 3",
    ),
    "the boundary of an inner condition beside an alternative": (
        "SELECT id FROM person WHERE (age = 0 OR id > 2) AND city_id IN (SELECT city_id FROM person WHERE id >= 2)",
        "SELECT id FROM person WHERE (age = 0 OR id > 2) AND city_id IN (SELECT city_id FROM person WHERE id >= 3)",
    ),
    "an inner condition of one query alone": (
        "SELECT id FROM person WHERE age = 1 AND age IN (SELECT age FROM person WHERE price >= 2)",
        "SELECT id FROM person WHERE age = 1 AND age IN (SELECT age FROM person)",
    ),
    "a repeated inner condition": (
        "SELECT MAX(id) FROM person WHERE city_id IN (SELECT city_id FROM person WHERE code >= '2')",
        "SELECT MAX(id) FROM person WHERE city_id IN (SELECT city_id FROM person WHERE code >= '2.5')"
        " AND city_id IN (SELECT city_id FROM person WHERE code >= '2')",
    ),
    "joined to all others": (
        "SELECT COUNT(DISTINCT person.age) FROM person JOIN city ON city_id = city.id",
        "SELECT COUNT(DISTINCT person.age) FROM person JOIN city ON city_id <> city.id",
    ),
    "counted by another column": (
        "SELECT COUNT(DISTINCT city_id) FROM person WHERE id BETWEEN 3 AND 3 AND code IS NOT NULL",
        "SELECT COUNT(DISTINCT id) FROM person WHERE id BETWEEN 3 AND 3 AND code IS NOT NULL",
    ),
    "the boundary of a comparison": (
        "SELECT city_id FROM person WHERE age > 18 AND price BETWEEN 10 AND 20",
        "SELECT city_id FROM person WHERE age > 18 AND price > 10 AND price <= 20",
    ),
    "a whole number written with a fraction": (
        "SELECT name FROM city WHERE id IN (0, 0)",
        "SELECT name FROM city WHERE id IN (10.0, 0)",
    ),
    "a negative whole number written with a fraction": (
        "SELECT email FROM person WHERE age = 0",
        "SELECT email FROM person WHERE age = 0 OR age = -10.0",
    ),
    "the borders of made-up ranges": (
        f"SELECT v.lo, COUNT(*) FROM {RANGES} JOIN person ON price >= v.lo AND price < v.hi GROUP BY v.lo",
        f"SELECT v.lo, COUNT(*) FROM {RANGES} JOIN person ON price > v.lo AND price <= v.hi GROUP BY v.lo",
    ),
    "groups by what stands behind a mark": (
        f"SELECT {DOMAIN}, COUNT(*) FROM person GROUP BY {DOMAIN}",
        f"SELECT {DOMAIN}, COUNT(*) FROM person GROUP BY email",
    ),
    "different values of what stands in front of a mark": (
        f"SELECT DISTINCT {FRONT} FROM person",
        f"SELECT {FRONT} FROM (SELECT DISTINCT code FROM person)",
    ),
    "ranked by a column or by a function of it": (
        f"SELECT {FRONT}, DENSE_RANK() OVER (ORDER BY {FRONT}) FROM person",
        f"SELECT {FRONT}, DENSE_RANK() OVER (ORDER BY code) FROM person",
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_the_difference_is_found_with_every_seed(kind: str) -> None:
    gold, predicted = PAIRS[kind]
    for seed in range(10):
        assert execution_match(SCHEMA, gold, predicted, seed=seed).status == "different", seed
        assert execution_match(SCHEMA, predicted, gold, seed=seed).status == "different", seed


def test_comparisons_that_agree_on_every_row_stay_equivalent() -> None:
    gold = "SELECT city_id FROM person WHERE age > 18 AND price BETWEEN 10 AND 20"
    predicted = "SELECT city_id FROM person WHERE age >= 19 AND NOT (price < 10 OR price > 20)"
    for seed in range(4):
        assert execution_match(SCHEMA, gold, predicted, seed=seed).status == "equivalent", seed
