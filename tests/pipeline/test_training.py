"""The training loop on the fake backend: validation, early stopping, order, parts, and what ends it."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import tinker
from tinker import types

from backends.fake import FakeSamplingClient, FakeServiceClient, FakeTrainingClient, _done, _failed
from backends.interface import BackendError
from tests.support.tiny_runs import VALIDATED, read_jsonl, rows, timeless, tiny_config, write_jsonl
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline


def _metrics(directory: Path) -> list[dict[str, Any]]:
    return [timeless(row) for row in read_jsonl(directory / "metrics.jsonl")]


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
    with pytest.raises(UserError, match="at step 3: the validation loss is nan"):
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
    with pytest.raises(UserError, match=r"diverged at step 2: the weights were not saved.*since optimiser step 1"):
        run_pipeline(tiny_config(tmp_path), ("train",))
