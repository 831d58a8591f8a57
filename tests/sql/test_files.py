"""Databases as data sets ship them: read-only files, and the schemas of a tables.json."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives
from text2sql.errors import UserError
from text2sql.evaluation.predicted_question import Schemas
from text2sql.sql.ddl import parse_schema
from text2sql.sql.files import file_schema, open_read_only, read_tables_json, tables_json_schema

ENTRY: dict[str, Any] = {
    "db_id": "shop",
    "table_names_original": ["goods", "sale"],
    "column_names_original": [[-1, "*"], [0, "code"], [0, 'the "name"'], [1, "day"], [1, "code"], [1, "flag"]],
    "column_types": ["text", "number", "text", "time", "number", "others"],
    "primary_keys": [1, [4, 3]],
    "foreign_keys": [[4, 1]],
}


def test_an_entry_of_tables_json_becomes_statements_that_sqlite_reads() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(tables_json_schema(ENTRY))
        goods = [row[1:3] for row in db.execute("PRAGMA table_info(goods)")]
        assert goods == [("code", "NUMERIC"), ('the "name"', "TEXT")]
        sale = {row[1]: (row[2], row[5]) for row in db.execute("PRAGMA table_info(sale)")}
        # The key is (code, day), as listed, although the columns stand the other way round.
        assert sale == {"day": ("DATETIME", 2), "code": ("NUMERIC", 1), "flag": ("TEXT", 0)}
        assert [row[2:5] for row in db.execute("PRAGMA foreign_key_list(sale)")] == [("goods", "code", "code")]


def test_a_key_whose_columns_are_listed_one_by_one_is_one_key() -> None:
    flat = ENTRY | {"primary_keys": [1, 4, 3]}
    assert tables_json_schema(flat) == tables_json_schema(ENTRY)


def test_types_that_sqlite_has_stay_as_bird_names_them() -> None:
    types = ["text", "integer", "text", "date", "real", "blob"]
    columns = parse_schema(tables_json_schema(ENTRY | {"column_types": types})).tables["sale"].columns
    assert [column.type for column in columns.values()] == ["DATE", "REAL", "BLOB"]


def test_training_and_evaluation_see_one_schema(tmp_path: Path) -> None:
    folder = archives.spider(tmp_path, databases=False)
    schemas = Schemas.open(None, folder / "tables.json")
    assert schemas.schema("harbour") == read_tables_json(folder / "tables.json", "data.path")["harbour"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"column_types": ["text"]}, "IndexError"),
        ({"column_types": [None] * 6}, "AttributeError"),
        ({"primary_keys": None}, "TypeError"),
        ({"foreign_keys": [[4]]}, "ValueError"),
    ],
)
def test_another_layout_is_one_message(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    path = tmp_path / "tables.json"
    path.write_text(json.dumps([ENTRY | change]))
    with pytest.raises(UserError, match=f"--tables: .*tables.json is not laid out like .* \\({what}"):
        read_tables_json(path, "--tables")


def test_a_file_is_opened_without_a_way_to_write_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a ?b#.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (a INT)")
    with closing(open_read_only(str(path))) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("INSERT INTO t VALUES (1)")
    assert file_schema(str(path)) == "CREATE TABLE t (a INT)"
    with pytest.raises(sqlite3.OperationalError):
        open_read_only(str(tmp_path / "absent.sqlite"))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
