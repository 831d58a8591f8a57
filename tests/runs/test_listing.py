"""What a directory of runs holds, and how one is removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.tiny_runs import judge_by_words, tiny_config
from text2sql.cli import app
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.runs.listing import list_runs, remove_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a finished run, one that has only trained in the directory of a sweep, and other things."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    runs = tmp_path / "runs"
    run_pipeline(tiny_config(tmp_path, output_dir=str(runs / "done")))
    run_pipeline(tiny_config(tmp_path, output_dir=str(runs / "sweep" / "seed-1")), stages=("train",))
    (runs / "failed").mkdir()
    (runs / "failed" / "config.yaml").write_text("name: failed\n")
    (runs / "notes").mkdir()
    (runs / "notes" / "todo.txt").write_text("no run")
    return runs


def test_each_run_is_listed_with_how_far_it_is(runs: Path) -> None:
    found = {run.path.relative_to(runs).as_posix(): run for run in list_runs(runs)}
    assert {name: run.state for name, run in found.items()} == {
        "done": "finished",
        "sweep/seed-1": "trained, not evaluated",
        "failed": "nothing yet",
    }
    done = found["done"]
    assert done.summary and done.summary.headline and done.summary.headline.tuned
    assert done.summary.headline.tuned.accuracy == 1.0
    assert done.size == sum(file.stat().st_size for file in done.path.rglob("*") if file.is_file())


def test_an_interrupted_training_says_its_step_and_damage_is_named(runs: Path) -> None:
    (runs / "done" / "summary.json").unlink()
    (runs / "sweep" / "seed-1" / "summary.json").write_text("{")
    states = {run.path.name: run.state for run in list_runs(runs)}
    assert states["done"] == "trained, evaluation begun"
    assert states["seed-1"].startswith("damaged: ") and "summary.json" in states["seed-1"]
    for path in (runs / "done").glob("predictions-*tuned*.jsonl"):
        path.unlink()
    assert {run.path.name: run.state for run in list_runs(runs)}["done"].startswith("training, step ")
    for name in ("metrics.jsonl", "checkpoints.jsonl"):
        (runs / "done" / name).unlink()
    assert {run.path.name: run.state for run in list_runs(runs)}["done"] == "evaluation of the base model begun"


def test_an_adapter_from_elsewhere_was_evaluated_and_not_trained(runs: Path) -> None:
    for name in ("metrics.jsonl", "checkpoints.jsonl"):
        (runs / "done" / name).unlink()
    summary = json.loads((runs / "done" / "summary.json").read_text())
    (runs / "done" / "summary.json").write_text(json.dumps(summary | {"stages": ["baseline", "evaluate"]}))
    assert {run.path.name: run.state for run in list_runs(runs)}["done"] == "evaluated"
    (runs / "done" / "summary.json").unlink()
    assert {run.path.name: run.state for run in list_runs(runs)}["done"] == "evaluation begun"


def test_a_run_is_removed_whole_and_nothing_else_is(runs: Path) -> None:
    remove_run(runs / "done")
    assert not (runs / "done").exists()
    for path in (runs / "notes", runs / "nowhere", runs):
        with pytest.raises(UserError, match="not removed: there is no run in it"):
            remove_run(path)
    held = RunDirectory(runs / "failed")
    held.lock()
    with pytest.raises(UserError, match="in use by another"):
        remove_run(runs / "failed")
    held.unlock()
    assert (runs / "failed" / "config.yaml").is_file() and (runs / "notes" / "todo.txt").is_file()


def test_nobody_is_asked_about_a_run_that_is_not_there(tmp_path: Path) -> None:
    asked = CliRunner().invoke(app, ["runs", "remove", str(tmp_path / "none")], input="y\n")
    assert isinstance(asked.exception, UserError) and "for good?" not in asked.output


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no directory"):
        list_runs(tmp_path / "none")
