"""Whole runs on the fake backend: what they write, how they go on, and what they refuse."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tinker
from tinker import types

from backends.fake import FakeSamplingClient, FakeServiceClient, FakeTrainingClient, _done, _failed
from backends.interface import BackendError
from tests.support.tiny_runs import judge_by_words, read_jsonl, rows, tiny_config, tiny_values, write_jsonl
from text2sql.config import Config
from text2sql.config.yaml import dump_yaml, read_yaml
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.runs.environment import peak_memory

PROMISED = {
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "checkpoints.jsonl",
    "predictions-base.jsonl",
    "predictions-tuned.jsonl",
    "predictions-novel-base.jsonl",
    "predictions-novel-tuned.jsonl",
    "summary.json",
    "report.html",
    "plots",
}
TIMES = (
    "seconds",
    "tokens_per_second",
    "examples_per_second",
    "created",
    "wall_seconds",
    "peak_memory_bytes",
    "usage",
    "checkpoint_path",
)
VALIDATED = {"data": {"validation_size": 5}, "training": {"validate_every": 1, "validation_questions": 2}}


def test_the_peak_memory_is_the_gpus_where_there_is_one() -> None:
    assert peak_memory({"gpu_peak_memory_bytes": 5}) == 5 < 10**6 < peak_memory({})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by text and write no report: for tests of what is around them."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")


def test_a_whole_run_writes_every_promised_file_and_learns(tmp_path: Path) -> None:
    directory = run_pipeline(tiny_config(tmp_path, **VALIDATED))
    assert {entry.name for entry in directory.iterdir()} >= PROMISED
    summary = json.loads((directory / "summary.json").read_text())
    head = summary["headline"]
    assert (head["base"]["correct"], head["tuned"]["correct"], head["tuned"]["n"]) == (0, 4, 4)
    assert head["paired"]["wins"] == 4
    assert summary["data"] | {"source": ""} == {
        "source": "",
        "rows": 30,
        "train": 21,
        "validation": 5,
        "test": 4,
        "dropped": {},
        "leaks": {"tables": 4, "questions": 4},
        "split_by": "example",
    }
    assert summary["training"]["steps"] == 3
    assert summary["training"]["final_loss"] < summary["training"]["first_loss"]
    assert len(summary["novel"]) == 5
    assert list((directory / "plots").iterdir())
    tuned = read_jsonl(directory / "predictions-tuned.jsonl")
    assert all(row["verdict"]["status"] == "equivalent" and row["prompt"].endswith("SQL: ") for row in tuned)


def test_training_alone_and_the_baseline_alone_can_be_completed_later(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path)
    directory = run_pipeline(config, stages=("train",))
    assert not list(directory.glob("predictions-*"))
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"] is None
    before = (directory / "metrics.jsonl").read_bytes()
    run_pipeline(config.model_copy(update={"on_existing": "resume"}))
    assert (directory / "metrics.jsonl").read_bytes() == before
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"]["correct"] == 4


def test_a_run_of_an_older_version_goes_on(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config, stages=("train",))
    file = directory / "config.yaml"
    values, newer = (read_yaml(file.read_text()) for _ in range(2))
    del values["evaluation"]["cache"], values["local"]["method"], values["tracking"]  # it did not know these
    file.write_text(dump_yaml(values))
    run_pipeline(config)
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"]["correct"] == 4
    file.write_text(dump_yaml(newer | {"seed": 5, "later": 1}))
    with pytest.raises(UserError, match="seed was 5, is 0; later was 1, is None"):
        run_pipeline(config)


def test_one_stage_of_a_finished_run_leaves_the_others_in_its_summary(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    file = run_pipeline(config) / "summary.json"
    before = json.loads(file.read_text())
    for stage in ("train", "baseline"):
        run_pipeline(config, stages=(stage,))
        after = json.loads(file.read_text())
        assert after["headline"] == before["headline"] and after["stages"] == before["stages"]


def test_the_report_of_training_alone_can_be_written(tmp_path: Path) -> None:
    directory = run_pipeline(tiny_config(tmp_path), stages=("train",))
    assert "<html" in (directory / "report.html").read_text()


# What is there already


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(f.relative_to(directory)): f.read_bytes() for f in directory.rglob("*") if f.is_file()}


@pytest.mark.parametrize("on_existing", ["ask", "fail"])
def test_a_finished_run_is_not_touched_without_being_told(tmp_path: Path, quick: None, on_existing: Any) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    before = _contents(directory)
    with pytest.raises(UserError, match=r"finished run.*on_existing=resume, overwrite or new"):
        run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    assert _contents(directory) == before


def test_overwrite_starts_anew_and_leaves_nothing_of_the_old_run(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    (directory / "leftover").mkdir()
    run_pipeline(tiny_config(tmp_path, on_existing="overwrite", seed=1))
    assert not (directory / "leftover").exists()
    assert "seed: 1" in (directory / "config.yaml").read_text()
    assert len(read_jsonl(directory / "predictions-tuned.jsonl")) == 4


def test_new_takes_the_next_free_directory(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, on_existing="new")
    first = run_pipeline(config)
    before = _contents(first)
    assert [run_pipeline(config).name for _ in range(2)] == ["run-2", "run-3"]
    assert _contents(first) == before


def test_another_configuration_is_refused_by_key(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    before = _contents(directory)
    for on_existing in ("resume", "ask"):
        with pytest.raises(UserError, match=re.escape("training.batch_size was 8, is 4")):
            run_pipeline(tiny_config(tmp_path, on_existing=on_existing, training={"batch_size": 4}))
    assert _contents(directory) == before


def test_what_machine_it_runs_on_and_what_is_watched_may_change(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path), stages=("train",))
    before = (directory / "metrics.jsonl").read_bytes()
    settings: dict[str, Any] = {
        "evaluation": {"workers": 2, "concurrency": 2},
        "local": {"sample_batch_size": 4, "micro_batch_tokens": 99},
        "training": {"checkpoint_every": 1, "log_samples": 0},
        "tracking": {"trackio_project": None},
    }
    assert run_pipeline(tiny_config(tmp_path, **settings)) == directory
    assert (directory / "metrics.jsonl").read_bytes() == before
    assert "sample_batch_size: 4" in (directory / "config.yaml").read_text()
    assert not (directory / "superseded").exists()


def test_evaluations_are_done_again_where_what_is_measured_changes(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, evaluation={"few_shot": {"k": 1}})
    directory = run_pipeline(config)
    names = [path.name for path in sorted(directory.glob("predictions-*.jsonl"))]
    files = {name: (directory / name).read_bytes() for name in names}
    metrics = (directory / "metrics.jsonl").read_bytes()
    run_pipeline(tiny_config(tmp_path, on_existing="resume", evaluation={"few_shot": {"k": 2}}))
    assert [path.name for path in (directory / "superseded").iterdir()] == ["predictions-few-shot.jsonl"]
    assert (directory / "predictions-few-shot.jsonl").read_bytes() != files["predictions-few-shot.jsonl"]
    # Bytes, to the fake backend: an answer is cut off after three.
    again = tiny_config(tmp_path, on_existing="resume", evaluation={"few_shot": {"k": 2}, "max_new_tokens": 3})
    run_pipeline(again)
    assert sorted(path.name for path in (directory / "superseded-2").iterdir()) == names
    assert (directory / "superseded-2" / "predictions-tuned.jsonl").read_bytes() == files["predictions-tuned.jsonl"]
    assert {row["tokens"] for row in read_jsonl(directory / "predictions-tuned.jsonl")} == {3}
    assert (directory / "metrics.jsonl").read_bytes() == metrics


def test_what_is_learnt_may_change_until_training_has_begun(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path), stages=("baseline",))
    before = (directory / "predictions-base.jsonl").read_bytes()
    run_pipeline(tiny_config(tmp_path, training={"learning_rate": 0.5}))
    assert (directory / "predictions-base.jsonl").read_bytes() == before
    assert {row["learning_rate"] for row in read_jsonl(directory / "metrics.jsonl")} == {0.5}
    with pytest.raises(UserError, match=r"learning_rate was 0.5, is 0.25\. What it has learnt depends on that"):
        run_pipeline(tiny_config(tmp_path, on_existing="resume", training={"learning_rate": 0.25}))


def test_a_start_that_failed_at_once_does_not_stand_in_the_way(tmp_path: Path, quick: None) -> None:
    with pytest.raises(UserError, match=r"batch_size=99 is larger than the 26 training examples"):
        run_pipeline(tiny_config(tmp_path, training={"batch_size": 99}))
    assert not (tmp_path / "run").exists()
    with pytest.raises(BackendError, match="no such GPU"):
        run_pipeline(tiny_config(tmp_path, backend="local", base_model=str(tmp_path), local={"device": "cuda:99"}))
    run_pipeline(tiny_config(tmp_path))


def test_a_start_that_was_killed_before_its_first_file_does_not_either(tmp_path: Path, quick: None) -> None:
    (tmp_path / "run").mkdir()
    for name in (".lock", ".config.yaml.partial"):
        (tmp_path / "run" / name).touch()
    run_pipeline(tiny_config(tmp_path))


@pytest.mark.parametrize("on_existing", ["ask", "overwrite", "resume", "new"])
def test_a_directory_of_other_files_is_left_alone(tmp_path: Path, on_existing: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match="has files in it, but no run"):
        run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    assert [f.name for f in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_run_that_another_process_holds_is_refused(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    holder = RunDirectory(directory)
    holder.lock()
    for on_existing in ("resume", "overwrite"):
        with pytest.raises(UserError, match="in use by another text2sql process"):
            run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    holder.unlock()
    assert {entry.name for entry in directory.iterdir()} >= PROMISED - {"report.html", "plots"}


@pytest.mark.parametrize(
    ("name", "damage", "match", "way"),
    [
        ("checkpoints.jsonl", b"{", "incomplete", "delete it .* the saved checkpoints are found"),
        ("checkpoints.jsonl", b"\xff\xfe\n", "line 1", "delete it"),
        ("checkpoints.jsonl", b"{}\n", "no name, step", "delete it"),
        ("predictions-base.jsonl", b"}\n", "line 1", "delete it .* its questions alone are asked once more"),
        ("config.yaml", b"a: [\n", "line 2", "text2sql config show CONFIG > "),
    ],
)
def test_a_damaged_file_is_named_and_left_and_the_way_on_loses_least(
    tmp_path: Path, quick: None, name: str, damage: bytes, match: str, way: str
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config)
    metrics, summary = (directory / "metrics.jsonl").read_bytes(), (directory / "summary.json").read_text()
    whole = (directory / name).read_bytes()
    (directory / name).write_bytes(damage)
    with pytest.raises(UserError, match=f"(?s){re.escape(name)} is damaged.*{match}.*{way}") as raised:
        run_pipeline(config)
    assert "overwrite" not in str(raised.value)
    assert (directory / name).read_bytes() == damage
    # What the message says works, and nothing that was paid for is done again.
    (directory / name).write_bytes(whole) if name == "config.yaml" else (directory / name).unlink()
    run_pipeline(config)
    assert (directory / "metrics.jsonl").read_bytes() == metrics
    assert _timeless(json.loads((directory / "summary.json").read_text())) == _timeless(json.loads(summary))


@pytest.mark.parametrize(
    "name",
    ["metrics", "timings", "usage", "samples", "training_runs", "environment", "summary"],
)
def test_damaged_bookkeeping_is_left_out_with_a_note(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    config = tiny_config(tmp_path, on_existing="resume", **VALIDATED)
    directory = run_pipeline(config)
    file = next(directory.glob(f"{name}.json*"))
    answers = {path.name: path.read_bytes() for path in directory.glob("predictions-*.jsonl")}
    checkpoints = (directory / "checkpoints.jsonl").read_bytes()
    lines = file.read_bytes().splitlines(keepends=True)
    damage = b'{"half": \n' + b"".join(lines[1:]) if file.suffix == ".jsonl" else b"{}}"
    file.write_bytes(damage)
    capsys.readouterr()
    run_pipeline(config)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{file} was damaged (" in said and f"the damaged file is {file.name}.damaged" in said
    assert (directory / f"{file.name}.damaged").read_bytes() == damage
    assert {path.name: path.read_bytes() for path in directory.glob("predictions-*.jsonl")} == answers
    assert (directory / "checkpoints.jsonl").read_bytes() == checkpoints
    if name == "metrics":
        assert "no record of 1 of the 3 steps" in said
    run_pipeline(config)
    assert "was damaged" not in " ".join(capsys.readouterr().out.split())


def test_emptied_metrics_are_noticed_and_no_checkpoint_is_lost(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config)
    saved = sorted(path.name for path in (directory / "checkpoints").rglob("*.json"))
    (directory / "metrics.jsonl").write_bytes(b"")
    (directory / "checkpoints.jsonl").unlink()
    capsys.readouterr()
    run_pipeline(config)
    assert "no record of 4 of the 4 steps" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in (directory / "checkpoints").rglob("*.json")) == saved
    assert [row["step"] for row in read_jsonl(directory / "checkpoints.jsonl")] == [4]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "data": {"validation_size": 5},
        "training": {"validate_every": 2, "checkpoint_every": 2, "epochs": 3},
    }
    losses = itertools.count(1)
    monkeypatch.setattr("text2sql.training.trainer.Trainer._validation_loss", lambda *_: float(next(losses)))
    stop = tiny_config(tmp_path, on_existing="resume", **settings)
    real = FakeTrainingClient.forward_backward

    def broken(self: Any, *arguments: Any, **more: Any) -> Any:
        if len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) >= 7:
            raise BackendError("the machine went away")
        return real(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(FakeTrainingClient, "forward_backward", broken)
        with pytest.raises(BackendError, match="went away"):
            run_pipeline(stop)
    rows = read_jsonl(tmp_path / "run" / "checkpoints.jsonl")
    # The best and the last.
    assert [row["step"] for row in rows] == [2, 6]
    for file in (tmp_path / "run" / "checkpoints").rglob("step-000006.json"):
        file.write_text("{")
    capsys.readouterr()
    run_pipeline(stop)
    said = " ".join(capsys.readouterr().out.split())
    assert "is damaged" in said and "The one before it is used, of step 2: 4 steps are done again." in said
    steps = [row["step"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert steps == list(range(1, 10))


def test_a_damaged_only_checkpoint_is_named(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    (directory / "predictions-tuned.jsonl").unlink()
    files = list((directory / "checkpoints").rglob("*.json"))
    for damage, match in (
        (lambda f: f.write_text("{"), "is damaged"),
        (lambda f: f.unlink(), "There is no checkpoint"),
    ):
        for file in files:
            damage(file)
        with pytest.raises(BackendError, match=match):
            run_pipeline(tiny_config(tmp_path, on_existing="resume"))


# The loop


def _metrics(directory: Path) -> list[dict[str, Any]]:
    return [_timeless(row) for row in read_jsonl(directory / "metrics.jsonl")]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def test_validation_is_recorded_with_decoded_samples(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path, **VALIDATED))
    validations = [row for row in _metrics(directory) if "validation_loss" in row]
    assert [row["step"] for row in validations] == [1, 2, 3]
    losses = [row["validation_loss"] for row in validations]
    assert losses == sorted(losses, reverse=True) and losses[-1] == 0
    assert validations[-1]["validation_accuracy"] == 1
    samples = read_jsonl(directory / "samples.jsonl")
    assert [row["step"] for row in samples] == [1, 1, 2, 2, 3, 3]
    assert {"question", "sql", "gold", "verdict"} <= set(samples[0])


def test_validation_at_the_end_only(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path, data={"validation_size": 5}))
    assert [row["step"] for row in _metrics(directory) if "validation_loss" in row] == [3]


def test_early_stopping_ends_on_the_plateau_and_uses_the_best(tmp_path: Path, quick: None) -> None:
    settings = {"epochs": 9, "validate_every": 1, "early_stopping": {"patience": 2}}
    directory = run_pipeline(tiny_config(tmp_path, data={"validation_size": 5}, training=settings))
    validations = [row for row in _metrics(directory) if "validation_loss" in row]
    losses = [row["validation_loss"] for row in validations]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 27  # two validations without improvement
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["training"]["checkpoint_step"] == best
    assert "validation_loss" in summary["training"]["stopped_early"]
    assert [row["step"] for row in read_jsonl(directory / "checkpoints.jsonl")] == [best, best + 2]
    kept = {path.stem for path in (directory / "checkpoints").rglob("*.json")}
    assert kept == {f"step-{best:06d}", f"step-{best + 2:06d}"}  # the others are deleted


def test_early_stopping_by_accuracy(tmp_path: Path, quick: None) -> None:
    stopping = {"metric": "validation_accuracy", "patience": 1}
    settings = {"epochs": 9, "validate_every": 1, "validation_questions": 5, "early_stopping": stopping}
    directory = run_pipeline(tiny_config(tmp_path, data={"validation_size": 5}, training=settings))
    accuracies = [row["validation_accuracy"] for row in _metrics(directory) if "validation_accuracy" in row]
    improved = [b > a for a, b in itertools.pairwise(accuracies)]
    assert improved == [True] * (len(improved) - 1) + [False]


def test_max_steps_ends_training_and_the_schedule(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path, training={"max_steps": 2, "schedule": "linear"}))
    assert [(row["step"], row["learning_rate"]) for row in _metrics(directory)] == [(1, 1e-3), (2, 5e-4)]


@pytest.mark.parametrize("parts", [3, 100])
def test_parts_change_nothing_but_the_calls(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    whole = run_pipeline(tiny_config(tmp_path))
    calls = []
    original = FakeTrainingClient.forward_backward

    def counted(self: Any, data: Any, *rest: Any) -> Any:
        calls.append(len(data))
        return original(self, data, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", counted)
    output = str(tmp_path / "parts")
    in_parts = run_pipeline(tiny_config(tmp_path, output_dir=output, training={"parts": parts}))
    assert max(calls) == math.ceil(8 / parts)
    assert sum(calls) == 26
    for a, b in zip(_metrics(whole), _metrics(in_parts), strict=True):
        assert a | {"loss": 0} == b | {"loss": 0}
        assert a["loss"] == pytest.approx(b["loss"])


def test_every_example_is_trained_once_an_epoch_in_an_order_of_the_seed(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[tuple[int, ...]]] = []
    original = FakeTrainingClient.forward_backward

    def recorded(self: Any, data: Any, *rest: Any) -> Any:
        seen[-1].extend(tuple(datum.loss_fn_inputs["target_tokens"].to_numpy()) for datum in data)
        return original(self, data, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", recorded)
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        seen.append([])
        run_pipeline(tiny_config(tmp_path, output_dir=str(tmp_path / name), seed=seed, training={"epochs": 2}))
    first, again, other = seen
    assert first == again != other
    assert set(first[:26]) == set(first[26:]) and len(set(first[:26])) == 26
    assert first[:26] != first[26:]


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_no_number_names_the_batch(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    with monkeypatch.context() as patch:
        steps = []
        original = FakeTrainingClient.optim_step

        def optim_step(self: Any, params: Any) -> Any:
            steps.append(params)
            norm = math.inf if broken == "gradient" and len(steps) == 3 else 1.0
            original(self, params)
            return _done(types.OptimStepResponse(metrics={"grad_norm:mean": norm}))

        def forward_backward(self: Any, data: Any, *rest: Any) -> Any:
            output = self.forward(data, *rest).result()
            self._pending = {}
            loss = math.nan if broken == "loss" and len(steps) == 2 else 1.0
            return _done(types.ForwardBackwardOutput("ArrayRecord", output.loss_fn_outputs, {"loss:sum": loss}))

        patch.setattr(FakeTrainingClient, "optim_step", optim_step)
        patch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
        with pytest.raises(UserError, match=r"diverged at step 3: .*(nan|inf)\. Its batch: tiny/\d+, .* and 3 more"):
            run_pipeline(tiny_config(tmp_path))
    directory = tmp_path / "run"
    assert [row["step"] for row in _metrics(directory)] == [1, 2]
    assert [row["step"] for row in read_jsonl(directory / "checkpoints.jsonl")] == [2]


def test_a_validation_loss_that_is_no_number_is_refused(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = types.ForwardBackwardOutput("ArrayRecord", [], {"loss:sum": math.nan})
    original = FakeTrainingClient.forward_backward
    forward = FakeTrainingClient.forward

    def forward_backward(self: Any, data: Any, *rest: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(FakeTrainingClient, "forward", forward)
            return original(self, data, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    monkeypatch.setattr(FakeTrainingClient, "forward", lambda *arguments: _done(nothing))
    with pytest.raises(UserError, match="at step 3 the validation loss is nan"):
        run_pipeline(tiny_config(tmp_path, data={"validation_size": 5}))


def test_a_failing_backend_is_one_message_and_goes_on_later(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failure = tinker.TinkerError("the queue is gone")
        patch.setattr(FakeTrainingClient, "optim_step", lambda self, params: _failed(failure))
        with pytest.raises(BackendError, match=r"fake failed \(TinkerError: the queue is gone\)"):
            run_pipeline(tiny_config(tmp_path))
    run_pipeline(tiny_config(tmp_path))


def test_a_checkpoint_that_cannot_be_deleted_does_not_end_training(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = tinker.TinkerError("404: it has expired")
    monkeypatch.setattr(FakeServiceClient, "delete_checkpoint_from_tinker_path", lambda self, path: _failed(failure))
    directory = run_pipeline(tiny_config(tmp_path))
    assert [row["step"] for row in read_jsonl(directory / "checkpoints.jsonl")] == [4]


def test_over_long_examples_are_dropped_and_counted(tmp_path: Path, quick: None) -> None:
    long = {"question": "Why? " * 100, "context": "CREATE TABLE t (a INT)", "answer": "SELECT a FROM t"}
    data = write_jsonl(tmp_path / "long.jsonl", [*rows(29), long])
    settings = {"source": str(data), "max_tokens": 300}
    for seed in range(9):  # until it falls on the training side
        output = str(tmp_path / f"run-{seed}")
        directory = run_pipeline(tiny_config(tmp_path, seed=seed, output_dir=output, data=settings), ("train",))
        summary = json.loads((directory / "summary.json").read_text())
        if summary["data"]["dropped"]:
            break
    assert summary["data"]["dropped"] == {"longer than 300 tokens": 1}
    assert (summary["data"]["train"], summary["training"]["examples"]) == (25, 25)
    with pytest.raises(UserError, match=r"26 longer than 30 tokens.*data\.max_dropped"):
        run_pipeline(tiny_config(tmp_path, output_dir=output + "x", data={**settings, "max_tokens": 30}))


def test_answers_of_a_model_that_computes_no_numbers_are_not_scored(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FakeSamplingClient.sample

    def sample(self: Any, *arguments: Any) -> Any:
        response = real(self, *arguments).result()
        for sequence in response.sequences:
            sequence.logprobs_np[-1] = math.nan
        return _done(response)

    with monkeypatch.context() as patch:
        patch.setattr(FakeSamplingClient, "sample", sample)
        with pytest.raises(UserError, match=r"not numbers \(NaN\) where it answers .*local\.dtype=float32"):
            run_pipeline(tiny_config(tmp_path))
    assert not (tmp_path / "run" / "predictions-base.jsonl").read_bytes()
    # The advice is taken.
    run_pipeline(tiny_config(tmp_path, local={"dtype": "float32"}))


def test_weights_that_a_backend_does_not_save_are_a_divergence(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = ValueError("The weights are not finite since optimiser step 1.")
    monkeypatch.setattr(FakeTrainingClient, "save_state", lambda *arguments, **more: _failed(refusal))
    with pytest.raises(UserError, match=r"diverged: the weights of step 2 were not saved.*since optimiser step 1"):
        run_pipeline(tiny_config(tmp_path), ("train",))


# Going on


def _same_run(directory: Path, other: Path) -> None:
    """All results are equal, times and random checkpoint paths apart."""
    for path in sorted(other.glob("predictions-*.jsonl")):
        assert (directory / path.name).read_bytes() == path.read_bytes()
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert _timeless(read_jsonl(directory / name)) == _timeless(read_jsonl(other / name))
    steps = [[row["step"] for row in read_jsonl(d / "checkpoints.jsonl")] for d in (directory, other)]
    assert steps[0] == steps[1]
    summaries = [_timeless(json.loads((d / "summary.json").read_text())) for d in (directory, other)]
    assert summaries[0] == summaries[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Path]]:
    """A configuration with every stage in it, and the directory of its run."""
    patch = pytest.MonkeyPatch()
    judge_by_words(patch)
    patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    patch.setattr("text2sql.runs.environment._git_commit", lambda: None)
    patch.setattr("os.fsync", lambda descriptor: None)
    settings = {**VALIDATED["training"], "epochs": 3, "early_stopping": {"patience": 3}}
    config = tiny_config(tmp_path_factory.mktemp("data"), data=VALIDATED["data"], training=settings)
    yield config, run_pipeline(config)
    patch.undo()


def test_a_truncated_predictions_file_continues_to_the_same_bytes(
    undisturbed: tuple[Config, Path], tmp_path: Path
) -> None:
    config, expected = undisturbed
    whole = (expected / "predictions-tuned.jsonl").read_bytes()
    config = config.model_copy(update={"output_dir": str(tmp_path / "run"), "on_existing": "resume"})
    directory = run_pipeline(config)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (directory / "predictions-tuned.jsonl").write_bytes(whole[:length])
        with (directory / "timings.jsonl").open("ab") as file:  # a line that a kill left incomplete
            file.write(b'{"stage": "tun')
        run_pipeline(config)
        _same_run(directory, expected)


def test_only_what_is_missing_is_sampled_again(
    undisturbed: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, expected = undisturbed
    config = config.model_copy(update={"output_dir": str(tmp_path / "run"), "on_existing": "resume"})
    directory = run_pipeline(config)
    lines = (directory / "predictions-base.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "predictions-base.jsonl").write_bytes(b"".join(lines[:-1]))
    asked = []
    original = FakeSamplingClient.sample

    def counted(self: Any, *arguments: Any) -> Any:
        asked.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(FakeSamplingClient, "sample", counted)
    run_pipeline(config)
    assert len(asked) == 1  # groups of 3: the first is kept whole, the second has one question
    _same_run(directory, expected)


class _Kill(BaseException):
    """Stands for a kill: nothing catches it."""


@contextmanager
def _killed_at(write: int, how: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Die at the n-th write of the run: before it, or in the middle of it."""
    count = 0

    def deadly(original: Callable[..., None], torn: Callable[..., None]) -> Callable[..., None]:
        def method(self: RunDirectory, name: str, value: Any) -> None:
            nonlocal count
            count += 1
            if count == write:
                if how == "torn":
                    torn(self, name, value)
                raise _Kill
            original(self, name, value)

        return method

    def torn_append(self: RunDirectory, name: str, value: Any) -> None:
        with self.file(name).open("a") as file:
            file.write(json.dumps(value[0].to_json())[:-5])

    def torn_write(self: RunDirectory, name: str, text: str) -> None:
        self.file(f".{name}.partial").write_text(text[: len(text) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", deadly(RunDirectory.append, torn_append))
        patch.setattr(RunDirectory, "write", deadly(RunDirectory.write, torn_write))
        yield


@pytest.mark.parametrize("how", ["before", "torn"])
def test_killed_at_any_write_and_run_again_the_numbers_are_the_same(
    undisturbed: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    config, expected = undisturbed
    kills = 0
    for write in range(1, 1000):
        again = config.model_copy(update={"output_dir": str(tmp_path / f"run-{write}")})
        try:
            with _killed_at(write, how, monkeypatch):
                run_pipeline(again)
        except _Kill:
            kills += 1
        else:
            break  # it has fewer writes: that run went through
        finished = again.model_copy(update={"on_existing": "resume"})  # after the summary, `ask` would ask
        _same_run(run_pipeline(finished), expected)
    assert kills > 30


# What a newcomer tried


def test_a_bundled_run_of_over_long_examples_is_stopped(tmp_path: Path) -> None:
    data = {"limit": 24, "test_size": 10, "max_tokens": 300}  # bytes, to the fake backend
    config = Config(backend="fake", output_dir=str(tmp_path / "run"), data=data, training={"batch_size": 8})
    with pytest.raises(UserError, match=r"longer than 300 tokens.*max_dropped"):
        run_pipeline(config)


def test_training_alone_is_not_a_finished_run(tmp_path: Path) -> None:
    config = Config(**tiny_values(tmp_path))
    run_pipeline(config, stages=("train",))
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    run_pipeline(config)  # goes on, without being asked
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["headline"]["paired"] and summary["stages"] == ["baseline", "evaluate", "train"]


def test_going_on_keeps_the_record_of_the_start(tmp_path: Path) -> None:
    config = Config(**tiny_values(tmp_path))
    run_pipeline(config)
    run = tmp_path / "run"
    (run / "environment.json").write_text('{"git": "of the start"}')
    summary = json.loads((run / "summary.json").read_text())
    summary["cost"]["peak_memory_bytes"] = 10**15
    (run / "summary.json").write_text(json.dumps(summary))
    run_pipeline(config.model_copy(update={"on_existing": "resume"}))
    assert json.loads((run / "environment.json").read_text()) == {"git": "of the start"}
    assert json.loads((run / "summary.json").read_text())["cost"]["peak_memory_bytes"] == 10**15


def test_a_database_that_is_not_there_is_dropped_and_counted(tmp_path: Path) -> None:
    values = tiny_values(tmp_path)
    data = write_jsonl(tmp_path / "db.jsonl", [{**row, "db": "nothere.sqlite"} for row in rows(6, spellings=5)])
    with pytest.raises(UserError, match="30 database file not found"):
        run_pipeline(Config(**{**values, "data": {"source": str(data), "test_size": 4}}))
