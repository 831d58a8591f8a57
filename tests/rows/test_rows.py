"""Rows of files: the four kinds, what is malformed by file and line, and files that a process appends to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from text2sql.errors import UserError
from text2sql.rows import dump_jsonl, read_jsonl, read_rows
from text2sql.rows.encodings import read_text

ROWS = [{"a": 1, "b": "x\u2028y"}, {"a": 2, "b": "ü"}]


def _error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_rows(path, "--gold")
    return str(caught.value)


def test_what_is_written_as_json_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(dump_jsonl(ROWS), encoding="utf-8")
    assert read_rows(path) == ROWS
    assert "ü" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, name: str) -> None:
    text = {"rows.json": '[{"a": "1"}]', "rows.jsonl": '{"a": "1"}', "rows.csv": "a\n1\n"}[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert read_rows(path) == [{"a": "1"}]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("rows.json", "[{", "line 1"),
        ("rows.json", '{"a": 1}', "one JSON array"),
        ("rows.json", '[{"a": 1}, 7]', "row 2 is a number, not an object"),
        ("rows.jsonl", '{"a": 1}\n\n{"a\n', "line 3: "),
        ("rows.jsonl", '{"a": 1}\n["a", "b"]\n', "line 2 is a list, not an object"),
        ("rows.jsonl", "[" * 100_000, "line 1: "),
        ("rows.csv", 'a,b\nx,"y\n', "end of data"),
        ("rows.csv", "a,b\nx,CREATE TABLE t (a INT, b INT)\n", "line 2 has more values"),
        ("rows.parquet", "not parquet", "malformed"),
    ],
)
def test_a_malformed_file_is_named_with_the_place(tmp_path: Path, name: str, text: str, what: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    message = _error(path)
    assert message.startswith(f"--gold: {path} is malformed: ") and what in message


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("rows.json", "it is not a text file"),
        ("rows.jsonl", "it is not a text file"),
        ("rows.csv", "it is not a text file"),
    ],
)
def test_a_file_that_is_not_text_is_named(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xfe\x00\x00question")
    message = _error(path)
    assert str(path) in message and what in message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.tsv"])
def test_windows_programs_write_utf16(tmp_path: Path, name: str, encoding: str) -> None:
    rows = [{"a": "ü", "b": "1"}, {"a": "x", "b": "2"}]
    text = {
        ".json": json.dumps(rows, ensure_ascii=False),
        ".jsonl": dump_jsonl(rows),
        ".csv": "a,b\r\nü,1\r\nx,2\r\n",
        ".tsv": "a\tb\r\nü\t1\r\nx\t2\r\n",
    }[Path(name).suffix]
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read_rows(tmp_path / name) == rows


def test_an_interrupted_write_is_left_out_of_a_file_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    whole = dump_jsonl(ROWS).encode()
    path.write_bytes(whole + '{"a": "ü'.encode()[:-1])
    assert [row for _, row in read_jsonl(path, appended=True)] == ROWS
    with pytest.raises(ValueError, match="line 3 is not text in UTF-8"):
        list(read_jsonl(path))


def test_a_line_without_its_newline_is_whole_if_its_object_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(dump_jsonl(ROWS).rstrip("\n"), encoding="utf-8")
    assert [row for _, row in read_jsonl(path, appended=True)] == ROWS


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("rows.jsonl", '{"a": 1}\n{"a": 1, "b": [{"c": 1, "\\u0063": 2}]}\n', 'line 2: the key "c" is given twice'),
        (
            "rows.json",
            '[{"a": 1},\n {"a": {"b": "b\\"{"},\n  "a": 2}]',
            '"a" is given twice in one object (line 3, character 3)',
        ),
    ],
)
def test_of_a_key_that_is_given_twice_none_silently_wins(tmp_path: Path, name: str, text: str, place: str) -> None:
    (tmp_path / name).write_text(text)
    assert place in _error(tmp_path / name)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert _error(tmp_path / name) == f"--gold: {tmp_path / name} is a pipe, not a file."
    with pytest.raises(OSError, match=r"^it is a pipe, not a file$"):
        read_text(tmp_path / name)


def test_lines_that_cannot_be_read_are_skipped_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("7\n" + json.dumps(ROWS[0]) + "\n{\n", encoding="utf-8")
    skipped: list[str] = []
    assert list(read_jsonl(path, skipped=skipped)) == [(2, ROWS[0])]
    assert skipped[0] == "line 1 is a number, not an object" and skipped[1].startswith("line 3: ")
