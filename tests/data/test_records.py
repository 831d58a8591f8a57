"""Rows as people have them: what is no text is refused by kind and row, and never made a text by force."""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import archives
from tests.support.tiny_runs import write_jsonl
from text2sql.config import Config, DataConfig
from text2sql.data.clean import clean
from text2sql.data.dataset import load_dataset, tokenize_split
from text2sql.data.example import Example
from text2sql.data.sources import load_examples
from text2sql.data.sources.records import FIELDS, OPTIONAL_FIELDS, make_example
from text2sql.errors import UserError

SCHEMA, QUERY = "CREATE TABLE t (a INT)", "SELECT a FROM t"
GOOD = [{"question": f"{i}?", "context": SCHEMA, "answer": QUERY} for i in range(3)]


def _load(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> list[Example]:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return load_examples(DataConfig(source=str(tmp_path / "rows.jsonl"), **options))


def test_headers_may_have_capitals(tmp_path: Path) -> None:
    rows = [{"QUESTION": row["question"], " Context": row["context"], "Sql": row["answer"]} for row in GOOD]
    loaded = _load(tmp_path, rows, columns={"answer": "sql"})
    assert [(e.question, e.context, e.answer) for e in loaded] == [
        (row["question"], row["context"], row["answer"]) for row in GOOD
    ]
    # Of two that differ in nothing else nobody knows which is meant.
    with pytest.raises(UserError, match='no column "question"'):
        _load(tmp_path, [{"QUESTION": "a", "Question": "b", "context": SCHEMA, "answer": QUERY}])


def test_a_spreadsheet_is_told_how_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "sheet.xlsx").touch()
    with pytest.raises(UserError, match=r"must end in .*\. Save the sheet as CSV"):
        load_examples(DataConfig(source=str(tmp_path / "sheet.xlsx")))


NAN = float("nan")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (NAN, "empty {}"),
        (None, "empty {}"),
        (7, "{} is a number, not a text (first: row 4)"),
        (True, "{} is true or false, not a text (first: row 4)"),
        ({"text": "x"}, "{} is an object, not a text (first: row 4)"),
        ([1], "{} is a list, not a text (first: row 4)"),
        ("a\ud800b", "{} holds half of a character (a lone surrogate) (first: row 4)"),
    ],
)
def test_what_is_no_text_is_dropped_and_counted_by_kind(tmp_path: Path, field: str, value: Any, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [*GOOD, {**GOOD[0], field: value}, {**GOOD[1], field: value}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, dropped = clean(load_examples(DataConfig(source=str(path))), 1.0)
    assert [example.question for example in kept] == ["0?", "1?", "2?"]
    assert dropped == {reason.format(field): 2}


def test_nan_is_no_evidence_and_no_number_of_a_row(tmp_path: Path) -> None:
    (example,) = _load(tmp_path, [{**GOOD[0], "evidence": NAN, "id": NAN, "db_id": NAN, "reasoning": NAN}])
    assert (example.id, example.evidence, example.db_id, example.reasoning) == ("rows/0", None, None, None)


@pytest.mark.parametrize("field", ["evidence", "reasoning", "db"])
def test_an_optional_field_is_typed_too(tmp_path: Path, field: str) -> None:
    (example,) = _load(tmp_path, [{**GOOD[0], field: {"x": 1}}])
    assert example.problem == f"{field} is an object, not a text (first: row 1)"


def test_numbers_name_rows_and_zero_is_one(tmp_path: Path) -> None:
    examples = _load(tmp_path, [{**GOOD[i], "id": i, "db_id": i} for i in range(2)])
    assert [(e.id, e.db_id, e.problem) for e in examples] == [("0", "0", None), ("1", "1", None)]


def test_a_schema_may_be_a_list_of_statements(tmp_path: Path) -> None:
    (example,) = _load(tmp_path, [{**GOOD[0], "context": [f"{SCHEMA};", " CREATE TABLE u (b TEXT)\n"]}])
    assert example.context == "CREATE TABLE t (a INT);\nCREATE TABLE u (b TEXT)"
    assert clean([example], 0.0).examples == [example]


@pytest.mark.parametrize("columns", [{"id": "x", "answer": "x"}, {"question": "answer"}, {"evidence": "question"}])
def test_two_fields_are_not_read_from_one_column(tmp_path: Path, columns: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"data\.columns: \w+ and \w+ are both read from the column"):
        _load(tmp_path, [{**GOOD[0], "x": "y"}], columns=columns)


def test_an_optional_column_that_no_row_has_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'no row of .* has the column "hints" for evidence; they have question'):
        _load(tmp_path, GOOD[:2], columns={"evidence": "hints"})
    (first, second) = _load(tmp_path, [GOOD[0], {**GOOD[1], "hints": "x"}], columns={"evidence": "hints"})
    assert (first.evidence, second.evidence) == (None, "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.fixed_dictionaries(dict.fromkeys((*FIELDS, *OPTIONAL_FIELDS), JSON)))
def test_whatever_stands_in_a_row_its_texts_can_be_written_or_it_is_refused(row: dict[str, Any]) -> None:
    example = make_example("x", row)
    texts = [getattr(example, field) for field in (*FIELDS, *OPTIONAL_FIELDS)] + [example.stated_dialect]
    assert all(text is None or text.encode("utf-8") is not None for text in texts)
    if not example.problem:
        given_texts = [row[field] for field in ("question", "answer", "evidence", "reasoning", "db")]
        assert all(value is None or isinstance(value, str) or value != value for value in given_texts)


@pytest.mark.parametrize("name", ["bird", "spider"])
def test_archives_are_typed_too(tmp_path: Path, name: str) -> None:
    directory = getattr(archives, name)(tmp_path)
    file = next(directory.rglob("train*.json"))
    rows = json.loads(file.read_text())
    rows[1]["question"], rows[2]["db_id"] = {"text": "?"}, None
    file.write_text(json.dumps(rows))
    examples = load_examples(DataConfig(source=name, path=str(directory)))
    assert examples[1].problem == "question is an object, not a text (first: row 2)"
    assert examples[0].problem is None and not examples[2].context


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_token_beyond_the_embedding_is_refused_before_training(
    tmp_path: Path, tiny_tokenizer: Any, side: str
) -> None:
    from transformers import AutoTokenizer, LlamaConfig

    LlamaConfig(vocab_size=len(tiny_tokenizer)).save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    rows = [{**GOOD[0], "question": f"{i}?"} for i in range(8)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    data = {"source": str(tmp_path / "rows.jsonl"), "test_size": 2, "split_by": "example"}
    config = Config.model_validate({"data": data})
    dataset = load_dataset(config)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.add_tokens(["[PAD]"])
    # One that no text uses does no harm.
    tokenize_split(dataset, tokenizer, config, None)
    odd = replace(getattr(dataset.split, side)[-1], question="Which [PAD]?")
    split = dataset.split._replace(**{side: [*getattr(dataset.split, side)[:-1], odd]})
    with pytest.raises(UserError) as raised:
        tokenize_split(replace(dataset, split=split), tokenizer, config, None)
    message = str(raised.value)
    assert f"has {len(tiny_tokenizer) + 1} tokens, the model's embedding {len(tiny_tokenizer)} rows" in message
    assert f"beyond them: 1 of 8; the first is {odd.id}, with '[PAD]' ({len(tiny_tokenizer)})" in message


# Databases


def test_an_absent_database_is_named_with_its_path(tmp_path: Path) -> None:
    directory = archives.bird(tmp_path)
    file = directory / "train" / "train_databases" / "harbour" / "harbour.sqlite"
    file.unlink()
    examples = load_examples(DataConfig(source="bird", path=str(directory)))
    assert {e.problem for e in examples} == {f"database file not found (first: row 1, {file})"}


@pytest.mark.parametrize("name", ["train_databases", "given"])
def test_databases_that_are_nested_once_more_are_found_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    directory = archives.bird(tmp_path / "bird")
    databases = directory / "train" / "train_databases"
    nested = tmp_path / "nested"
    databases.rename(nested)
    databases.mkdir()
    nested.rename(databases / "train_databases")
    with caplog.at_level(logging.WARNING):
        if name == "given":
            rows = [{"question": "?", "answer": "SELECT 1", "db_id": "harbour"}]
            examples = _load(tmp_path, rows, databases=str(databases))
        else:
            examples = load_examples(DataConfig(source="bird", path=str(directory)))
    assert all(e.context and e.problem is None and Path(str(e.db)).is_file() for e in examples)
    assert str(databases / "train_databases") in caplog.text


def test_a_database_called_like_its_directory_is_no_nest(tmp_path: Path) -> None:
    home = tmp_path / "shop" / "shop"
    home.mkdir(parents=True)
    with sqlite3.connect(home / "shop.sqlite") as db:
        db.execute(SCHEMA)
    db.close()
    rows = [{"question": "?", "answer": QUERY, "db_id": "shop"}]
    assert _load(tmp_path, rows, databases=str(tmp_path / "shop"))[0].context == SCHEMA
