"""CSV files as spreadsheets and scripts write them: delimiters, quotes, line breaks, large cells, headers."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.errors import UserError
from text2sql.rows import read_rows
from text2sql.rows.csv_tables import CsvTable, read_csv


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "table.csv"


def _read(file: Path, content: str | bytes) -> CsvTable:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(file)


def _cells(table: CsvTable) -> list[list[str]]:
    return [row for _, row in table.rows()]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    [",", ";", "['a', 'b']", 'say "hi"', "two\r\nlines", " ;x", "1,5", "a|b\tc"]
)


@given(
    st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=4),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_is_written_is_read_whatever_stands_in_the_cells(
    file: Path, rows: list[list[str]], delimiter: str, encoding: str, quoting: int
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows([["id", "note", "sum"], *rows])  # type: ignore[arg-type]
    table = _read(file, out.getvalue().encode(encoding))
    assert (table.header, _cells(table), table.note) == (["id", "note", "sum"], rows, "")


@pytest.mark.parametrize(
    ("content", "header", "rows"),
    [
        # Lists in brackets hold the other delimiter, in some rows alone.
        ("id;group\n1;['345']\n4;['112', '112']\n", ["id", "group"], [["1", "['345']"], ["4", "['112', '112']"]]),
        ('quoted,value\n"a ""single, unique"", row",b\n', ["quoted", "value"], [['a "single, unique", row', "b"]]),
        # Two delimiters in the header: the one that every row bears out.
        ("name;price, net\nA;1\nB;2\n", ["name", "price, net"], [["A", "1"], ["B", "2"]]),
        ('"Name, first";Age\nAda;3\n', ["Name, first", "Age"], [["Ada", "3"]]),
        ("sep=|\na,b|c\n1|2\n", ["a,b", "c"], [["1", "2"]]),
        ('name, note\nA, "x, y"\n', ["name", "note"], [["A", "x, y"]]),
        ("name\nAda; Bob\n\nEve\n", ["name"], [["Ada; Bob"], ["Eve"]]),
        ("a,b\r1,2\r", ["a", "b"], [["1", "2"]]),
        ("", [], []),
    ],
)  # fmt: skip
def test_the_header_says_what_separates(file: Path, content: str, header: list[str], rows: list[list[str]]) -> None:
    table = _read(file, content)
    assert (table.header, _cells(table)) == (header, rows)


def test_a_line_break_in_quotes_is_kept_and_lines_are_counted(file: Path) -> None:
    table = _read(file, 'a,b\nx,"first\nsecond\n\nthird"\ny,z\n')
    assert [*table.rows()] == [(5, ["x", "first\nsecond\n\nthird"]), (6, ["y", "z"])]


def test_a_cell_may_hold_a_whole_schema(file: Path) -> None:
    cell = "CREATE TABLE t (a INT);\n" * 20_000
    assert _cells(_read(file, f'a,b\nx,"{cell}"\n')) == [["x", cell]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a,b,a\n1,2,3\n", r"line 1 names a column twice \(a\)"),
        ("a;b\n1;2;3\n", "line 2 has more values than the header has columns \\(3, 2\\); quote values that hold ';'"),
        ('a,b\n1,"x"y\n', "line 2: "),
        ('a,b\n1,"x\n', "line 2: unexpected end of data"),
    ],
)
def test_a_malformed_table_is_refused_by_line(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=what):
        read_rows(path)


def test_a_row_that_is_short_has_nothing_in_its_last_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a\t b\n1\n")
    assert read_rows(path) == [{"a": "1", "b": None}]


def test_a_data_file_in_a_code_page_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"question;answer\nCaf\xe9?;SELECT 1\n")
    with caplog.at_level(logging.WARNING):
        assert read_rows(path) == [{"question": "Café?", "answer": "SELECT 1"}]
    assert f"{path}: it is not UTF-8" in caplog.text


def test_a_malformed_file_is_read_loosely_where_that_is_asked_and_said(file: Path) -> None:
    file.write_text('a,b\n1,"x"y\n2,z\n')
    table = read_csv(file, loose=True)
    assert _cells(table) == [["1", "xy"], ["2", "z"]] and "malformed (line 2: " in table.note
