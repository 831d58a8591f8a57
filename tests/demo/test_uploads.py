"""Files that people give the demo: what is taken, and what is said of the rest."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from text2sql.demo import uploads
from text2sql.demo.session import Session
from text2sql.demo.view import describe_source
from text2sql.errors import UserError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "copies"
    path.mkdir()
    return path


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def test_a_database_is_copied_and_the_copy_is_read_only(tmp_path: Path, place: Path) -> None:
    original = tmp_path / "shop.db"
    with closing(sqlite3.connect(original)) as database, database:
        database.execute("CREATE TABLE goods (name TEXT)")
    before = hashlib.sha256(original.read_bytes()).digest()
    copy, _ = uploads.copy_database(original, place)
    assert copy.parent == place and copy.stat().st_mode & 0o222 == 0
    assert uploads.database_schema(copy, "shop.db") == "CREATE TABLE goods (name TEXT)"
    assert hashlib.sha256(original.read_bytes()).digest() == before
    assert sorted(os.listdir(place)) == ["shop.sqlite"]


def test_a_csv_becomes_a_table_with_types(tmp_path: Path, place: Path) -> None:
    path = tmp_path / "Sales 2026.csv"
    path.write_text(
        'Unit Price;Pieces;Code;Name;2nd;Name;Order\n1.5;2;007;"a; b";x;1;up\n3;-4;12;"say ""hi""";;2;\n;;;;;;\n',
        encoding="utf-8-sig",
    )
    copy, _ = uploads.copy_database(path, place)
    assert uploads.database_schema(copy, path.name) == (
        "CREATE TABLE Sales_2026 (Unit_Price REAL, Pieces INTEGER, Code TEXT, Name TEXT, c_2nd TEXT, Name_6 INTEGER, "
        "`Order` TEXT)"
    )
    assert rows(copy, "SELECT * FROM Sales_2026") == [
        (1.5, 2, "007", "a; b", "x", 1, "up"),
        (3.0, -4, "12", 'say "hi"', None, 2, None),
        (None,) * 7,
    ]


@pytest.mark.parametrize("text", ["name\nAda\nBob\n", "name\tage\nAda\t3\nBob\t4\n", "name,age\r\nAda,3\r\nBob,4\r\n"])
def test_separators_are_found(tmp_path: Path, place: Path, text: str) -> None:
    path = tmp_path / "people.tsv"
    path.write_text(text)
    assert [row[0] for row in rows(uploads.copy_database(path, place)[0], "SELECT * FROM people")] == ["Ada", "Bob"]


def test_another_encoding(tmp_path: Path, place: Path) -> None:
    path = tmp_path / "cities.csv"
    path.write_bytes("city,n\n“Málaga”,1\n".encode("cp1252"))
    copy, note = uploads.copy_database(path, place)
    assert rows(copy, "SELECT city FROM cities") == [("“Málaga”",)] and "Windows-1252" in note


def test_a_stray_byte_is_said_on_the_page(tmp_path: Path) -> None:
    path = tmp_path / "cities.csv"
    path.write_bytes("name,city\nJosé,München\nJos".encode() + b"\xe9,Lyon\n")
    session = Session(tmp_path)
    source = session.open_file(path)
    assert source.database is not None
    assert rows(source.database.location.path, "SELECT name FROM cities") == [("José",), ("Jos\ufffd",)]
    assert "not UTF-8: 1, the first in line 3" in describe_source(source)
    session.close()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("notes.db", b"no database", "notes.db is neither a SQLite database nor a CSV file"),
        ("damaged.db", uploads.MAGIC + b"\x10\x00rubbish" * 500, "damaged SQLite database"),
        ("empty.csv", b"", "empty.csv is empty"),
        ("header.csv", b"a,b\n", "has a header but no rows"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header names 2 columns"),
        ("binary.csv", b"a,b\n\x00\x01,2\n", "binary.csv is not a CSV file that can be read: it is not a text file"),
        ("wide.csv", b",".join([b"a"] * 201) + b"\n", "201 columns; at most 200"),
        ("photo.png", b"\x89PNG", "photo.png is neither"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_kept(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    session = Session(tmp_path)
    with pytest.raises(UserError, match=what):
        session.open_file(path)
    assert session.directory is not None and not list(session.directory.iterdir())
    session.close()


def test_an_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (a)")
        database.execute("DROP TABLE t")
    session = Session(tmp_path)
    with pytest.raises(UserError, match="without tables"):
        session.open_file(path)
    session.close()


def test_a_csv_of_a_gigabyte_is_refused_at_once(tmp_path: Path, place: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.write(b"a,b\n1,2\n")
        # A sparse file takes no space on the disk.
        file.truncate(10**9)
    with pytest.raises(UserError, match=r"huge.csv has 1,000 MB; a CSV file may have at most 50 MB\. Take a sample"):
        uploads.copy_database(path, place)
    assert not list(place.iterdir())
