"""Experiment trackers: opened before anything is paid for, sent everything, and gone on with.

Where a tracker's package is installed, the real one is asked what it has; the others are stood in for at their own
interface.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.tiny_runs import tiny_config, tiny_values
from text2sql.config import Config
from text2sql.config.yaml import dump_yaml
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.trackers import trackers
from text2sql.trackers.tracker import AnswerTable
from text2sql.trackers.trackers import KINDS, check_trackers

LABELS = {"base", "tuned", "novel-base", "novel-tuned"}


@dataclass
class Memory:
    """A tracker that keeps what it is sent, at a place that outlives it."""

    id: str
    is_new: bool
    place: dict[str, Any]
    fails: bool = False

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        if self.fails:
            raise ConnectionError("the server is away.\nand more")
        self.place["rows"].append((step, dict(numbers)))

    def add_table(self, table: AnswerTable, step: int) -> None:
        self.place["tables"][table.name] = table

    def add_report(self, page: Path) -> None:
        self.place["report"] = page.read_text(encoding="utf-8")

    def close(self, *, failed: bool) -> None:
        self.place["closed"].append(failed)


@dataclass
class Shelf:
    """All runs of the tracker that is stood in for, by id."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    opened: list[str | None] = field(default_factory=list)
    fails: bool = False

    def open(self, config: Config, directory: Path, known: str | None) -> Memory:
        self.opened.append(known)
        own = known or f"run-{len(self.runs)}"
        place = self.runs.setdefault(own, {"rows": [], "tables": {}, "closed": []})
        return Memory(own, known is None, place, self.fails)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Stands in for Weights & Biases."""
    shelf = Shelf()
    monkeypatch.setitem(KINDS, "wandb", replace(KINDS["wandb"], log_in=None, open=shelf.open))
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    return shelf


def _tracked(tmp_path: Path, **sections: Any) -> Config:
    return tiny_config(tmp_path, **{"tracking": {"wandb_project": "sql"}, **sections})


def test_a_tracker_is_sent_the_steps_and_what_the_run_comes_to(tmp_path: Path, quick: None, shelf: Shelf) -> None:
    run = RunDirectory(run_pipeline(_tracked(tmp_path)))
    (place,) = shelf.runs.values()
    *steps, (last, results) = place["rows"]
    assert [step for step, _ in steps] == [row.step for row in run.metrics()]
    assert [row["loss"] for _, row in steps] == [row.to_json()["loss"] for row in run.metrics()]
    summary = run.summary()
    assert summary and summary.training and summary.headline.tuned and summary.headline.paired
    assert last == summary.training.steps
    assert results["evaluation/tuned/execution_accuracy"] == summary.headline.tuned.accuracy == 1.0
    assert results["evaluation/tuned/execution_accuracy_low"] == summary.headline.tuned.low
    assert results["evaluation/tuned/execution_accuracy_high"] == summary.headline.tuned.high
    assert results["evaluation/difference"] == summary.headline.paired.difference
    assert place["tables"].keys() == LABELS
    table = place["tables"]["tuned"]
    for row, prediction in zip(table.rows, run.predictions("tuned"), strict=True):
        cells = dict(zip(table.columns, row, strict=True))
        assert (cells["id"], cells["sql"], cells["correct"]) == (prediction.id, prediction.sql, prediction.correct)
    assert place["report"] == run.file("report.html").read_text(encoding="utf-8")
    assert place["closed"] == [False]


def test_pass_at_k_is_sent_with_its_interval(tmp_path: Path, quick: None, shelf: Shelf) -> None:
    run_pipeline(_tracked(tmp_path, evaluation={"samples": 2}))
    (place,) = shelf.runs.values()
    _, results = place["rows"][-1]
    sampled = {key.split("/")[1] for key in results if "pass_at_2" in key}
    assert len(sampled) == 2
    for label in sampled:
        low, value, high = (results[f"evaluation/{label}/pass_at_2{end}"] for end in ("_low", "", "_high"))
        assert low <= value <= high and f"evaluation/{label}/pass_at_1" in results


def test_a_run_that_goes_on_continues_in_the_tracker_and_repeats_nothing(
    tmp_path: Path, quick: None, shelf: Shelf
) -> None:
    config = _tracked(tmp_path, on_existing="resume")
    run_pipeline(config, stages=("train",))
    run_pipeline(config)
    assert shelf.opened == [None, "run-0"] and shelf.runs.keys() == {"run-0"}
    steps = [step for step, row in shelf.runs["run-0"]["rows"] if "loss" in row]
    assert steps == [1, 2, 3, 4]
    assert "evaluation/base/execution_accuracy" in shelf.runs["run-0"]["rows"][-1][1]


def test_a_tracker_that_is_added_or_moved_later_gets_what_was_measured_before(
    tmp_path: Path, quick: None, shelf: Shelf
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    run_pipeline(config, stages=("train",))
    for project in ("sql", "other"):
        run_pipeline(_tracked(tmp_path, on_existing="resume", tracking={"wandb_project": project}))
    assert shelf.opened == [None, None]
    for place in shelf.runs.values():
        assert [step for step, row in place["rows"] if "loss" in row] == [1, 2, 3, 4]
    saved = json.loads((config.directory / "trackers.json").read_text())
    assert saved == {"runs": {"wandb": {"project": "other", "id": "run-1"}}}


def test_an_overwritten_run_begins_another_one_in_the_tracker(tmp_path: Path, quick: None, shelf: Shelf) -> None:
    for _ in range(2):
        run_pipeline(_tracked(tmp_path, on_existing="overwrite"))
    assert shelf.opened == [None, None]


def test_the_evaluation_of_a_base_model_alone_is_tracked_too(tmp_path: Path, quick: None, shelf: Shelf) -> None:
    run_pipeline(_tracked(tmp_path), stages=("baseline",))
    (place,) = shelf.runs.values()
    assert place["rows"][-1][1]["evaluation/base/execution_accuracy"] == 0.0
    assert place["tables"].keys() == {"base", "novel-base"}


def test_a_tracker_that_fails_in_the_middle_costs_nothing(
    tmp_path: Path, quick: None, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.fails = True
    directory = run_pipeline(_tracked(tmp_path))
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"]["correct"] == 4
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("Weights & Biases failed and is left out from here (the server is away); the run goes on") == 1


def test_a_run_that_fails_is_closed_as_failed(
    tmp_path: Path, quick: None, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **more: Any) -> Any:
        raise UserError("no")

    monkeypatch.setattr("text2sql.pipeline.stages.train_model", broken)
    with pytest.raises(UserError, match="no"):
        run_pipeline(_tracked(tmp_path))
    assert [place["closed"] for place in shelf.runs.values()] == [[True]]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_tracker_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    kind = KINDS[name]
    config = Config.model_validate({"tracking": {kind.key: True if name == "tensorboard" else "sql"}})
    with pytest.raises(UserError, match=rf"tracking\.{kind.key} needs the package {name} of the extra"):
        check_trackers(config)


def test_who_is_not_let_in_hears_it_before_a_run_is_touched(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    def login() -> None:
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(login=login))
    monkeypatch.setattr("text2sql.pipeline.stages.load_dataset", pytest.fail)
    with pytest.raises(UserError, match=r"tracking\.wandb_project: Weights & Biases cannot be opened \(No API key"):
        run_pipeline(_tracked(tmp_path, on_existing="overwrite"))
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


# The real packages, where they are installed


def _installed(*packages: str) -> None:
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed (the extras tracking and mlflow hold it)")


def _twice(tmp_path: Path, tracking: dict[str, Any]) -> RunDirectory:
    """A run in two starts, the second of which evaluates."""
    config = tiny_config(tmp_path, on_existing="resume", tracking=tracking)
    run_pipeline(config, stages=("train",))
    return RunDirectory(run_pipeline(config))


def test_tensorboard_has_every_number_and_the_answers(tmp_path: Path, quick: None) -> None:
    _installed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = _twice(tmp_path, {"tensorboard": True})
    events = EventAccumulator(str(run.file("tensorboard")))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("evaluation/tuned/execution_accuracy")] == [1.0]
    (text,) = events.Tensors("predictions/tuned/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert shown.count("\n") == 1 + 4 and all(row.question in shown for row in run.predictions("tuned"))


def test_trackio_has_one_run_with_its_answers_and_report(tmp_path: Path, quick: None) -> None:
    _installed("trackio")
    # Its directory is read when it is loaded, so it is loaded anew.
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    values = tiny_values(tmp_path) | {"on_existing": "resume", "tracking": {"trackio_project": "sql"}}
    (tmp_path / "tiny.yaml").write_text(dump_yaml(values))

    def ask(*command: str) -> Any:
        done = subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, check=True)
        return json.loads(done.stdout) if "--json" in command else None

    for command in ("train", "run"):
        ask("text2sql", command, str(tmp_path / "tiny.yaml"))
    own = json.loads((tmp_path / "run" / "trackers.json").read_text())["runs"]["trackio"]["id"]
    assert ask("trackio.cli", "list", "runs", "--project", "sql", "--json")["runs"] == [own]
    losses = ask("trackio.cli", "get", "metric", "--project", "sql", "--run", own, "--metric", "loss", "--json")
    assert [value["step"] for value in losses["values"]] == [1, 2, 3, 4]
    assert ask("trackio.cli", "list", "artifacts", "--project", "sql", "--json")


@pytest.fixture
def mlflow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    _installed("mlflow")
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def test_mlflow_has_one_run_with_parameters_steps_answers_and_report(
    tmp_path: Path, quick: None, mlflow_client: Any
) -> None:
    run = _twice(tmp_path, {"mlflow_experiment": "sql"})
    experiment = mlflow_client.get_experiment_by_name("sql")
    (found,) = mlflow_client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("tiny", "FINISHED")
    assert found.data.params["training.batch_size"] == "8"
    assert found.data.metrics["evaluation/tuned/execution_accuracy"] == 1.0
    own = found.info.run_id
    assert [metric.step for metric in mlflow_client.get_metric_history(own, "loss")] == [1, 2, 3, 4]
    table = json.loads(Path(mlflow_client.download_artifacts(own, "predictions/tuned.json")).read_text())
    place = table["columns"].index("sql")
    assert [row[place] for row in table["data"]] == [row.sql for row in run.predictions("tuned")]
    sent = Path(mlflow_client.download_artifacts(own, "report.html")).read_bytes()
    assert sent == run.file("report.html").read_bytes()
    # A third start, with nothing left to do, doubles no row.
    _twice(tmp_path, {"mlflow_experiment": "sql"})
    again = json.loads(Path(mlflow_client.download_artifacts(own, "predictions/tuned.json")).read_text())
    assert again == table


def test_wandb_writes_one_run_offline(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _installed("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = _twice(tmp_path, {"wandb_project": "sql"})
    own = json.loads(run.file("trackers.json").read_text())["runs"]["wandb"]["id"]
    starts = sorted(run.file("wandb").glob("offline-run-*"))
    assert len(starts) == 2 and all(place.name.endswith(own) for place in starts)
    tables = {path.name.partition("_")[0] for path in starts[1].glob("files/media/table/predictions/*.json")}
    assert tables == LABELS
