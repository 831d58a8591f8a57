"""CREATE statements beyond plain tables: what a schema declares is kept, and SQLite accepts how it is written."""

from __future__ import annotations

import sqlite3

from text2sql.sql.ddl import parse_schema
from text2sql.sql.loading import create_table
from text2sql.sql.schema import used_views

SCHEMA = """
CREATE TABLE word (id INTEGER PRIMARY KEY, w TEXT COLLATE NOCASE, n INT CHECK (n > 0),
  twice INT GENERATED ALWAYS AS (n * 2) STORED, thrice INT AS (n * 3));
CREATE TABLE pair (a INT, b INT, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS big (word, "its number") AS SELECT w, n FROM word WHERE w <> ';' AND n > 9;
CREATE VIEW bigger AS SELECT * FROM big;
CREATE VIRTUAL TABLE docs USING fts5(title, body UNINDEXED, tokenize = 'porter ascii', content = 'word');
CREATE VIRTUAL TABLE shape USING rtree(id, x, y);
"""


def _created() -> sqlite3.Connection:
    schema = parse_schema(SCHEMA)
    db = sqlite3.connect(":memory:")
    for part in (*schema.tables.values(), *schema.views.values()):
        db.execute(part.ddl())
    return db


def test_what_is_declared_is_kept() -> None:
    tables = parse_schema(SCHEMA).tables
    assert list(tables) == ["word", "pair", "docs"]
    assert tables["word"].columns["w"].collation == "NOCASE"
    assert tables["word"].stored_columns == ["id", "w", "n"]
    assert tables["word"].columns["twice"].generated == "n * 2"
    assert tables["pair"].without_rowid and tables["pair"].rowid is None
    assert tables["word"].rowid == "id"
    # Another table's content, which a search would read, is no part of it.
    assert tables["docs"].full_text == "fts5 tokenize = 'porter ascii'"


def test_sqlite_computes_and_compares_as_declared() -> None:
    db = _created()
    db.execute("INSERT INTO word (id, w, n) VALUES (1, 'Tree', 10)")
    assert db.execute("SELECT twice, thrice FROM word WHERE w = 'tree'").fetchall() == [(20, 30)]
    assert db.execute("SELECT `its number` FROM bigger").fetchall() == [(10,)]
    db.execute("INSERT INTO docs VALUES ('cats', 'a cat sat')")
    assert db.execute("SELECT title FROM docs WHERE docs MATCH 'cat'").fetchall() == [("cats",)]


def test_views_that_a_view_reads_come_with_it() -> None:
    schema = parse_schema(SCHEMA)
    assert [view.name for view in used_views(schema, {"bigger"})] == ["big", "bigger"]
    assert [view.name for view in used_views(schema, {"big"})] == ["big"]
    assert used_views(schema, {"word"}) == []


def test_keys_that_come_after_their_table() -> None:
    tables = parse_schema("""
    CREATE TABLE room (id INT, name TEXT); CREATE TABLE seat (id INT, room INT, nr INT, note TEXT);
    ALTER TABLE ONLY public.room ADD CONSTRAINT room_pkey PRIMARY KEY (id);
    ALTER TABLE seat ADD UNIQUE (note), ADD CONSTRAINT within FOREIGN KEY (room) REFERENCES room (id);
    ALTER TABLE seat ADD COLUMN later INT;
    CREATE UNIQUE INDEX IF NOT EXISTS place ON public.seat USING btree (room, nr DESC);
    CREATE UNIQUE INDEX front ON seat (room) WHERE nr = 1; CREATE UNIQUE INDEX ON seat (lower(note));
    CREATE INDEX slow ON seat (nr); CREATE UNIQUE INDEX elsewhere ON nowhere (a);
    """).tables
    assert tables["room"].primary_key == ("id",)
    assert tables["seat"].uniques == [("note",), ("room", "nr")]
    assert tables["seat"].indexes == ["(room) WHERE nr = 1", "(lower(note))"]
    assert [key.parent for key in tables["seat"].foreign_keys] == ["room"]


def test_a_check_that_sqlite_does_not_understand_does_not_take_the_others_with_it() -> None:
    table = parse_schema("CREATE TABLE t (n INT CHECK (n > 0), m INT, code TEXT CHECK (code !~* 'x'), CHECK (m > n))")
    db = sqlite3.connect(":memory:")
    create_table(db, table.tables["t"])
    db.executemany("INSERT OR IGNORE INTO t VALUES (?, ?, ?)", [(1, 2, "x"), (0, 2, "a"), (2, 1, "a")])
    assert db.execute("SELECT n, m, code FROM t").fetchall() == [(1, 2, "x")]


def test_the_signs_of_one_operator_stay_together() -> None:
    schema = parse_schema("CREATE TABLE t (a TEXT CHECK (a !~* 'x' AND a||'y'<>'z'), b JSONB CHECK (b @> '{}'))")
    assert schema.tables["t"].checks == ["a !~* 'x' AND a || 'y' <> 'z'", "b @> '{}'"]
