"""The hosted service itself: `pytest -m tinker_api`, with TINKER_API_KEY, the network and a few cents.

`TINKER_TEST_MODEL` names another model than the smallest that the dated list has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backends import open_backend
from backends.options import TinkerOptions
from backends.planning import prices
from backends.planning.lineup import lineup
from backends.tinker.preflight import check_remote
from tests.support.tiny_runs import read_jsonl, tiny_config, tiny_values
from text2sql.commands.bill import print_bill
from text2sql.commands.hosted_models import print_served
from text2sql.config import Config
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import SampledGroup

PUBLISHED = prices.PUBLISHED_URL
MODEL = os.environ.get("TINKER_TEST_MODEL", "Qwen/Qwen3.5-4B")

pytestmark = [
    pytest.mark.tinker_api,
    pytest.mark.skipif("TINKER_API_KEY" not in os.environ, reason="no TINKER_API_KEY"),
]


@pytest.fixture(autouse=True)
def prices_of_today(no_prices_of_today: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "PUBLISHED_URL", PUBLISHED)
    prices.fetch_list.cache_clear()


def _config(directory: Path, **sections: Any) -> Config:
    training = {"batch_size": 4, "max_steps": 4, "learning_rate": 1e-3}
    return tiny_config(
        directory, backend="tinker", base_model=MODEL, training=training, tinker={"max_cost": 0.05}, **sections
    )


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = run_pipeline(_config(tmp_path))
    losses = [row["loss"] for row in read_jsonl(directory / "metrics.jsonl")]
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert (directory / "adapter" / "adapter_model.safetensors").is_file()
    summary = RunDirectory(directory).summary()
    assert summary and summary.cost.dollars and summary.cost.prices and PUBLISHED in str(summary.cost.prices.source)
    # It lags by hours, so that no number is certain; that it can be asked is.
    capsys.readouterr()
    print_bill(directory)
    assert "counted here" in capsys.readouterr().out


def test_the_published_prices_can_be_read() -> None:
    found = prices.find_prices(MODEL, TinkerOptions())
    assert found is not None and PUBLISHED in found[1] and found[0].cached_prefill


def test_the_service_serves_what_the_dated_list_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails when the list is out of date: what differs is in the output."""
    check_remote(TinkerOptions(), MODEL)
    print_served(None)
    assert f"The service serves what the list of {lineup().as_of} says." in capsys.readouterr().out


@pytest.mark.parametrize("thinking", ["off", "on"])
def test_a_chat_that_thinks_or_not(tmp_path: Path, thinking: str) -> None:
    config = _config(
        tmp_path,
        prompt={"template": "chat", "thinking": thinking},
        evaluation={"max_thinking_tokens": 64, "novel_questions": False},
    )
    directory = run_pipeline(config, stages=("baseline",))
    rows = read_jsonl(directory / "predictions-base.jsonl")
    assert rows and all(bool(row.get("thought")) == (thinking == "on") for row in rows)


def test_a_step_from_verdicts(tmp_path: Path) -> None:
    values = {
        **tiny_values(tmp_path),
        "backend": "tinker",
        "base_model": MODEL,
        "training": {"learning_rate": 1e-4},
        "tinker": {"max_cost": 0.05},
        "rl": {"method": "policy_gradient", "cold_start": True, "steps": 1, "questions": 2, "group": 4},
    }
    run = RunDirectory(run_pipeline(Config.model_validate(values), stages=("train",)))
    assert len([row for row in run.rollouts() if isinstance(row, SampledGroup)]) == 2 and run.metrics()


def test_log_probabilities_are_those_of_the_sampling() -> None:
    """What a local run rests on: a sampled token's log-probability is the one that the same weights give it."""
    from tinker import types

    service = open_backend("tinker", TinkerOptions())
    try:
        sampler = service.create_sampling_client(base_model=MODEL).result()
        prompt = sampler.get_tokenizer().encode("SELECT COUNT(*) FROM")
        params = types.SamplingParams(max_tokens=8, temperature=1.0, seed=1)
        (sequence,) = sampler.sample(types.ModelInput.from_ints(prompt), 1, params).result().sequences
        scored = sampler.compute_logprobs(types.ModelInput.from_ints([*prompt, *sequence.tokens])).result()
        assert scored[len(prompt) :] == pytest.approx(list(sequence.logprobs or ()), abs=0.05)
    finally:
        service.close("success")
