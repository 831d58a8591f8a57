"""Ctrl-C and SIGTERM during a run: what was computed is kept where it can be, and said where it cannot."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.fake import FakeSamplingClient
from tests.support.rl_runs import fake_config, judge_here
from tests.support.tiny_runs import judge_by_words, read_jsonl, timeless, tiny_config
from text2sql.config import Config
from text2sql.pipeline.run import run_pipeline
from text2sql.rl.verdict_steps import VerdictSteps
from text2sql.training.supervised import SupervisedSteps


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)
    judge_here(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")


def supervised(directory: Path, **others: Any) -> Config:
    return tiny_config(directory, training={"epochs": 3, "checkpoint_every": 1000}, **others)


def from_verdicts(directory: Path, **others: Any) -> Config:
    return fake_config(directory, training={"checkpoint_every": 1000}, **others)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.endswith("_seconds")}
        for row in timeless(read_jsonl(run / "metrics.jsonl"))
    ]


def signalled(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: int, *signals: signal.Signals) -> None:
    """Let signals come in the n-th call of a method."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def method(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            for each in signals:
                signal.raise_signal(each)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("make", "steps"), [(supervised, SupervisedSteps), (from_verdicts, VerdictSteps)], ids=["supervised", "verdicts"]
)
def test_the_first_signal_keeps_the_steps_that_were_done(
    make: Callable[..., Config], steps: type, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run_pipeline(make(tmp_path, output_dir=str(tmp_path / "straight")))
    config = make(tmp_path, output_dir=str(tmp_path / "stopped"))
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stopped:
        signalled(patch, steps, "collect", 2, number)
        run_pipeline(config)
    assert signal.getsignal(number) is before
    assert not any("done again" in note for note in stopped.value.__notes__)
    run = tmp_path / "stopped"
    done = [row["step"] for row in read_jsonl(run / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in read_jsonl(run / "checkpoints.jsonl")] == done[-1:] and len(done) >= 2
    whole = [row["step"] for row in read_jsonl(straight / "metrics.jsonl") if "loss" in row]
    assert len(done) < len(whole), "it did not stop"
    run_pipeline(config)
    assert metrics(run) == metrics(straight)
    for path in straight.glob("predictions-*.jsonl"):
        assert (run / path.name).read_bytes() == path.read_bytes()


def test_the_second_signal_stops_at_once_and_says_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        signalled(monkeypatch, SupervisedSteps, "collect", 3, signal.SIGINT, signal.SIGINT)
        run_pipeline(supervised(tmp_path, output_dir=str(tmp_path / "run")))
    notes = " ".join(stopped.value.__notes__)
    assert "2 steps after the last checkpoint will be done again." in notes and "What was finished is kept" in notes


def test_a_request_during_the_last_step_stops_before_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run_pipeline(supervised(tmp_path, output_dir=str(tmp_path / "straight")))
    steps = len([row for row in read_jsonl(straight / "metrics.jsonl") if "loss" in row])
    with pytest.raises(KeyboardInterrupt):
        signalled(monkeypatch, SupervisedSteps, "collect", steps, signal.SIGTERM)
        run_pipeline(supervised(tmp_path, output_dir=str(tmp_path / "run")))
    assert [row["step"] for row in read_jsonl(tmp_path / "run" / "checkpoints.jsonl")][-1] == steps
    assert not (tmp_path / "run" / "predictions-tuned.jsonl").exists()


def test_the_machine_is_taken_back_during_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = supervised(tmp_path, output_dir=str(tmp_path / "run"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stopped:
        signalled(patch, FakeSamplingClient, "sample", 2, signal.SIGTERM)
        run_pipeline(config)
    assert any("What was finished is kept" in note for note in stopped.value.__notes__)
    run_pipeline(config)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["evaluations"].keys() == {"base", "tuned"}


def test_of_several_processes_none_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.runs.interruption.shares_work", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        signalled(monkeypatch, SupervisedSteps, "collect", 3, signal.SIGINT)
        run_pipeline(supervised(tmp_path, output_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run" / "checkpoints.jsonl").exists()
