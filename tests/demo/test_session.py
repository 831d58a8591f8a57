"""What the demo does with a query: the check against the schema, its rows, and what it refuses."""

from __future__ import annotations

import base64
import csv
import io
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from text2sql.demo import view
from text2sql.demo.example import write_example
from text2sql.demo.session import CheckedQuery, Session, Source, check_and_run, check_query, text_source
from text2sql.errors import UserError
from text2sql.inference.ask import Answer


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Source]:
    session = Session(tmp_path)
    yield session.open_file(write_example(tmp_path))
    session.close()
    assert session.directory is not None and not session.directory.exists()


def test_a_query_is_checked_and_run(shop: Source) -> None:
    shown = check_and_run("SELECT name FROM customers WHERE city = 'Lisbon' ORDER BY name", shop)
    assert (shown.problems, shown.columns) == ((), ("name",))
    assert shown.rows == (("Ines",), ("Marta",), ("Nuno",))


def test_without_data_a_query_is_only_checked() -> None:
    source = text_source("CREATE TABLE goods (name TEXT, price REAL)")
    assert check_and_run("SELECT name FROM goods", source) == CheckedQuery("SELECT name FROM goods")
    assert check_and_run("SELECT cost FROM goods", source).problems == ("There is no column cost in the schema.",)


@pytest.mark.parametrize(
    ("sql", "problems"),
    [
        (
            "SELECT nme FROM customer",
            ["no table customer in", "mean customers", "no column nme in", "mean name"],
        ),
        ("SELECT c.name, c.price FROM customers AS c", ["no such column: c.price"]),
        ('SELECT name FROM customers WHERE city = "Lisbon" AND price > 1', ["SQLite says: no such column: price"]),
        ("SELEC name FROM customers", ["syntax error"]),
        ("SELECT name FROM customers; SELECT 1", ["one statement at a time"]),
        ("WITH x(total) AS (SELECT SUM(price) FROM orders) SELECT total, missing FROM x", ["no column missing in"]),
    ],
)
def test_what_does_not_fit_is_named(shop: Source, sql: str, problems: list[str]) -> None:
    said = " ".join(check_query(sql, shop))
    assert all(problem in said for problem in problems), said
    assert check_and_run(sql, shop).columns is None


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM customers",
        "DROP TABLE orders",
        "UPDATE customers SET name = ''",
        "INSERT INTO customers VALUES (9, 'x', 'y', 1)",
        "ATTACH 'other.db' AS other",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('x')",
        "SELECT * FROM sqlite_master",
        "VACUUM INTO 'copy.db'",
    ],
)
def test_nothing_but_reading(shop: Source, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shop.database is not None
    before, files = shop.database.location.path.read_bytes(), sorted(tmp_path.iterdir())
    problem = check_and_run(sql, shop).problems[0]
    assert "Refused" in problem and "Only queries that read" in problem, problem
    assert shop.database.location.path.read_bytes() == before and sorted(tmp_path.iterdir()) == files


def test_what_never_ends_is_stopped(shop: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.inference.ask.MAX_SECONDS", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    assert check_and_run(endless, shop).problems[0].startswith("Stopped: it takes too")


def test_many_rows_are_cut_and_that_is_said(shop: Source) -> None:
    shown = check_and_run("SELECT a.id FROM orders a, orders b, orders c", shop)
    assert (len(shown.rows), shown.overflow) == (100, True)
    assert "the first 100 rows" in view.result(shown)


def test_a_database_that_vanished(shop: Source) -> None:
    assert shop.database is not None
    shop.database.location.path.unlink()
    assert "cannot be read" in check_and_run("SELECT 1 FROM customers", shop).problems[0]


def test_an_answer_that_is_no_query_is_quoted(shop: Source) -> None:
    shown = check_and_run("", shop, Answer("", "I cannot.", True, 0.1))
    assert shown.problems == ('The model wrote no query, but: "I cannot."',) and "cut off" in shown.note
    assert check_and_run("", shop, Answer("", "", False, 0.1)).problems == ("The model wrote nothing.",)
    assert check_and_run(" ", shop).problems == ("There is no query to run.",)


@pytest.mark.parametrize(
    ("text", "what"),
    [("  ", "Write the CREATE TABLE"), ("hello", "no table in this schema"), ("x" * 200_001, "200,001 characters")],
)
def test_a_schema_that_is_none(text: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        text_source(text)


def test_what_is_shown_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    shown = CheckedQuery(evil, (), (evil,), ((evil, None, b"12", 3),))
    for html in (view.result(shown), view.result(CheckedQuery("", (evil,))), view.message(evil)):
        assert "<script>" not in html and "&lt;script&gt;" in html
    html = view.result(shown)
    assert "NULL" in html and "2 bytes" in html and "class='number'>3<" in html
    assert "1 row," in html


def test_the_copy_is_read_only(shop: Source) -> None:
    assert shop.database is not None
    assert stat.S_IMODE(shop.database.location.path.stat().st_mode) == 0o444


def test_rows_can_be_saved_as_they_are_and_never_as_formulas() -> None:
    rows = (("=1+1", None, b"\x01\xff", 'say "hi", please'), ("Ann", 2.5, None, "é"))
    page = view.result(CheckedQuery("SELECT 1", columns=("a", "b", "c", "d"), rows=rows))
    content = re.search(r"href='data:text/csv;base64,([^']+)'", page)
    assert content and ">Download the rows as CSV<" in page
    text = base64.b64decode(content[1]).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text))) == [
        ["a", "b", "c", "d"],
        ["'=1+1", "", "01ff", 'say "hi", please'],
        ["Ann", "2.5", "", "é"],
    ]
    assert ">Download these rows as CSV<" in view.result(
        CheckedQuery("SELECT 1", columns=("a",), rows=(), overflow=True)
    )
    assert "Download" not in view.result(CheckedQuery("SELECT 1"))
