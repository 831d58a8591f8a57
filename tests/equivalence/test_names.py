"""Names: aliases in double quotes, reserved words, letters beyond ASCII, misspelt columns with and without a file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from text2sql.evaluation import execution_match

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, n INTEGER)"
ORDERS = 'CREATE TABLE "order" (id INTEGER PRIMARY KEY, total INTEGER, "group" TEXT)'


@pytest.mark.parametrize(
    ("gold", "predicted", "correct"),
    [
        ('SELECT c "my region", COUNT(*) FROM t GROUP BY "my region"', "SELECT c, COUNT(*) FROM t GROUP BY c", True),
        ('SELECT "k" FROM (SELECT c "k" FROM t)', "SELECT c FROM t", True),
        ('SELECT "k" FROM (SELECT c "k" FROM t)', "SELECT 'k' FROM t", False),
        (
            'SELECT c, COUNT(*) "n of" FROM t GROUP BY c HAVING "n of" > 1',
            "SELECT c, COUNT(*) FROM t GROUP BY c",
            False,
        ),
        ('SELECT n + 1 "next" FROM t ORDER BY "next" DESC', "SELECT n + 1 FROM t ORDER BY n DESC", True),
        ('SELECT n + 1 "next" FROM t ORDER BY "next" DESC', "SELECT n + 1 FROM t ORDER BY n", False),
        ('SELECT CASE WHEN n > 1 THEN "a" ELSE "b" END "kind" FROM t', "SELECT IIF(n > 1, 'a', 'b') FROM t", True),
        ('SELECT "u"."c" FROM t "u" WHERE "u"."n" = 3', "SELECT c FROM t WHERE n = 3", True),
        ('SELECT c "x" FROM t UNION SELECT "y" FROM (SELECT c "y" FROM t)', "SELECT DISTINCT c FROM t", True),
        ('WITH "w" AS (SELECT c "v" FROM t) SELECT "v" FROM "w"', "SELECT c FROM t", True),
        ('SELECT MAX(n) "top" FROM t HAVING "top" > 2', "SELECT MAX(n) FROM t HAVING MAX(n) > 2", True),
        ('SELECT c FROM t WHERE c = "x" AND n IN (1, 2)', "SELECT c FROM t WHERE c = 'x' AND n IN (1, 2)", True),
        ('SELECT c FROM t WHERE c LIKE "x%" OR c BETWEEN "a" AND "b"', 'SELECT c FROM t WHERE c LIKE "x%"', False),
        ('SELECT c FROM t WHERE NOT c = "x"', "SELECT c FROM t WHERE c <> 'x'", True),
    ],
)
def test_a_name_in_double_quotes_may_be_given_without_as(gold: str, predicted: str, correct: bool) -> None:
    verdict = execution_match(SCHEMA, gold, predicted)
    assert verdict.correct == correct and verdict.status in ("equivalent", "different", "error"), verdict


@pytest.mark.parametrize(
    "predicted",
    [
        "SELECT total FROM order",
        "SELECT group FROM `order`",
        "SELECT total, group FROM [order]",
        "SELECT o.total FROM order o",
    ],
)
def test_a_reserved_word_is_an_error_as_sqlite_has_it(predicted: str) -> None:
    verdict = execution_match(ORDERS, 'SELECT total FROM "order"', predicted)
    assert verdict.status == "error" and "syntax error" in verdict.reason


def test_where_the_gold_query_needs_it_a_reserved_word_is_quoted_and_that_is_said() -> None:
    for predicted in ("SELECT total FROM order", 'SELECT total FROM "order"', "SELECT order.total FROM order"):
        verdict = execution_match(ORDERS, "SELECT total FROM order", predicted)
        assert verdict.correct and "Quoted, because SQLite takes them for keywords: order" in verdict.reason
    # Another word than the one that the data set writes so.
    assert execution_match(ORDERS, "SELECT total FROM order", "SELECT group FROM order").status == "error"


LETTERS = 'CREATE TABLE t (id INTEGER PRIMARY KEY, "É" INTEGER, "é" INTEGER, ñandú TEXT)'


@pytest.mark.parametrize(
    ("gold", "predicted", "status"),
    [
        ('SELECT "É" FROM t', "SELECT É FROM t", "equivalent"),
        ('SELECT "É" FROM t', "SELECT é FROM t", "different"),
        ("SELECT É FROM t WHERE é > 3", "SELECT É FROM t WHERE É > 3", "different"),
        ("SELECT é FROM t", "SELECT T.é FROM T", "equivalent"),
        ("SELECT ñandú FROM t", "SELECT Ñandú FROM t", "error"),
        ("SELECT ñandú FROM t", "SELECT ñandÚ FROM t", "error"),
        ("SELECT ñandú FROM t", "SELECT ñANDú FROM t", "equivalent"),
    ],
)
def test_only_ascii_letters_have_another_case(gold: str, predicted: str, status: str) -> None:
    assert execution_match(LETTERS, gold, predicted).status == status


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(SCHEMA)
        db.executemany("INSERT INTO t VALUES (?, ?, ?)", [(1, "a", 3), (2, "b", 4)])
    db.close()
    return str(path)


@pytest.mark.parametrize("quotes", ["`{}`", "[{}]", '"{}"', "{}"])
@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT n FROM t", "SELECT {x} FROM t"),
        ("SELECT n FROM t WHERE n = 3", "SELECT n FROM t WHERE {x} = 3"),
        ("SELECT n FROM t WHERE {x} = 3", "SELECT n FROM t WHERE {x} = 3"),
        ("SELECT {x} FROM t", "SELECT c FROM t"),
        ("SELECT c FROM t ORDER BY {x}", "SELECT c FROM t ORDER BY n"),
    ],
)
def test_a_misspelt_column_is_the_same_with_and_without_a_file(
    gold: str, predicted: str, quotes: str, file: str
) -> None:
    name = quotes.format("nn")
    gold, predicted = gold.replace("{x}", name), predicted.replace("{x}", name)
    found = [
        execution_match(schema, gold, predicted, path) for schema, path in ((SCHEMA, None), (SCHEMA, file), ("", file))
    ]
    assert len({verdict.status for verdict in found}) == 1, found
