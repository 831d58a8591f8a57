"""Steps that are sampled ahead of the one that is learnt from: how far, from which weights, and nothing is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from backends.fake import FakeSamplingClient, FakeTrainingClient
from tests.support.rl_runs import fake_config, judge_here, training_alone
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.rl.background_sampler import BackgroundSampler
from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import RlStepMetrics, SampledGroup


@pytest.fixture(autouse=True)
def verdicts_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_here(monkeypatch)
    training_alone(monkeypatch)


@pytest.mark.parametrize(("most", "versions"), [(0, [0, 1, 2, 3]), (1, [0, 0, 1, 2]), (3, [0, 0, 0, 0])])
def test_weights_that_sample_are_no_further_behind_than_allowed(tmp_path: Path, most: int, versions: list[int]) -> None:
    run = RunDirectory(
        run_pipeline(fake_config(tmp_path, rl={"steps": 4, "max_steps_off_policy": most}), stages=("train",))
    )
    groups = [row for row in run.rollouts() if isinstance(row, SampledGroup)]
    assert {(row.step, row.step - row.staleness) for row in groups} == set(enumerate(versions))
    steps = [row for row in run.metrics() if isinstance(row, RlStepMetrics)]
    assert [row.staleness or 0 for row in steps] == [step - version for step, version in enumerate(versions)]


def test_the_step_after_is_sampled_while_one_is_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The update of a step ends only when the step after it has been sampled: neither waits for the other."""
    config = fake_config(tmp_path, rl={"max_steps_off_policy": 1})
    run = RunDirectory(config.directory)
    optim_step = FakeTrainingClient.optim_step
    updates: list[int] = []

    def slow(self: Any, params: types.AdamParams) -> Any:
        ahead, deadline = min(len(updates) + 1, 2), time.monotonic() + 20
        while sum(isinstance(row, SampledGroup) and row.step == ahead for row in run.rollouts()) < 4:
            assert time.monotonic() < deadline, f"step {ahead} is not sampled"
            time.sleep(0.005)
        updates.append(ahead)
        return optim_step(self, params)

    monkeypatch.setattr(FakeTrainingClient, "optim_step", slow)
    run_pipeline(config, stages=("train",))
    assert updates == [1, 2, 2]


def test_ratios_are_to_the_weights_that_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loss gets as an answer's log-probabilities is what the journal has of its sampling."""
    config = fake_config(tmp_path, rl={"steps": 4, "max_steps_off_policy": 2})
    sent: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
    compute = FakeTrainingClient.forward_backward

    def forward_backward(self: Any, data: Any, loss_fn: str, loss_fn_config: Any = None) -> Any:
        for datum in data:
            weighed = datum.loss_fn_inputs["advantages"].to_numpy() != 0
            targets, logprobs = (datum.loss_fn_inputs[key].to_numpy()[weighed] for key in ("target_tokens", "logprobs"))
            sent.append((tuple(targets.tolist()), tuple(logprobs.tolist())))
        return compute(self, data, loss_fn, loss_fn_config)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    run = RunDirectory(run_pipeline(config, stages=("train",)))
    sampled = {
        (answer.tokens, answer.logprobs)
        for row in run.rollouts()
        if isinstance(row, SampledGroup)
        for answer in row.answers
    }
    assert sent and set(sent) <= sampled


def test_what_fails_ahead_ends_the_run_at_its_step_and_keeps_the_steps_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fake_config(tmp_path, rl={"max_steps_off_policy": 1})
    sample, calls = FakeSamplingClient.sample, []

    def failing(self: Any, prompt: Any, count: int, params: types.SamplingParams, *others: Any) -> Any:
        calls.append(threading.current_thread().name)
        if len(calls) == 6:
            raise UserError("the sampler is away")
        return sample(self, prompt, count, params, *others)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="the sampler is away"):
        patch.setattr(FakeSamplingClient, "sample", failing)
        run_pipeline(config, stages=("train",))
    run = RunDirectory(config.directory)
    # The first step is sampled by the loop, and is done.
    assert [row.step for row in run.metrics()] == [1]
    assert set(calls[:4]) == {"MainThread"} and set(calls[4:]) == {"sampling ahead"}
    run_pipeline(config, stages=("train",))
    assert [row.step for row in run.metrics()] == [1, 2, 3]


def test_work_ahead_is_done_in_order_once_and_told_where_it_is_finished() -> None:
    ahead, done = BackgroundSampler(), []
    gate = threading.Event()

    def fails() -> None:
        raise ValueError("of the second")

    ahead.submit(1, lambda: (gate.wait(10), done.append(1))[1])
    ahead.submit(2, fails)
    ahead.submit(2, lambda: done.append(2))
    gate.set()
    ahead.settle()
    ahead.finish(1)
    with pytest.raises(ValueError, match="of the second"):
        ahead.finish(2)
    ahead.finish(3)
    ahead.close()
    assert done == [1]
