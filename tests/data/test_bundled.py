"""The bundled data set: sound, varied, and split so that test schemas are unseen."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sqlite3
import statistics
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlglot

from text2sql.data.example import Example
from text2sql.data.sources import bundled
from text2sql.data.sources.bundled import VERSION, domains, load_bundled
from text2sql.errors import UserError

PINNED = {
    "train": "7068f689d43c563b",
    "test": "895112423e622d9b",
}


@pytest.fixture(scope="module")
def everything() -> list[Example]:
    return load_bundled("train") + load_bundled("test")


def digest(examples: list[Example]) -> str:
    rows = [[e.id, e.question, e.context, e.answer, e.db_id] for e in examples]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


@pytest.mark.parametrize("split", ["train", "test"])
def test_content_is_pinned(split: str) -> None:
    assert VERSION == "1"
    assert digest(load_bundled(split)) == PINNED[split], "bump VERSION when this changes"


def test_caller_cannot_spoil_the_cache() -> None:
    load_bundled("test").clear()
    assert load_bundled("test")


def test_size_and_split() -> None:
    count = len(domains("train")) + len(domains("test"))
    assert count >= 30
    assert not domains("train") & domains("test")
    assert 0.2 <= len(domains("test")) / count <= 0.25
    train, test = load_bundled("train"), load_bundled("test")
    assert 2500 <= len(train) <= 3500
    assert 700 <= len(test) <= 1200


def test_ids_and_questions_are_unique(everything: list[Example]) -> None:
    assert len({e.id for e in everything}) == len(everything)
    assert len({(e.context, e.question) for e in everything}) == len(everything)
    assert len({(e.db_id, e.question) for e in everything}) == len(everything)
    assert len({(e.db_id, e.answer) for e in everything}) == len(everything)
    assert all(re.fullmatch(rf"bundled-v{VERSION}/{e.db_id}/\d{{4}}", e.id) for e in everything)


def test_every_answer_runs_on_its_own_context(everything: list[Example]) -> None:
    for example in everything:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(example.context)
            connection.execute(example.answer)


def test_sqlglot_reads_everything(everything: list[Example]) -> None:
    for example in everything:
        assert len(sqlglot.parse(example.answer, read="sqlite")) == 1
        assert len(sqlglot.parse(example.context, read="sqlite")) == example.context.count("CREATE TABLE")


FEATURES = {
    r"\bJOIN\b": 450,
    r"JOIN .* JOIN ": 30,
    r"\bGROUP BY\b": 600,
    r"\bHAVING\b": 150,
    r"\bORDER BY\b": 400,
    r"\bLIMIT [2-9]": 60,
    r"\bLIMIT 1$": 250,
    r"> \(SELECT AVG": 45,
    r"\bNOT IN \(SELECT": 40,
    r"(?<!NOT) IN \(SELECT": 40,
    r"\bINTERSECT\b": 30,
    r"\bEXCEPT\b": 15,
    r"\bUNION\b": 10,
    r"SELECT DISTINCT": 70,
    r"COUNT\(DISTINCT": 40,
    r"LIKE '\d{4}-": 120,
    r"strftime\('%Y'": 30,
    r"LIKE '%?[A-Z]": 60,
    r"\bBETWEEN\b": 150,
    r" IN \('": 60,
    r"\bIS NULL\b": 12,
    r"\bIS NOT NULL\b": 10,
    r" OR ": 50,
    r" AND (?!\d|'\d{4}-)": 170,
    r"!=": 60,
    r"\bSUM\(": 110,
    r"\bAVG\(": 250,
    r"\bMIN\(": 100,
    r"\bMAX\(": 110,
    r"COUNT\(\*\)": 700,
}


@pytest.mark.parametrize(("pattern", "least"), FEATURES.items())
def test_features_are_covered(everything: list[Example], pattern: str, least: int) -> None:
    assert sum(bool(re.search(pattern, e.answer)) for e in everything) >= least


def test_lengths_fit_the_training_budget(everything: list[Example]) -> None:
    assert statistics.mean(len(e.context) for e in everything) < 200
    assert max(len(e.context) for e in everything) < 520
    assert statistics.mean(len(e.question) for e in everything) < 85
    assert max(len(e.question) for e in everything) <= 200
    assert statistics.mean(len(e.answer) for e in everything) < 90
    assert max(len(e.answer) for e in everything) < 260


def test_questions_read_like_sentences(everything: list[Example]) -> None:
    for example in everything:
        question = example.question
        assert question[0].isupper() and question[-1] in ".?", question
        assert not re.search(r"_|[{}^<>]|  | [.,?]|\b(\w+) \1\b", question), question
        assert not re.search(r"\ba (?=[aeiou])(?!uni|use|one|euro)|\ban [^aeiouAEIOhMRX8]", question), question
        assert "\n" not in example.context + example.answer + question


def test_a_prefix_is_a_fair_sample() -> None:
    train = load_bundled("train")
    share = sum("JOIN" in e.answer for e in train) / len(train)
    prefix = train[:300]
    assert abs(sum("JOIN" in e.answer for e in prefix) / 300 - share) < 0.05
    assert len({e.db_id for e in prefix}) == len(domains("train"))
    assert max(Counter(e.db_id for e in prefix).values()) < 30


def test_another_split_is_a_user_error() -> None:
    with pytest.raises(UserError, match="train, test"):
        load_bundled("dev")


@pytest.mark.parametrize("damage", ["absent", "cut", "changed"])
def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    path = tmp_path / "bundled.jsonl.gz"
    content = bundled.FILE.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-1000])
    if damage == "changed":
        path.write_bytes(gzip.compress(gzip.decompress(content).replace(b"city", b"town")))
    monkeypatch.setattr(bundled, "FILE", path)
    with pytest.raises(UserError, match=re.escape(str(path))):
        # Not `load_bundled`, which remembers the rows of the file that is whole.
        bundled._load.__wrapped__()
