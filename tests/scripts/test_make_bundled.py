"""The generator of the bundled data set: it still makes the rows that are shipped, and they are sound."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scripts.make_bundled import build_database, make_jsonl, write
from scripts.make_bundled.catalog import DOMAINS
from text2sql.data.example import Example
from text2sql.data.make.conditions import article
from text2sql.data.make.domain import plural
from text2sql.data.sources.bundled import FILE, SHA256, load_bundled


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundled")
    paths = {name: folder / f"{name}.sqlite" for name in DOMAINS}
    for name, path in paths.items():
        build_database(name, path)
    return paths


def test_the_generator_makes_exactly_the_rows_that_are_shipped(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl.gz"
    assert write(made) == SHA256, "raise VERSION where the rows are to change"
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(FILE.read_bytes())


def test_another_seed_gives_other_questions() -> None:
    first, second = (
        {(row["context"], row["question"]) for row in map(json.loads, make_jsonl(seed).splitlines())} for seed in (0, 1)
    )
    assert len(first & second) < len(first) / 3


def test_the_domains_of_a_split_are_those_of_its_rows() -> None:
    for split in ("train", "test"):
        assert {e.db_id for e in load_bundled(split)} == {d.name for d in DOMAINS.values() if d.split == split}


def test_no_table_is_shared_between_domains() -> None:
    names = [table.name for domain in DOMAINS.values() for table in domain.tables]
    assert len(names) == len(set(names))
    shapes = {
        split: {
            frozenset(column.name for column in table.columns)
            for domain in DOMAINS.values()
            if domain.split == split
            for table in domain.tables
        }
        for split in ("train", "test")
    }
    assert not shapes["train"] & shapes["test"]


def test_every_answer_has_rows(databases: dict[str, Path]) -> None:
    examples: list[Example] = load_bundled("train") + load_bundled("test")
    for name, path in databases.items():
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            for example in (e for e in examples if e.db_id == name):
                rows = connection.execute(example.answer).fetchall()
                assert any(value is not None for row in rows for value in row), example


def test_databases_keep_their_keys(databases: dict[str, Path]) -> None:
    for path in databases.values():
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_database_that_is_there_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept.sqlite"
    kept.write_text("mine")
    with pytest.raises(FileExistsError):
        build_database("library", kept)
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(
    ("one", "many"),
    [("city", "cities"), ("date of birth", "dates of birth"), ("dish", "dishes"), ("day", "days"), ("fox", "foxes")],
)
def test_plural(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize("noun", ["an hour", "a unit cost", "an order", "a price", "an average"])
def test_article(noun: str) -> None:
    assert article(noun.split(maxsplit=1)[1]) == noun
