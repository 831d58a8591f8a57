"""What counts as the same query, on cases made by hand."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from text2sql.evaluation import Verdict, execution_match

SHOP = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT NOT NULL, joined DATE);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customer(id), amount REAL,
  status TEXT, CHECK (amount >= 0));
CREATE TABLE loose (a VARCHAR, b VARCHAR, n INTEGER)
"""

SAME = [
    ("SELECT name FROM customer", "select c.name from customer as c"),
    ("SELECT COUNT(*) FROM customer", "SELECT COUNT(id) FROM customer"),
    ("SELECT COUNT(*) FROM customer", "SELECT COUNT(city) FROM customer"),
    ("SELECT DISTINCT id FROM customer", "SELECT id FROM customer"),
    ("SELECT n FROM loose WHERE n > 3", "SELECT n FROM loose WHERE n >= 4"),
    ("SELECT a FROM loose WHERE n BETWEEN 2 AND 4", "SELECT a FROM loose WHERE n >= 2 AND n <= 4"),
    ("SELECT a FROM loose WHERE a IN ('x', 'y')", 'SELECT a FROM loose WHERE a = "x" OR a = "y"'),
    (
        "SELECT c.name FROM customer c JOIN purchase p ON c.id = p.customer_id",
        "SELECT name FROM purchase, customer WHERE customer.id = customer_id",
    ),
    (
        "SELECT p.id FROM purchase p JOIN customer c ON c.id = p.customer_id",
        "SELECT id FROM purchase",
    ),
    (
        "SELECT name FROM customer WHERE id IN (SELECT customer_id FROM purchase WHERE amount > 10)",
        "SELECT name FROM customer c WHERE EXISTS (SELECT 1 FROM purchase p WHERE customer_id = c.id AND amount > 10)",
    ),
    ("SELECT city FROM customer EXCEPT SELECT city FROM customer WHERE id = 3", None),
    (
        "SELECT name FROM customer ORDER BY id LIMIT 1",
        "SELECT name FROM customer WHERE id = (SELECT MIN(id) FROM customer)",
    ),
    ("SELECT city, COUNT(*) FROM customer GROUP BY city ORDER BY COUNT(*) DESC LIMIT 1", None),
    ("SELECT a FROM loose ORDER BY n", "SELECT a FROM loose ORDER BY n, b"),
    ("SELECT a FROM loose GROUP BY a HAVING COUNT(*) > 20", "SELECT a FROM loose GROUP BY a HAVING COUNT(*) >= 21"),
    ("SELECT AVG(amount) FROM purchase", "SELECT SUM(amount) / COUNT(amount) FROM purchase"),
    ("SELECT id FROM purchase WHERE amount >= 0 OR amount IS NULL", "SELECT id FROM purchase"),
    (
        "SELECT name FROM customer WHERE strftime('%Y', joined) = '2019'",
        "SELECT name FROM customer WHERE strftime('%Y', joined) IN ('2019')",
    ),
]

DIFFERENT = [
    ("SELECT name FROM customer", "SELECT city FROM customer"),
    ("SELECT name FROM customer", "SELECT DISTINCT name FROM customer"),
    ("SELECT COUNT(*) FROM customer", "SELECT COUNT(name) FROM customer"),
    ("SELECT a FROM loose WHERE n > 3", "SELECT a FROM loose WHERE n >= 3"),
    ("SELECT a FROM loose WHERE a = 'Paris'", "SELECT a FROM loose WHERE a = 'paris'"),
    ("SELECT a FROM loose WHERE a LIKE 'Pa%'", "SELECT a FROM loose WHERE a LIKE '%Pa%'"),
    ("SELECT a FROM loose WHERE n > 3 AND a = 'x'", "SELECT a FROM loose WHERE n > 3 OR a = 'x'"),
    ("SELECT AVG(n) FROM loose", "SELECT AVG(DISTINCT n) FROM loose"),
    ("SELECT MAX(n) FROM loose", "SELECT n FROM loose ORDER BY n DESC LIMIT 1"),
    ("SELECT MAX(a) FROM loose", "SELECT MAX(CAST(a AS INTEGER)) FROM loose"),
    ("SELECT a FROM loose ORDER BY n", "SELECT a FROM loose"),
    ("SELECT name FROM customer ORDER BY id", "SELECT name FROM customer"),
    ("SELECT a FROM loose ORDER BY n, b", "SELECT a FROM loose ORDER BY n"),
    ("SELECT a FROM loose ORDER BY n LIMIT 3", "SELECT a FROM loose ORDER BY n LIMIT 4"),
    ("SELECT a FROM loose GROUP BY a HAVING COUNT(*) > 20", "SELECT a FROM loose GROUP BY a HAVING COUNT(*) > 21"),
    ("SELECT a FROM loose UNION SELECT b FROM loose", "SELECT a FROM loose UNION ALL SELECT b FROM loose"),
    ("SELECT a FROM loose INTERSECT SELECT b FROM loose", "SELECT a FROM loose WHERE a = b"),
    (
        "SELECT name FROM customer WHERE id NOT IN (SELECT customer_id FROM purchase)",
        "SELECT name FROM customer WHERE id NOT IN (SELECT id FROM purchase)",
    ),
    (
        "SELECT name FROM customer c JOIN purchase p ON c.id = p.customer_id",
        "SELECT name FROM customer c LEFT JOIN purchase p ON c.id = p.customer_id",
    ),
    (
        "SELECT SUM(amount) FROM purchase WHERE status = 'paid'",
        "SELECT SUM(amount) FROM purchase p JOIN customer c ON c.id = customer_id WHERE status = 'paid' AND name <> ''",
    ),
    ("SELECT name, city FROM customer", "SELECT city, name FROM customer"),
]


@pytest.mark.parametrize(("gold", "predicted"), SAME)
def test_equivalent(gold: str, predicted: str | None) -> None:
    verdict = execution_match(SHOP, gold, predicted or gold)
    assert verdict.status == "equivalent", verdict
    assert verdict.correct and verdict.strict and verdict.lenient


@pytest.mark.parametrize(("gold", "predicted"), DIFFERENT)
def test_different_with_a_witness_that_proves_it(gold: str, predicted: str) -> None:
    verdict = execution_match(SHOP, gold, predicted)
    assert verdict.status == "different" and not verdict.correct, verdict
    witness = verdict.witness
    assert witness is not None and verdict.reason.endswith(".")
    assert (witness.gold.columns, witness.gold.rows) != (witness.predicted.columns, witness.predicted.rows)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))).to_dict() == verdict.to_dict()


def test_the_witness_can_be_replayed_and_keeps_the_declared_keys() -> None:
    gold = "SELECT name FROM customer c JOIN purchase p ON c.id = p.customer_id WHERE amount > 5"
    predicted = "SELECT name FROM customer c JOIN purchase p ON c.id = p.id WHERE amount > 5"
    witness = execution_match(SHOP, gold, predicted).witness
    assert witness is not None
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA foreign_keys = ON")
    db.executescript(SHOP)
    for name in ("customer", "purchase"):
        rows = witness.tables[name].rows
        db.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(witness.tables[name].columns))})", rows)
    assert sorted(db.execute(gold).fetchall(), key=repr) == sorted(witness.gold.rows, key=repr)
    assert sorted(db.execute(predicted).fetchall(), key=repr) == sorted(witness.predicted.rows, key=repr)
    assert sum(len(table.rows) for table in witness.tables.values()) <= 4


@pytest.mark.parametrize(
    ("gold", "predicted", "lenient"),
    [
        ("SELECT a, b FROM loose", "SELECT b, a FROM loose", True),
        ("SELECT DISTINCT a FROM loose", "SELECT a FROM loose", True),
        ("SELECT a FROM loose ORDER BY n", "SELECT a FROM loose", True),
        ("SELECT a, b FROM loose", "SELECT b, b FROM loose", False),
        ("SELECT a, b FROM loose WHERE n > 1", "SELECT b, a FROM loose", False),
    ],
)
def test_the_lenient_convention(gold: str, predicted: str, lenient: bool) -> None:
    verdict = execution_match(SHOP, gold, predicted)
    assert verdict.status == "different" and verdict.lenient is lenient


def test_many_columns_are_matched_not_permuted() -> None:
    columns = ", ".join(f"c{i} INTEGER" for i in range(14))
    gold = "SELECT " + ", ".join(f"c{i}" for i in range(14)) + " FROM wide"
    predicted = "SELECT " + ", ".join(f"c{i}" for i in reversed(range(14))) + " FROM wide"
    verdict = execution_match(f"CREATE TABLE wide ({columns})", gold, predicted)
    assert verdict.status == "different" and verdict.lenient


@pytest.mark.parametrize(
    ("predicted", "status", "part"),
    [
        ("", "error", "no SQL"),
        ("I cannot answer that.", "error", "no SQL"),
        ("SELECT nope FROM loose", "error", "no such column: nope"),
        ("SELECT a FROM nowhere", "error", "no such table"),
        ("SELECT a FROM loose WHERE", "error", "incomplete"),
        ('SELECT "nmae" FROM customer', "error", "nmae"),
        ("SELECT name FROM customer WHERE \"ctiy\" = 'x'", "error", "ctiy"),
        ('SELECT name FROM customer WHERE "ctiy" = "x"', "error", "ctiy"),
    ],
)
def test_errors_say_what_is_wrong(predicted: str, status: str, part: str) -> None:
    verdict = execution_match(SHOP, "SELECT name FROM customer", predicted)
    assert verdict.status == status and part in verdict.reason
    assert not verdict.correct and not verdict.lenient


def test_agreement_on_nothing_is_undecided() -> None:
    for gold in ("SELECT a FROM loose WHERE n > 5 AND n < 3", "SELECT MAX(n) FROM loose WHERE 1 = 0"):
        for predicted in (gold, "SELECT a FROM loose WHERE n <> n"):
            if "MAX" in gold and predicted != gold:
                continue
            verdict = execution_match(SHOP, gold, predicted)
            assert verdict.status == "undecided" and "proves nothing" in verdict.reason


def test_a_broken_gold_query_is_undecided() -> None:
    verdict = execution_match(SHOP, "SELECT FROM", "SELECT name FROM customer")
    assert verdict.status == "undecided" and "gold" in verdict.reason


def test_habits_of_sql_create_context() -> None:
    twice = "CREATE TABLE t (a VARCHAR); CREATE TABLE T (A VARCHAR, b VARCHAR)"
    assert execution_match(twice, 'SELECT a FROM t WHERE b = "x"', "SELECT A FROM T WHERE b = 'x'").correct
    keyword = "CREATE TABLE t (drop VARCHAR, cast VARCHAR)"
    assert execution_match(
        keyword, 'SELECT cast FROM t WHERE drop = "x"', "SELECT `cast` FROM t WHERE `drop` = 'x'"
    ).correct
    forgotten = "CREATE TABLE t (a VARCHAR)"
    gold = 'SELECT a FROM t WHERE lost = "x"'
    assert execution_match(forgotten, gold, "SELECT t.a FROM t WHERE t.lost = 'x'").correct
    assert execution_match(forgotten, "SELECT a FROM t", "SELECT a FROM t WHERE lost = 'x'").status == "error"
    # A literal that is a column's name is that column, as SQLite reads it.
    assert execution_match(
        "CREATE TABLE t (a TEXT, b TEXT)", 'SELECT a FROM t WHERE a = "b"', "SELECT a FROM t WHERE a = b"
    ).correct


def test_deterministic_from_the_seed() -> None:
    gold, predicted = "SELECT AVG(n) FROM loose", "SELECT AVG(DISTINCT n) FROM loose"
    first, second = (execution_match(SHOP, gold, predicted, seed=4) for _ in range(2))
    assert first.to_dict() == second.to_dict()


def test_a_real_database_is_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "real.sqlite"
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE t (a INTEGER, b INTEGER); INSERT INTO t VALUES (1, 2), (3, 3)")
    db.close()
    before = path.read_bytes()
    gold = "SELECT a FROM t"
    verdict = execution_match("", gold, "SELECT b FROM t", str(path))
    assert verdict.status == "different" and "real database" in verdict.reason
    assert execution_match("", gold, "SELECT t.a FROM t", str(path)).correct
    assert execution_match("", gold, "DELETE FROM t", str(path)).status == "refused"
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["real.sqlite"]
    missing = execution_match("", gold, gold, str(tmp_path / "none.sqlite"))
    assert missing.status == "undecided" and not (tmp_path / "none.sqlite").exists()


def test_a_column_may_be_named_like_a_keyword_that_sqlite_alone_takes_as_a_name() -> None:
    schema, gold = "CREATE TABLE games (won VARCHAR, for VARCHAR)", "SELECT COUNT(won) FROM games WHERE for = 29"
    assert execution_match(schema, gold, "SELECT COUNT(won) FROM games WHERE 29 = for").status == "equivalent"
    assert execution_match(schema, gold, "SELECT COUNT(won) FROM games WHERE for = 28").status == "different"


@pytest.mark.parametrize("condition", ["id IN (2.5)", "id = 'n/a'", "id IN ('', 1, -7)", "id <> '%'"])
def test_an_integer_key_holds_integers_whatever_the_gold_query_compares_it_with(condition: str) -> None:
    schema = "CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"
    verdict = execution_match(schema, f"SELECT name FROM team WHERE {condition} OR name = 'x'", "SELECT id FROM team")
    assert verdict.status == "different", verdict


def test_a_foreign_key_through_a_table_that_no_query_reads_holds() -> None:
    rooms = """CREATE TABLE hotel (id INTEGER PRIMARY KEY, city TEXT NOT NULL);
    CREATE TABLE room (hotel INTEGER NOT NULL REFERENCES hotel(id), no INTEGER NOT NULL, PRIMARY KEY (hotel, no));
    CREATE TABLE stay (id INTEGER PRIMARY KEY, hotel INTEGER NOT NULL, no INTEGER{}, FOREIGN KEY (hotel, no)
      REFERENCES room(hotel, no))"""
    gold = "SELECT id FROM stay WHERE hotel NOT IN (SELECT id FROM hotel WHERE city = 'Rome')"
    predicted = "SELECT stay.id FROM stay JOIN hotel ON hotel.id = hotel WHERE city <> 'Rome'"
    assert execution_match(rooms.format(" NOT NULL"), gold, predicted).status == "equivalent"
    # NULL in one of its columns leaves the whole key open.
    assert execution_match(rooms.format(""), gold, predicted).status == "different"
