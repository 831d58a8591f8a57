"""What a query computes in an engine its translation computes in SQLite, or fails there: never another thing."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterator

import pytest

from tests.support.engines import require_engine
from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine import Engine, open_engine
from text2sql.engines.translation.to_sqlite import translate_to_sqlite
from text2sql.engines.trees import parse_query

ROWS = [
    (
        str(datetime.date(2015, 12, 20) + datetime.timedelta(days=5 * number)),
        str(datetime.date(2015, 12, 20) + datetime.timedelta(days=5 * number + number % 70)),
        ("alpha", "xy", "", "O")[number % 4],
        (12.349, -7.25, 0.29, 1234.5)[number % 4],
        (None, "p", "")[number % 3],
    )
    for number in range(300)
]
# Which are said in SQLite; the others must fail there.
SAID: dict[Dialect, tuple[str, ...]] = {
    "mysql": (
        *("DAYOFWEEK(d)", "WEEKDAY(d)", "WEEK(d)", "WEEK(d, 3)", "WEEKOFYEAR(d)", "QUARTER(d)", "DAYOFYEAR(d)"),
        *("EXTRACT(WEEK FROM d)", "EXTRACT(QUARTER FROM d)", "DATEDIFF(e, d)", "DATE_FORMAT(d, '%Y-%m')"),
        *("CONCAT_WS('-', s, u, s)", "TRUNCATE(a, 1)", "TRUNCATE(a, -2)", "ROUND(a, -2)", "ROUND(a, 1)", "LEFT(s, 2)"),
        *("s = BINARY 'XY'", "s = BINARY 'xy'"),
    ),
    "postgres": (
        *("EXTRACT(DOW FROM d)", "EXTRACT(ISODOW FROM d)", "EXTRACT(WEEK FROM d)", "EXTRACT(QUARTER FROM d)"),
        *("EXTRACT(DOY FROM d)", "date_part('isodow', d)", "date_part('week', d)", "TO_CHAR(d, 'YYYY-MM')"),
        *("concat_ws(', ', s, u)", "TRUNC(a, 1)", "TRUNC(a, -1)", "TRUNC(a)", "ROUND(a, -1)", "LEFT(s, -1)"),
    ),
    "duckdb": (
        *("dayofweek(d)", "weekday(d)", "isodow(d)", "week(d)", "weekofyear(d)", "quarter(d)", "date_part('dow', d)"),
        *("date_part('isodow', d)", "date_diff('month', d, e)", "date_diff('year', d, e)", "date_diff('day', d, e)"),
        *("concat_ws('-', s, u)", "left(s, -1)", "round(a, -1)", "strftime(d, '%Y')"),
    ),
}
UNSAID: dict[Dialect, tuple[str, ...]] = {
    "mysql": ("WEEK(d, 1)", "MONTHNAME(d)", "DATE_FORMAT(d, '%b')"),
    "postgres": ("SUBSTRING(s FROM 'l.')", "TO_CHAR(a, '999')", "TO_CHAR(d, 'Mon')", "EXTRACT(EPOCH FROM n - m)"),
    "duckdb": ("s[1]", "s[2:3]", "date_diff('week', d, e)", "strftime(d, '%B')", "epoch(n - m)"),
}


@pytest.fixture
def sqlite() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE made (d TEXT, e TEXT, s TEXT, a NUMERIC, u TEXT, n TEXT, m TEXT)")
    db.executemany("INSERT INTO made (d, e, s, a, u) VALUES (?, ?, ?, ?, ?)", ROWS)
    yield db
    db.close()


def opened(dialect: Dialect) -> Engine:
    require_engine(dialect)
    engine = open_engine(dialect)
    modifier = engine.table_modifier(False)
    engine.create_tables(
        [f"CREATE {modifier} TABLE made (d DATE, e DATE, s VARCHAR(20), a DECIMAL(12, 4), u VARCHAR(9))"],
        [f"DROP {modifier} TABLE made"],
    )
    listed = ", ".join(
        "(" + ", ".join("NULL" if value is None else f"'{value}'" for value in row) + ")" for row in ROWS
    )
    engine.replace_rows([f"INSERT INTO made VALUES {listed}"])
    return engine


def translated(expression: str, dialect: Dialect) -> str:
    tree = parse_query(f"SELECT {expression} FROM made", dialect)
    found = translate_to_sqlite(tree, dialect) if tree is not None else None
    assert found is not None
    return found.sql


def plain(value: object) -> object:
    return round(float(value), 6) if isinstance(value, (int, float)) else value


@pytest.mark.parametrize(("dialect", "expression"), [(name, text) for name, texts in SAID.items() for text in texts])
def test_a_translation_computes_what_the_engine_does(
    dialect: Dialect, expression: str, sqlite: sqlite3.Connection
) -> None:
    engine = opened(dialect)
    try:
        own = [plain(value) for (value,) in engine.query(f"SELECT {expression} FROM made", 4.0, 1000).rows]
    finally:
        engine.drop_tables()
    assert [plain(value) for (value,) in sqlite.execute(translated(expression, dialect))] == own


@pytest.mark.parametrize(("dialect", "expression"), [(name, text) for name, texts in UNSAID.items() for text in texts])
def test_what_sqlite_cannot_compute_fails_there(dialect: Dialect, expression: str, sqlite: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.Error):
        sqlite.execute(translated(expression, dialect)).fetchall()
