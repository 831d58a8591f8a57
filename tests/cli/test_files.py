"""Files that commands are given: what is no file, what is not there, and what cannot be written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Outcome
from tests.support.tiny_runs import write_jsonl

SCHEMA = "CREATE TABLE t (a INTEGER)"
ROW = {"id": "x", "schema": SCHEMA, "gold": "SELECT a FROM t", "predicted": "SELECT a FROM t"}
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("evaluate none/rows.jsonl", "predictions: there is no file none/rows.jsonl."),
        ("evaluate none/pred.sql --gold gold.sql", "predictions: there is no file none/pred.sql."),
        ("evaluate pred.sql --gold gold.sql", "--gold: there is no file gold.sql."),
        ("evaluate none.sql", "predictions: there is no file none.sql."),
        ("evaluate rows.jsonl/run", "rows.jsonl/run is no directory, so there is no run in it."),
        ("bill rows.jsonl", "rows.jsonl is no directory, so there is no run in it."),
        ("evaluate pipe.jsonl", "predictions: pipe.jsonl is a pipe, not a file."),
        ("evaluate rows.jsonl --tables pipe.jsonl", "--tables: pipe.jsonl is a pipe, not a file."),
        ("evaluate pred.sql --gold pipe.jsonl", "--gold: pipe.jsonl is a pipe, not a file."),
        ("evaluate pred.sql --gold .", "--gold: . cannot be read: it is a directory, not a file"),
        ("data inspect data.source=pipe.jsonl", "data: pipe.jsonl is a pipe, not a file."),
        ("data inspect data.source=folder", "data: folder is a directory, not a file."),
        ("match --schema pipe.jsonl --gold x --predicted y", "(it is a pipe, not a file)"),
        ("match --database pipe.jsonl --gold x --predicted y", "(it is a pipe, not a file)"),
        ("evaluate rows.jsonl --output /proc/none/rows.jsonl", "cannot be written: "),
        (f"evaluate rows.jsonl --output new/{'x' * 300}/rows.jsonl", "cannot be written: File name too long"),
    ],
)
def test_what_is_given_is_looked_at_before_it_is_opened(
    text2sql: Callable[..., Outcome], tmp_path: Path, command: str, what: str
) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [ROW])
    (tmp_path / "pred.sql").write_text("SELECT 1\n")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    outcome = text2sql(*command.split())
    assert what in outcome.line
    assert "Judging" not in outcome.out and not (tmp_path / "new").exists()


def test_a_damaged_file_of_no_run_has_no_run_to_go_on_with(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "decisions.jsonl").write_text('{"id": "a", "question": "?", "answer": "SELECT 1", "decision": 7}\n')
    write_jsonl(tmp_path / "mine.jsonl", [{"question": "?", "context": SCHEMA, "answer": "SELECT 1"}])
    line = text2sql("data", "inspect", "data.source=mine.jsonl", "data.decisions=decisions.jsonl").line
    assert "decisions.jsonl is damaged (line 1" in line and line.endswith("correct or delete what is named there.")


@pytest.mark.parametrize(
    ("gold", "code", "what"),
    [
        ("SELECT a FROM t", 0, "equivalent"),
        ("SELECT a + 1 FROM t", 1, "different"),
        ("SELECT nothing(", 2, "The gold query cannot be used: "),
        (ENDLESS, 2, "it takes too long or returns too many rows, even on small databases"),
    ],
)
def test_the_exit_status_of_match(text2sql: Callable[..., Outcome], gold: str, code: int, what: str) -> None:
    outcome = text2sql("match", "--schema", SCHEMA, "--gold", gold, "--predicted", "SELECT a FROM t")
    assert outcome.code == code and what in " ".join(outcome.out.split())


def test_a_prediction_that_is_too_long_is_not_parsed_first(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    long = "SELECT a FROM t WHERE " + " AND ".join(f"a <> {number}" for number in range(100_000))
    write_jsonl(tmp_path / "rows.jsonl", [ROW | {"predicted": long}])
    assert text2sql("evaluate", "rows.jsonl", "--output", "out.jsonl", "evaluation.workers=1").code == 0
    (row,) = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert "longer than 200,000 characters" in row["verdict"]["reason"] and row["checks"]["parses"] is False


def test_the_answers_of_a_run_are_read_by_one_rule(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "predictions-base.jsonl").unlink()
    file = run / "predictions-tuned.jsonl"
    whole = file.read_text()
    first = whole.splitlines()[0]
    file.write_text(f"{whole}{first}\n")
    said = text2sql("evaluate", "run", "--output", "out.jsonl")
    assert said.code == 0 and "1 repeated row (line 5 has the id of line 1)" in said.out
    assert len((tmp_path / "out-tuned.jsonl").read_text().splitlines()) == 4
    file.write_text(whole + json.dumps(json.loads(first) | {"raw": "SELECT 7"}) + "\n")
    assert "line 5 has the id of line 1 and differs from it" in text2sql("evaluate", "run").line
    # A line whose writing was interrupted is no damage; one in the middle is.
    file.write_text(f"{whole}{first[:50]}")
    assert text2sql("evaluate", "run").code == 0
    file.write_text(f"{first[:50]}\n{whole}")
    assert "predictions-tuned.jsonl is damaged (line 1: " in text2sql("evaluate", "run").line
