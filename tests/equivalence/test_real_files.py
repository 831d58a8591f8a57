"""Real databases: journals, views, full-text tables, names like SQLite's own; files stay as they are."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from text2sql.evaluation import execution_match
from text2sql.sql.files import file_schema, first_rows, open_read_only

SHOP = "CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT)"


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in folder.iterdir()
    }


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """A database in WAL mode that a program has open, with frames that are not in the file."""
    path = tmp_path / "live" / "shop.sqlite"
    path.parent.mkdir()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute(SHOP)
    db.execute("INSERT INTO shop VALUES (1, 'first')")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("INSERT INTO shop VALUES (2, 'second')")
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, shop_id INTEGER)")
    db.execute("INSERT INTO orders VALUES (1, 1)")
    yield path
    db.close()


@pytest.fixture
def killed(live: Path, tmp_path: Path) -> Path:
    """The same, left behind by a program that was killed: the file and its journal, no index."""
    folder = tmp_path / "killed"
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{live}{suffix}", folder / f"{live.name}{suffix}")
    return folder / live.name


@pytest.mark.parametrize("which", ["live", "killed"])
def test_what_is_in_the_journal_is_read_and_nothing_is_touched(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    before = digests(path.parent)
    assert "orders" in file_schema(str(path)) and len(first_rows(str(path), "shop", 5)[1]) == 2
    verdict = execution_match("", "SELECT COUNT(*) FROM shop", "SELECT 1", str(path))
    assert verdict.status == "different" and "real database" in verdict.reason and verdict.unused_database is None
    assert verdict.witness is not None and verdict.witness.gold.rows == ((2,),)
    gold = "SELECT s.name FROM shop s JOIN orders o ON o.shop_id = s.id"
    assert execution_match("", gold, "SELECT name FROM shop WHERE id IN (1)", str(path)).status == "different"
    assert execution_match("", gold, f"{gold} WHERE 1", str(path)).correct
    assert execution_match("", gold, "DELETE FROM shop", str(path)).status == "refused"
    db = open_read_only(str(path))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("INSERT INTO shop VALUES (3, 'x')")
    db.close()
    assert digests(path.parent) == before


def test_a_transaction_that_did_not_end_is_rolled_back_in_a_copy_only(tmp_path: Path) -> None:
    path, folder = tmp_path / "d.sqlite", tmp_path / "killed"
    folder.mkdir()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(SHOP)
    db.executemany("INSERT INTO shop VALUES (?, ?)", [(i, "x" * 500) for i in range(2000)])
    db.execute("PRAGMA cache_size = 2")
    db.execute("BEGIN")
    db.execute("UPDATE shop SET name = 'y' || id")
    for suffix in ("", "-journal"):
        shutil.copyfile(f"{path}{suffix}", folder / f"d.sqlite{suffix}")
    db.close()
    before = digests(folder)
    with open_read_only(str(folder / "d.sqlite")) as copy:
        assert copy.execute("SELECT COUNT(*) FROM shop WHERE name LIKE 'y%'").fetchone() == (0,)
    copy.close()
    assert digests(folder) == before


@pytest.fixture
def odd(tmp_path: Path) -> str:
    path = tmp_path / "odd.sqlite"
    db = sqlite3.connect(path)
    db.executescript(
        """CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, active INTEGER);
        INSERT INTO customers VALUES (1, 'Ann', 1), (2, 'Bob', 0), (3, 'Cy', 1);
        CREATE VIEW active_customers AS SELECT id, name FROM customers WHERE active = 1;
        CREATE TABLE sqliteish (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE plain (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
        CREATE TABLE pragma_notes (id INTEGER, note TEXT); INSERT INTO pragma_notes VALUES (1, 'a');
        CREATE TABLE dbstats (id INTEGER); INSERT INTO dbstats VALUES (7);
        CREATE VIRTUAL TABLE docs USING fts5(title, body);
        INSERT INTO docs VALUES ('cat', 'a cat sat'), ('dog', 'a dog ran');"""
    )
    db.close()
    return str(path)


def test_a_schema_shows_what_the_data_is_and_not_what_sqlite_keeps(odd: str) -> None:
    schema = file_schema(odd)
    for name in ("customers", "active_customers", "sqliteish", "plain", "pragma_notes", "dbstats", "docs"):
        assert f"{name} " in schema
    assert "docs_" not in schema and "sqlite_sequence" not in schema


@pytest.mark.parametrize(
    ("gold", "predicted", "status"),
    [
        ("SELECT name FROM active_customers", "SELECT name FROM customers WHERE active = 1", "equivalent"),
        ("SELECT name FROM active_customers", "SELECT name FROM customers", "different"),
        ("SELECT note FROM pragma_notes", "SELECT p.note FROM pragma_notes p", "equivalent"),
        ("SELECT id FROM dbstats", "SELECT id + 1 FROM dbstats", "different"),
        ("SELECT name FROM sqliteish", "SELECT name FROM sqliteish s", "equivalent"),
        (
            "SELECT title FROM docs WHERE docs MATCH 'cat'",
            "SELECT title FROM docs WHERE docs MATCH 'cat'",
            "equivalent",
        ),
        ("SELECT title FROM docs WHERE docs MATCH 'cat'", "SELECT title FROM docs WHERE docs MATCH 'dog'", "different"),
        ("SELECT name FROM plain", "SELECT name FROM sqlite_master", "refused"),
        ("SELECT name FROM plain", "SELECT * FROM pragma_table_info('plain')", "refused"),
    ],
)
def test_queries_on_them(gold: str, predicted: str, status: str, odd: str) -> None:
    verdict = execution_match("", gold, predicted, odd)
    assert verdict.status == status and verdict.unused_database is None, verdict


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100, "other"])
def test_a_real_database_that_takes_no_part_is_said(content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE unrelated (a)")
        db.close()
    for predicted, status in (("SELECT name FROM shop s", "equivalent"), ("SELECT id FROM shop", "different")):
        verdict = execution_match(SHOP, "SELECT name FROM shop", predicted, str(path))
        assert verdict.status == status and verdict.unused_database
        assert "The real database takes no part" in verdict.reason
    used = execution_match(SHOP, "SELECT name FROM shop", "SELECT name FROM shop s")
    assert used.unused_database is None and "no part" not in used.reason
