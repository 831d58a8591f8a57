"""What engines take otherwise than SQLite: tables in schemas of their own, and lengths of texts."""

from __future__ import annotations

import pytest

from tests.support.engines import ENGINES, require_engine
from text2sql.equivalence.execution_match import execution_match

NAMESAKES = """CREATE TABLE sales.orders (id INTEGER PRIMARY KEY, total INTEGER);
CREATE TABLE archive.orders (id INTEGER PRIMARY KEY, total INTEGER, sale INTEGER REFERENCES sales.orders(id));
CREATE TABLE sales.people (id INTEGER PRIMARY KEY, name VARCHAR(20));
CREATE VIEW archive.late AS SELECT id FROM archive.orders WHERE total > 5;"""
QUALIFIED = [
    ("SELECT total FROM sales.orders", "SELECT total FROM archive.orders", "different"),
    ("SELECT total FROM sales.orders", "SELECT o.total FROM sales.orders AS o", "equivalent"),
    ("SELECT orders.total FROM archive.orders", "SELECT archive.orders.total FROM archive.orders", "equivalent"),
    ("SELECT id FROM archive.late", "SELECT id FROM archive.orders WHERE NOT total <= 5", "equivalent"),
    (
        "SELECT COUNT(*) FROM archive.orders a JOIN sales.orders s ON s.id = a.sale",
        "SELECT COUNT(*) FROM archive.orders WHERE sale IN (SELECT id FROM sales.orders)",
        "equivalent",
    ),
    ("SELECT name FROM sales.people", "SELECT people.name FROM sales.people", "equivalent"),
    ("SELECT total FROM sales.orders", "SELECT total FROM orders", "error"),
    ("SELECT name FROM sales.people", "SELECT usename FROM pg_catalog.pg_user", "refused"),
]


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize(("gold", "predicted", "status"), QUALIFIED)
def test_tables_of_one_name_in_two_schemas_are_two(dialect: str, gold: str, predicted: str, status: str) -> None:
    require_engine(dialect)
    verdict = execution_match(NAMESAKES, gold, predicted, dialect=dialect)
    assert verdict.status == status, verdict.reason


def test_namesakes_are_shown_with_their_schemas_and_told_apart_without_the_engine_too() -> None:
    gold, predicted, _ = QUALIFIED[0]
    verdict = execution_match(NAMESAKES, gold, predicted, dialect="duckdb")
    assert verdict.witness is not None and {"sales.orders", "archive.orders"} <= set(verdict.witness.tables)
    assert execution_match(NAMESAKES, gold, predicted, dialect="duckdb", transpile=True).status == "different"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("dialect", "length", "characters"), [("mysql", "LENGTH", "CHAR_LENGTH"), ("duckdb", "STRLEN", "LENGTH")]
)
def test_a_length_in_bytes_is_none_in_characters(dialect: str, length: str, characters: str, seed: int) -> None:
    require_engine(dialect)
    gold = f"SELECT name FROM customers WHERE {length}(name) > 5"
    predicted = f"SELECT name FROM customers WHERE {characters}(name) >= 6"
    assert (
        execution_match(
            "CREATE TABLE customers (id INTEGER, name VARCHAR(20))", gold, predicted, dialect=dialect, seed=seed
        ).status
        == "different"
    )
