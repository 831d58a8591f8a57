"""Whole runs through the real SDK against our server: numbers, cost, budget, download, resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tinker
from tinker.types import RequestErrorCategory

from backends.interface import BackendError
from tests.backends.server.conftest import Running
from tests.backends.tinker.conftest import PRICES
from tests.support import forked
from tests.support.tiny_runs import read_jsonl
from text2sql.commands.adapter_evaluation import evaluate_adapter
from text2sql.config import Config, dump_config
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.budget import BudgetReached
from text2sql.runs.records import MetricsRow, StepMetrics
from text2sql.training.metrics_log import MetricsLog
from text2sql.training.supervised import SubmittedBatch, SupervisedSteps

MEASURED = ("step", "loss", "grad_norm", "learning_rate", "tokens")


pytestmark = pytest.mark.usefixtures("quick")


def metrics(directory: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in MEASURED} for row in read_jsonl(directory / "metrics.jsonl")]


def answers(directory: Path, side: str) -> list[str]:
    return [row["raw"] for row in read_jsonl(directory / f"predictions-{side}.jsonl")]


def test_a_remote_run_equals_a_local_one_and_ends_with_its_weights_here(
    remote_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = run_pipeline(remote_config())
    # The server returns the log-probabilities of every target, and so computes them. A matrix product of fewer rows may
    # round its rows another way, so bits are equal where this machine computes them too.
    options = {"unscored_logprobs": True}
    local = run_pipeline(remote_config(backend="local", output_dir=str(tmp_path / "local"), local=options))
    assert metrics(remote) == metrics(local)
    assert answers(remote, "tuned") == answers(local, "tuned") and answers(remote, "base") == answers(local, "base")

    summary = json.loads((remote / "summary.json").read_text())
    usage = summary["cost"]["usage"]
    assert usage["train"] == sum(row["tokens"] for row in metrics(remote))
    assert usage["sample"] == sum(
        row["tokens"] for side in ("base", "tuned") for row in read_jsonl(remote / f"predictions-{side}.jsonl")
    )
    price = sum(usage[kind] * PRICES[kind] for kind in PRICES) / 1e6
    assert summary["cost"]["dollars"] == pytest.approx(price) and price > 0
    assert json.loads((local / "summary.json").read_text())["cost"]["dollars"] is None
    (checkpoint,) = read_jsonl(remote / "checkpoints.jsonl")
    assert checkpoint["expires"] == summary["training"]["checkpoint_expires"]
    assert "expires on" in capsys.readouterr().out

    _loads_in_plain_peft(remote / "adapter", remote_config().base_model, local)
    evaluate_adapter(remote, remote / "adapter")
    assert "The same answer, to the letter, on 6 of 6" in capsys.readouterr().out
    assert answers(remote, "local") == answers(remote, "tuned")
    for adapter, backend in ((str(remote / "adapter"), "local"), (checkpoint["sampler_path"], "tinker")):
        output = str(tmp_path / f"evaluated-{backend}")
        config = remote_config(backend=backend, output_dir=output, evaluation={"adapter": adapter})
        _is_evaluated_without_training(config, remote)


def _is_evaluated_without_training(config: Config, trained: Path) -> None:
    run = run_pipeline(config)
    assert answers(run, "tuned") == answers(trained, "tuned") and answers(run, "base") == answers(trained, "base")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["training"] is None and any(str(config.evaluation.adapter) in note for note in summary["notes"])
    assert not (run / "metrics.jsonl").exists() and not (run / "checkpoints.jsonl").exists()


def _loads_in_plain_peft(adapter: Path, base_model: str, local: Path) -> None:
    """The downloaded adapter is the one that the same run made here, tied output layer included; it merges exactly."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    (own,) = (local / "checkpoints").glob("*/sampler_weights/*/adapter_model.safetensors")
    downloaded, trained = load_file(adapter / "adapter_model.safetensors"), load_file(own)
    assert sorted(downloaded) == sorted(trained) and any("lm_head" in key for key in downloaded)
    assert all(torch.equal(downloaded[key], trained[key]) for key in trained)
    tokens = torch.arange(1, 30)[None]
    with torch.no_grad():
        bare = AutoModelForCausalLM.from_pretrained(base_model)
        plain = bare(tokens).logits
        # As PEFT asks for tied models.
        bare.lm_head.weight = torch.nn.Parameter(bare.lm_head.weight.detach().clone())
        bare.config.tie_word_embeddings = False
        tuned = PeftModel.from_pretrained(bare, str(adapter)).eval()
        logits = tuned(tokens).logits
        merged = tuned.merge_and_unload()(tokens).logits
    assert (logits - plain).abs().max() > 0.1
    assert (merged - logits).abs().max() < 1e-4


def test_votes_and_second_tries_are_those_of_this_machine(remote_config: Callable[..., Config], tmp_path: Path) -> None:
    ways: dict[str, Any] = {"self_consistency": {"samples": 3}, "retry": {"attempts": 1}}
    remote = run_pipeline(remote_config(evaluation=ways), stages=("baseline",))
    local = remote_config(evaluation=ways, backend="local", output_dir=str(tmp_path / "local"))
    run_pipeline(local, stages=("baseline",))
    for way in ("base-vote", "base-retry"):
        rows = [read_jsonl(run / f"predictions-{way}.jsonl") for run in (remote, tmp_path / "local")]
        there, here = ([(row["raw"], row["tokens"], row["samples"]) for row in side] for side in rows)
        assert there == here and sum(samples for *_, samples in there) > len(there)


def test_a_budget_stops_a_run_with_a_checkpoint_and_more_money_ends_it_the_same(
    remote_config: Callable[..., Config], tmp_path: Path
) -> None:
    straight = run_pipeline(remote_config(output_dir=str(tmp_path / "straight"), evaluation={"baseline": False}))
    steps = [row["tokens"] for row in metrics(straight)]
    # Three steps: between two checkpoints.
    limit = sum(steps[:3]) * PRICES["train"] / 1e6 + 1e-9
    poor = remote_config(evaluation={"baseline": False}, tinker={"max_cost": limit})
    with pytest.raises(BudgetReached, match=r"tinker\.max_cost=.*higher tinker\.max_cost"):
        run_pipeline(poor)
    stopped = tmp_path / "run"
    assert [row["step"] for row in read_jsonl(stopped / "checkpoints.jsonl")] == [3]
    spent = read_jsonl(stopped / "usage.jsonl")
    assert sum(row["train"] for row in spent) == sum(steps[:3]) and not any(row["sample"] for row in spent)
    rich = remote_config(evaluation={"baseline": False}, tinker={"max_cost": 1.0}, on_existing="resume")
    run_pipeline(rich)
    assert metrics(stopped) == metrics(straight) and answers(stopped, "tuned") == answers(straight, "tuned")


def test_a_client_killed_in_the_middle_goes_on_to_the_same_numbers(
    remote_config: Callable[..., Config], tmp_path: Path
) -> None:
    sections: dict[str, Any] = {"training": {"epochs": 3, "checkpoint_every": 3}, "evaluation": {"baseline": False}}
    straight = run_pipeline(remote_config(output_dir=str(tmp_path / "straight"), **sections))
    config = remote_config(**sections)
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    process = forked.start(["train", file], tmp_path / "log")
    recorded = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not recorded.is_file() or recorded.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    forked.kill(process)
    done = recorded.read_bytes().count(b"\n")
    assert 4 <= done < len(metrics(straight)), "it was not in the middle"
    resumed = run_pipeline(config.model_copy(update={"on_existing": "resume"}))
    assert metrics(resumed) == metrics(straight) and answers(resumed, "tuned") == answers(straight, "tuned")


def test_a_server_that_is_restarted_in_the_middle_of_training(
    remote_config: Callable[..., Config],
    start_server: Callable[..., Running],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run goes on from its last checkpoint by itself, to the same numbers."""
    sections: dict[str, Any] = {"evaluation": {"baseline": False}}
    straight = run_pipeline(remote_config(output_dir=str(tmp_path / "straight"), **sections))
    data = tmp_path / "server"
    servers = [start_server(data)]
    port = int(servers[0].url.rpartition(":")[2])
    record = MetricsLog.record

    def record_and_restart(self: MetricsLog, row: MetricsRow) -> None:
        record(self, row)
        if row.step == 3 and len(servers) == 1:
            servers[0].stop()
            servers.append(start_server(data, port=port))

    monkeypatch.setattr(MetricsLog, "record", record_and_restart)
    run = run_pipeline(remote_config(tinker={"base_url": servers[0].url}, **sections))
    assert (
        "The server broke off the training" in (said := capsys.readouterr().out) and "Going on from step 2 of 4" in said
    )
    assert metrics(run) == metrics(straight) and answers(run, "tuned") == answers(straight, "tuned")


def test_a_server_that_loses_the_model_again_and_again_ends_the_run(
    remote_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    collect, tried = SupervisedSteps.collect, []

    def lose(self: SupervisedSteps, submitted: SubmittedBatch, since: float) -> StepMetrics:
        tried.append(submitted.step)
        if submitted.step == 2:
            raise tinker.RequestFailedError("gone", "step", RequestErrorCategory.Server)
        return collect(self, submitted, since)

    monkeypatch.setattr(SupervisedSteps, "collect", lose)
    with pytest.raises(BackendError, match=r"(?s)gone.*the same command goes on from there"):
        run_pipeline(remote_config(evaluation={"baseline": False}))
    # The second time no further than the first.
    assert tried == [0, 1, 2, 2]


def test_questions_in_flight_never_exceed_the_concurrency(
    remote_config: Callable[..., Config], server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    flying = most = 0
    original = tinker.SamplingClient.sample

    def sample(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        future = original(self, *args, **options)

        def landed(_: Any) -> None:
            nonlocal flying
            flying -= 1

        # Older SDKs return the other kind of future itself.
        getattr(future, "future", lambda: future)().add_done_callback(landed)
        return future

    monkeypatch.setattr(tinker.SamplingClient, "sample", sample)
    run_pipeline(remote_config(data={"test_size": 20}, evaluation={"concurrency": 8}), stages=("baseline",))
    assert 1 < most <= 8
