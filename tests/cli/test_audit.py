"""`text2sql data audit --model`: the model of a run, and what cannot be had."""

from __future__ import annotations

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
