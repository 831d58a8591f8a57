"""`text2sql data audit --model`: the model of a run, and what cannot be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import SHOP, Outcome
from tests.support.tiny_runs import read_jsonl, write_jsonl


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A question that the finished run answers otherwise, and one that it has never seen."""
    rows = [
        {"question": "Which?", "context": SHOP, "answer": "SELECT name, price FROM goods ORDER BY price"},
        {"question": "What costs 3?", "context": SHOP, "answer": "SELECT name FROM goods WHERE price = 3"},
    ]
    return write_jsonl(tmp_path / "mine.jsonl", rows)


def test_a_runs_model_ranks(text2sql: Callable[..., Outcome], mine: Path, finished: Path) -> None:
    shown = text2sql("data", "audit", mine, "--model", finished, "--output", "d.jsonl")
    assert shown.code == 0, shown.err
    assert "Scoring: 2/2" in shown.out
    said = "used column far less likely: the model finds name for price likelier, by "
    assert f"- {said}" in shown.out
    by_model = {
        row["question"] for row in read_jsonl(mine.parent / "d.jsonl") if "the model finds" in str(row["smells"])
    }
    assert by_model == {"Which?"}


def test_models_that_cannot_be_had(
    text2sql: Callable[..., Outcome], mine: Path, finished: Path, tmp_path: Path
) -> None:
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    shutil.copy(finished / "config.yaml", untrained)
    line = text2sql("data", "audit", mine, "--model", untrained).line
    assert line == f"The run in {untrained} has no checkpoint yet; let it finish, or name its base model."
    (untrained / "config.yaml").write_text("seed: none\n")
    assert "is not a configuration" in text2sql("data", "audit", mine, "--model", untrained).line
    line = text2sql("data", "audit", mine, "--model", "runs/none").line
    assert 'there is no directory "runs/none"' in line
    assert not (tmp_path / "decisions.jsonl").exists()


@pytest.mark.parametrize("output", ["mine.jsonl", "copy.jsonl", "d.csv", "hard.jsonl"])
def test_data_are_no_file_to_decide_in(text2sql: Callable[..., Outcome], tmp_path: Path, output: str) -> None:
    rows = [{"id": i, "question": "Which?", "context": SHOP, "answer": f"SELECT {i}"} for i in "ab"]
    for name in ("mine.jsonl", "copy.jsonl"):
        write_jsonl(tmp_path / name, rows)
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "mine.jsonl")
    assert f"--output: {output}" in text2sql("data", "audit", "mine.jsonl", "--output", output).line
    assert read_jsonl(tmp_path / "mine.jsonl") == read_jsonl(tmp_path / "copy.jsonl") == rows
    line = text2sql("data", "inspect", "data.source=mine.jsonl", "data.decisions=copy.jsonl").line
    assert 'copy.jsonl, row 1 ("a") is no decision' in line


def test_a_decision_is_kept_however_often_its_row_is_there(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    row = {"question": "What costs 3?", "context": SHOP, "answer": "SELECT nothing FROM goods"}
    write_jsonl(tmp_path / "mine.jsonl", [row, row])
    assert text2sql("data", "audit", "mine.jsonl", "--output", "d.jsonl").code == 0
    first, second = read_jsonl(tmp_path / "d.jsonl")
    # As an editor may leave it: without the last newline.
    (tmp_path / "d.jsonl").write_text(json.dumps(second) + "\n" + json.dumps(first | {"decision": "drop"}))
    for _ in range(2):
        assert text2sql("data", "audit", "mine.jsonl", "--output", "d.jsonl").code == 0
        assert [decided.get("decision") for decided in read_jsonl(tmp_path / "d.jsonl")] == ["drop", "drop"]
    write_jsonl(tmp_path / "d.jsonl", [first | {"decision": "drop"}, second | {"decision": "keep"}])
    assert "decides otherwise" in text2sql("data", "audit", "mine.jsonl", "--output", "d.jsonl").line


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("pairs.csv", "must end in .jsonl"),
        ("notes.jsonl", "notes.jsonl exists already and holds something else"),
        ("shop.jsonl", "is a file that the command reads"),
        ("folder.jsonl", "is a directory"),
    ],
)
def test_pairs_are_made_into_a_file_of_pairs(
    text2sql: Callable[..., Outcome], shop: Path, tmp_path: Path, output: str, what: str
) -> None:
    # No newline at its end: it must not be taken for a line whose writing was interrupted.
    (tmp_path / "notes.jsonl").write_text("my notes")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "shop.jsonl").symlink_to(shop)
    assert what in text2sql("data", "make", "--database", shop, "--output", output).line
    assert (tmp_path / "notes.jsonl").read_text() == "my notes"
