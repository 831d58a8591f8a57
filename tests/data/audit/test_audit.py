"""The audit of gold queries: each smell finds its place and not its neighbour, and decisions are respected."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from tests.support.repository import REPOSITORY
from tests.support.smelling import smell_kinds
from text2sql.data.audit.alternatives import Place
from text2sql.data.audit.database_run import run_on_database
from text2sql.data.audit.likelihood import LESS_LIKELY
from text2sql.data.audit.reading import read_example
from text2sql.data.audit.smells import find_smells
from text2sql.data.audit.weights import WEIGHTS
from text2sql.data.example import Example

SCHEMA = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, age INTEGER, code TEXT);"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), price REAL, day DATE, "
    "clerk_name TEXT)"
)
JOINED = "customers AS c JOIN orders AS o ON o.customer_id = c.id"
kinds = partial(smell_kinds, SCHEMA)


# A smell, a pair that has it, and one that nearly has it.
PAIRS = [
    (
        "number ignored",
        "Orders above 70?",
        "SELECT id FROM orders",
        "SELECT id FROM orders WHERE price > 70",
    ),
    (
        "number word ignored",
        "Name any three customers.",
        "SELECT name FROM customers",
        "SELECT name FROM customers LIMIT 3",
    ),
    (
        "quoted value ignored",
        "Who lives in 'Lisbon'?",
        "SELECT name FROM customers",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "name ignored",
        "How many customers are from Lisbon?",
        "SELECT COUNT(*) FROM customers",
        "SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "text unsaid",
        "Which customers live in Lisbon?",
        "SELECT name FROM customers WHERE city = 'Porto'",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "number unsaid",
        "Orders above 70?",
        "SELECT id FROM orders WHERE price > 90",
        "SELECT id FROM orders WHERE price > 70",
    ),
    (
        "average missing",
        "What is the average price?",
        "SELECT MAX(price) FROM orders",
        "SELECT AVG(price) FROM orders",
    ),
    (
        "average unasked",
        "What is the highest price?",
        "SELECT AVG(price) FROM orders",
        "SELECT MAX(price) FROM orders",
    ),
    (
        "count missing",
        "How many customers are there?",
        "SELECT name FROM customers",
        "SELECT COUNT(*) FROM customers",
    ),
    (
        "sum for how many",
        "How many orders are there?",
        "SELECT SUM(price) FROM orders",
        "SELECT COUNT(*) FROM orders",
    ),
    (
        "key added up",
        "What is the total of orders?",
        "SELECT SUM(id) FROM orders",
        "SELECT SUM(price) FROM orders",
    ),
    (
        "extreme unasked",
        "What is the price of orders?",
        "SELECT MIN(price) FROM orders",
        "SELECT price FROM orders",
    ),
    (
        "direction",
        "What is the highest price?",
        "SELECT MIN(price) FROM orders",
        "SELECT MAX(price) FROM orders",
    ),
    (
        "direction",
        "Who is the oldest customer?",
        "SELECT name FROM customers ORDER BY age LIMIT 1",
        "SELECT name FROM customers ORDER BY age DESC LIMIT 1",
    ),
    (
        "superlative without one",
        "Which customer is the tallest?",
        "SELECT name FROM customers",
        "SELECT name FROM customers ORDER BY age DESC LIMIT 1",
    ),
    (
        "order without its limit",
        "Which order has the highest price?",
        "SELECT id FROM orders ORDER BY price DESC",
        "SELECT id FROM orders ORDER BY price DESC LIMIT 1",
    ),
    (
        "comparison",
        "Orders of more than 5?",
        "SELECT id FROM orders WHERE price < 5",
        "SELECT id FROM orders WHERE price > 5",
    ),
    (
        "compared twice in one direction",
        "Prices between 5 and 9?",
        "SELECT id FROM orders WHERE price >= 5 AND price >= 9",
        "SELECT id FROM orders WHERE price >= 5 AND price <= 9",
    ),
    (
        "limit",
        "The top 5 prices?",
        "SELECT price FROM orders ORDER BY price DESC LIMIT 7",
        "SELECT price FROM orders ORDER BY price DESC LIMIT 5",
    ),
    (
        "limit without order",
        "Show 5 customers.",
        "SELECT name FROM customers LIMIT 5",
        "SELECT name FROM customers ORDER BY name LIMIT 5",
    ),
    (
        "negation missing",
        "Customers that are not from Lisbon?",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
        "SELECT name FROM customers WHERE city <> 'Lisbon'",
    ),
    (
        "negation unasked",
        "Customers from Lisbon?",
        "SELECT name FROM customers WHERE city <> 'Lisbon'",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "distinct missing",
        "Show the different cities.",
        "SELECT city FROM customers",
        "SELECT DISTINCT city FROM customers",
    ),
    (
        "parents counted through a join",
        "How many customers have orders?",
        f"SELECT COUNT(c.id) FROM {JOINED}",
        f"SELECT COUNT(DISTINCT c.id) FROM {JOINED}",
    ),
    (
        "declared key unused",
        "Customers with orders?",
        "SELECT c.name FROM customers AS c JOIN orders AS o ON o.id = c.age",
        f"SELECT c.name FROM {JOINED}",
    ),
    (
        "join of unlike types",
        "Customers with orders?",
        "SELECT c.name FROM customers AS c JOIN orders AS o ON o.price = c.city",
        f"SELECT c.name FROM {JOINED}",
    ),
    (
        "text compared as number",
        "Customers with a code above 7?",
        "SELECT name FROM customers WHERE code > 7",
        "SELECT name FROM customers WHERE age > 7",
    ),
    (
        "columns beside an aggregate",
        "The name and the number of customers?",
        "SELECT name, COUNT(*) FROM customers",
        "SELECT name, COUNT(*) FROM customers GROUP BY name",
    ),
    (
        "percentage missing",
        "What percentage of customers is from Lisbon?",
        "SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'",
        "SELECT 100.0 * SUM(city = 'Lisbon') / COUNT(*) FROM customers",
    ),
    (
        "other column shown",
        "What is the price of orders?",
        "SELECT clerk_name || day FROM orders",
        "SELECT price FROM orders",
    ),
    (
        "several numbers ignored",
        "Customers between 20 and 30?",
        "SELECT name FROM customers",
        "SELECT name FROM customers WHERE age BETWEEN 20 AND 30",
    ),
    (
        "number used once",
        "Customers of age 7 with code 7?",
        "SELECT name FROM customers WHERE age = 7",
        "SELECT name FROM customers WHERE age = 7 AND code = '7'",
    ),
    (
        "name ignored",
        "What did Ana B. White order?",
        f"SELECT o.id FROM {JOINED} WHERE c.name LIKE 'Ana B.%'",
        f"SELECT o.id FROM {JOINED} WHERE c.name = 'Ana B. White'",
    ),
    (
        "number of rows ignored",
        "Name any three customers.",
        "SELECT name FROM customers",
        "SELECT name FROM customers LIMIT 3",
    ),
    (
        "column said and not shown",
        "What is the city of Ana?",
        "SELECT age FROM customers",
        "SELECT city FROM customers",
    ),
    (
        "count for a total",
        "What is the total price of all orders?",
        "SELECT COUNT(price) FROM orders",
        "SELECT SUM(price) FROM orders",
    ),
    ("measure counted", "What is the price of order 3?", "SELECT COUNT(price) FROM orders", "SELECT price FROM orders"),
    (
        "compared with another kind",
        "Which order has the highest price?",
        "SELECT id FROM orders WHERE price = (SELECT COUNT(price) FROM orders)",
        "SELECT id FROM orders WHERE price = (SELECT MAX(price) FROM orders)",
    ),
    (
        "sorted by an aggregate of a key",
        "Which customer has the most orders?",
        "SELECT customer_id FROM orders GROUP BY customer_id ORDER BY MAX(id) DESC LIMIT 1",
        "SELECT customer_id FROM orders GROUP BY customer_id ORDER BY COUNT(id) DESC LIMIT 1",
    ),
    (
        "about something else",
        "Whose shoes were red?",
        "SELECT price FROM orders WHERE day = 'x'",
        "SELECT name FROM customers AS shoes WHERE city = 'red'",
    ),
]


@pytest.mark.parametrize(
    ("kind", "question", "smelling", "clean"), PAIRS, ids=[f"{p[0]}-{i}" for i, p in enumerate(PAIRS)]
)
def test_a_smell_finds_its_place_and_not_its_neighbour(kind: str, question: str, smelling: str, clean: str) -> None:
    assert kind in kinds(question, smelling)
    assert kind not in kinds(question, clean)


# What is said in other words than the query's, and is the same.
INNOCENT = [
    ("List the cities of customers.", "SELECT city FROM customers"),
    ("Customers without repetition of the city?", "SELECT DISTINCT city FROM customers"),
    (
        "Names of other customers in the city of Porto than Ana?",
        "SELECT name FROM customers WHERE city = 'Porto' AND name <> 'Ana'",
    ),
    (
        "Names of customers in the city of Porto, apart from Ana?",
        "SELECT name FROM customers WHERE city = 'Porto' AND name <> 'Ana'",
    ),
    ("Prices of orders with a day after March 6, 2026?", "SELECT price FROM orders WHERE day >= '2026-03-07'"),
    ("Prices of orders with a day up to March 6, 2026?", "SELECT price FROM orders WHERE day < '2026-03-07'"),
    ("Prices of orders of the day 6/3/2026?", "SELECT price FROM orders WHERE day = '2026-03-06'"),
    ("Prices of orders, highest first?", "SELECT price FROM orders ORDER BY price DESC"),
    ("Prices sorted by day from earliest to latest?", "SELECT price FROM orders ORDER BY day"),
    (
        "Names of customers with at least one order of 20?",
        "SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE price = 20)",
    ),
    (
        "Cities with customers above the age of 20 and also with customers above the age of 30?",
        "SELECT city FROM customers WHERE age > 20 INTERSECT SELECT city FROM customers WHERE age > 30",
    ),
]


@pytest.mark.parametrize(("question", "sql"), INNOCENT)
def test_what_people_say_otherwise_is_no_smell(question: str, sql: str) -> None:
    assert not kinds(question, sql) & WEIGHTS.keys()


def test_a_flag_and_a_column_called_as_a_comparison() -> None:
    schema = "CREATE TABLE members (id INT, name TEXT, since DATE, active BOOLEAN)"
    for question, sql, expected in (
        ("Which members are not active?", "SELECT name FROM members WHERE active = FALSE", set()),
        ("Which members are not active?", "SELECT name FROM members WHERE active = TRUE", {"negation missing"}),
        ("The 3 names with the earliest since?", "SELECT name FROM members ORDER BY since LIMIT 3", set()),
        ("Names with a since before 3?", "SELECT name FROM members WHERE since > 3", {"comparison"}),
    ):
        reading = read_example(Example("x", question, schema, sql, dialect="postgres"))
        assert reading is not None
        assert {smell.kind for smell in find_smells(reading) if smell.kind in WEIGHTS} == expected, question


@pytest.mark.parametrize(
    (
        "kind",
        "evidence",
        "smelling",
        "clean",
    ),
    [
        ("evidence's value ignored", "local refers to city = 'Faro'", "city = 'Porto'", "city = 'Faro'"),
        ("evidence's number ignored", "old refers to age > 65", "age > 60", "age > 65"),
        ("evidence's comparison differs", "old refers to age > 65", "age < 65", "age > 65"),
        ("evidence's value of another column", "local refers to city = 'Faro'", "name = 'Faro'", "city = 'Faro'"),
        ("evidence's column not shown", "local refers to city", "age = 3", "city = 'Faro'"),
        ("evidence's end without limit", "oldest refers to MAX(age)", "1 ORDER BY age", "1 ORDER BY age LIMIT 1"),
        ("evidence's column ignored", "local refers to city", "name = 'Faro'", "city = 'Faro'"),
    ],
)
def test_evidence_counts(kind: str, evidence: str, smelling: str, clean: str) -> None:
    question = "Which customers are old and local?"
    assert kind in kinds(question, f"SELECT name FROM customers WHERE {smelling}", evidence)
    assert kind not in kinds(question, f"SELECT name FROM customers WHERE {clean}", evidence)


def test_a_column_that_is_said_wholly_is_better_than_one_that_is_said_in_part() -> None:
    schema = "CREATE TABLE person (name TEXT, birth_place TEXT, birth_region TEXT)"
    found = []
    for column in ("birth_region", "birth_place"):
        query = f"SELECT {column} FROM person WHERE name = 'Dan'"
        reading = read_example(Example("x", "What is the birthplace of Dan?", schema, query))
        assert reading is not None
        found.append("column said better" in {smell.kind for smell in find_smells(reading)})
    assert found == [True, False]


def test_the_key_of_what_is_asked_about_is_no_better_column() -> None:
    schema = "CREATE TABLE teacher (teacher_id INTEGER PRIMARY KEY, hometown TEXT)"
    reading = read_example(Example("x", "Where are the teachers from?", schema, "SELECT hometown FROM teacher"))
    assert reading is not None and not [s for s in find_smells(reading) if "teacher_id" in s.detail]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT AVG(o.price) FROM orders AS o JOIN customers AS c ON o.customer_id = c.id",
        "SELECT o.day FROM customers AS c JOIN orders AS o ON c.id = o.customer_id",
        "SELECT o.day FROM orders AS o LEFT JOIN customers AS c ON c.id = o.id",
    ],
)
def test_a_table_that_changes_no_row_is_joined_for_nothing(sql: str) -> None:
    assert "table joined for nothing" in kinds("Which days?", sql)


@pytest.mark.parametrize(
    "sql",
    [
        # Its rows are what is counted, added up or listed.
        "SELECT COUNT(*) FROM customers AS c JOIN orders AS o ON o.customer_id = c.id WHERE c.city = 'Porto'",
        "SELECT COUNT(1) FROM orders AS o JOIN customers AS c ON c.id = o.customer_id WHERE c.city = 'Porto'",
        "SELECT c.city, SUM(c.age) FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id GROUP BY c.city",
        # It filters: customers with an order, orders whose number is a customer's.
        "SELECT DISTINCT c.name FROM customers AS c JOIN orders AS o ON o.customer_id = c.id",
        "SELECT o.day FROM orders AS o JOIN customers AS c ON c.id = o.id",
        # Something of it is used.
        "SELECT o.day, c.city FROM orders AS o JOIN customers AS c ON o.customer_id = c.id",
    ],
)
def test_a_table_that_multiplies_or_filters_rows_is_not(sql: str) -> None:
    assert "table joined for nothing" not in kinds("How many orders?", sql)


def test_every_kind_that_tells_something_is_one_that_is_found() -> None:
    """Each key of the weights stands in the source of a smell, or is what a model's likelihoods are called."""
    sources = "".join(
        p.read_text() for p in (REPOSITORY / "text2sql" / "data" / "audit").rglob("*.py") if p.stem != "weights"
    )
    likelier = {f"{place} {far}{LESS_LIKELY}" for place in get_args(Place) for far in ("", "far ")}
    assert [kind for kind in WEIGHTS if f'"{kind}"' not in sources and kind not in likelier] == []


# On real data


@pytest.fixture
def shop(tmp_path: Path) -> str:
    import sqlite3

    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as database:
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
            [(1, "Ines", "Lisbon", 40, "7"), (2, "Rui", "Faro", 40, "10"), (3, "Zoe", "Lisbon", 30, "9")],
        )
        database.executemany("INSERT INTO orders VALUES (?, ?, 5, NULL, NULL)", [(i, 1) for i in range(6)])
    database.close()
    return str(path)


@pytest.mark.parametrize(
    (
        "kind",
        "sql",
    ),
    [
        ("empty on its database", "SELECT name FROM customers WHERE city = 'Rome'"),
        ("zero on its database", "SELECT COUNT(*) FROM customers WHERE city = 'Rome'"),
        ("fails on its database", "SELECT nme FROM customers"),
        ("tie under LIMIT 1", "SELECT name FROM customers ORDER BY age DESC LIMIT 1"),
        ("arbitrary cut", "SELECT id FROM orders ORDER BY price LIMIT 2"),
        ("rows repeated by a join", f"SELECT c.name FROM {JOINED}"),
    ],
)
def test_real_data_tell(kind: str, sql: str, shop: str) -> None:
    reading = read_example(Example("x", "q", SCHEMA, sql, db=shop))
    assert reading is not None
    found, witness = run_on_database(reading)
    assert kind in {smell.kind for smell in found}
    assert witness or kind.startswith(("empty", "fails"))
    fine = read_example(Example("x", "q", SCHEMA, "SELECT name FROM customers ORDER BY age LIMIT 1", db=shop))
    assert fine is not None and run_on_database(fine) == ([], [])
