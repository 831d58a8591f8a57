"""Where examples come from: files of each kind, columns, ids, and what is said of a file that cannot be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from text2sql.config import DataConfig
from text2sql.data.example import Example
from text2sql.data.sources import load_examples
from text2sql.errors import UserError

ROWS = [
    {"question": "How many?", "context": "CREATE TABLE t (a INT, b TEXT)", "answer": "SELECT COUNT(*) FROM t"},
    {"question": "Größte, bitte", "context": "CREATE TABLE t (a INT)", "answer": "SELECT MAX(a)\nFROM t"},
]


def _write(path: Path, rows: list[Any]) -> Path:
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".jsonl":
            path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
        case ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def _load(path: Path | str, **values: Any) -> list[Example]:
    return load_examples(DataConfig.model_validate({"source": str(path), **values}))


def _error(path: Path | str, **values: Any) -> str:
    with pytest.raises(UserError) as raised:
        _load(path, **values)
    return str(raised.value)


KINDS = [".json", ".jsonl", ".csv", ".parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_examples(tmp_path: Path, kind: str) -> None:
    examples = _load(_write(tmp_path / f"rows{kind}", ROWS))
    assert [(e.question, e.context, e.answer) for e in examples] == [tuple(row.values()) for row in ROWS]
    assert [e.id for e in examples] == ["rows/0", "rows/1"]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_mapped_and_optional_fields_are_kept(tmp_path: Path, kind: str) -> None:
    rows = [{"q": "?", "schema": "S", "sql": "Q", "number": 7, "domain": "shop", "hint": "h", "db": "x.db"}]
    columns = {
        "question": "q",
        "context": "schema",
        "answer": "sql",
        "id": "number",
        "db_id": "domain",
        "evidence": "hint",
    }
    (example,) = _load(_write(tmp_path / f"rows{kind}", rows), columns=columns)
    assert example == Example("7", "?", "S", "Q", db="x.db", db_id="shop", evidence="h")


def test_a_named_source_reads_a_local_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "sql_create_context_v4.json", ROWS)
    assert len(load_examples(DataConfig(source="sql-create-context", path=str(path)))) == 2


def test_the_home_directory_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "rows.json", ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(_load("~/rows.json")) == len(_load("$HOME/rows.json")) == 2


def test_ids_that_repeat_are_told_apart(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "id": "a"}, {**ROWS[1], "id": "a"}, {**ROWS[1], "id": "b"}]
    assert [e.id for e in _load(_write(tmp_path / "rows.json", rows))] == ["a#0", "a#1", "b#2"]


def test_empty_values_are_left_to_the_cleaning(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "answer": None}, {**ROWS[0], "answer": "  "}]
    assert [e.answer for e in _load(_write(tmp_path / "rows.json", rows))] == ["", ""]


def test_the_mark_of_a_spreadsheet_is_not_part_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,context,answer\nq,c,a\n", encoding="utf-8-sig")
    assert _load(path)[0].question == "q"


# What cannot be used


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"none{kind}"
    assert _error(path) == f"data: there is no file {path}; set data.path or data.source."


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_named_with_what_there_is_and_the_remedy(tmp_path: Path, kind: str) -> None:
    path = _write(tmp_path / f"rows{kind}", [{"question": "?", "context": "S", "sql": "Q"}])
    message = _error(path)
    assert f'{path} has no column "answer"' in message
    assert "question, context, sql" in message and "data.columns.answer=" in message


def test_a_mapping_of_no_field_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.json", ROWS)
    assert 'no field "anser"' in _error(path, columns={"anser": "sql"})


@pytest.mark.parametrize(
    ("name", "text"),
    [("rows.json", ""), ("rows.json", "[]"), ("rows.jsonl", "\n"), ("rows.csv", "question,context,answer\n")],
)
def test_an_empty_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert _error(path) == f"data: {path} has no rows."


def test_another_kind_of_file_lists_the_kinds(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.touch()
    assert all(kind in _error(path) for kind in KINDS)


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.mkdir()
    assert f"{path} is a directory, not a file" in _error(path)


def test_a_name_like_a_named_source_is_suggested() -> None:
    assert 'Did you mean "sql-create-context"?' in _error("sql_create_context")


def test_what_the_hub_does_not_give_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("no route\nto the Hub")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    message = _error("owner/name", hub_split="dev")
    assert '"owner/name" (split "dev"): no route.' in message and "data.path" in message


def test_a_name_that_the_hub_does_not_have_is_not_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2
    from huggingface_hub.errors import RepositoryNotFoundError

    response = httpx2.Response(404, request=httpx2.Request("GET", "https://hub"))

    def absent(*arguments: Any, **options: Any) -> None:
        raise RepositoryNotFoundError("Repository Not Found", response=response)

    def load(*arguments: Any, **options: Any) -> None:
        pytest.fail("datasets would retry for a minute")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", absent)
    monkeypatch.setattr("datasets.load_dataset", load)
    assert "Repository Not Found" in _error("owner/nmae")


def test_what_the_hub_gives_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str, revision: str | None) -> list[Any]:
        return ROWS if (name, split, revision) == ("o/n", "dev", None) else []

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *a, **o: None)
    monkeypatch.setattr("datasets.load_dataset", load)
    assert [e.id for e in _load("o/n", hub_split="dev")] == ["o/n/0", "o/n/1"]
