"""What the texts of examples say: the same in one process, in several, and from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.config import Config
from text2sql.data import facts
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.data.facts import ExampleFacts, read_facts
from text2sql.data.sources import load_examples
from text2sql.data.sources.bundled import load_bundled

EXAMPLES = load_bundled()[:40]


@pytest.fixture
def cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path))
    monkeypatch.setattr(facts, "CACHE_FROM", 10)
    return tmp_path / "facts"


def _learnt(examples: list[Example]) -> list[facts.Facts]:
    known = ExampleFacts()
    known.learn(examples)
    return [known.of(example) for example in examples]


EXPECTED = [read_facts(example.context, example.answer) for example in EXAMPLES]


@pytest.mark.parametrize("parallel_from", [10, 10_000])
def test_processes_and_the_cache_change_nothing(
    cache_here: Path, monkeypatch: pytest.MonkeyPatch, parallel_from: int
) -> None:
    monkeypatch.setattr(facts, "PARALLEL_FROM", parallel_from)
    monkeypatch.setattr(facts, "CHUNK", 7)
    assert _learnt(EXAMPLES) == EXPECTED
    assert len(list(cache_here.iterdir())) == 1
    monkeypatch.setattr(facts, "read_facts", lambda *texts: pytest.fail("it was not read from the cache"))
    assert _learnt(EXAMPLES) == EXPECTED


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b junk", b"[[1]]", b"{}"])
def test_a_damaged_file_is_replaced(cache_here: Path, content: bytes) -> None:
    _learnt(EXAMPLES)
    (file,) = cache_here.iterdir()
    whole = file.read_bytes()
    for damaged in (content, whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        assert _learnt(EXAMPLES) == EXPECTED
        assert file.read_bytes() != damaged


def test_a_row_is_parsed_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleaning, the split, the leaks, statistics and a curriculum need the same parse; so do rows of one shape."""
    asked: list[str] = []
    parse = facts.parse_sqlite
    monkeypatch.setattr(facts, "parse_sqlite", lambda sql: asked.append(sql) or parse(sql))
    config = Config.model_validate({"data": {"source": "bundled"}})
    dataset = load_dataset(config)
    for side in dataset.split:
        for example in side:
            dataset.known.of(example)
    assert len(asked) == len(set(asked)) < len(load_examples(config.data)) / 2


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_is_too_odd(context: str, answer: str) -> None:
    found = read_facts(context, answer)
    assert found.is_query or (not found.features and found.level == "extra")
