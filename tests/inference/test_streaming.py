"""Answers as they are written: what grows is the answer that comes whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.fake import FakeSamplingClient, FakeServiceClient
from tests.support.tiny_runs import rows, tiny_config
from text2sql.config import Config, EvaluationConfig, PromptConfig
from text2sql.data.example import Example
from text2sql.inference.ask import open_answerer
from text2sql.inference.generate import GenerationRequest, generate, stream
from text2sql.pipeline.run import run_pipeline

ASKED = Example("q", "How many berths?", "CREATE TABLE berth (quay TEXT)", "SELECT COUNT(*) FROM berth")


def _config(**evaluation: Any) -> Config:
    return Config(prompt=PromptConfig(template="plain"), evaluation=EvaluationConfig(**evaluation))


@pytest.mark.parametrize("stop", [["\n\n", "Question:"], ["e"], []])
def test_the_last_state_is_the_answer_that_comes_whole(
    open_local: Callable[..., Any], tiny_model: str, stop: list[str]
) -> None:
    sampler = open_local().create_sampling_client(base_model=tiny_model).result()
    config = _config(max_new_tokens=12, stop=stop)
    states = list(stream(ASKED, sampler, config))
    ((whole,),) = generate(GenerationRequest([ASKED]), sampler, config)
    assert states[-1] == whole and [s.tokens for s in states[:-1]] == list(range(1, whole.tokens + 1))
    assert not any(s.stop_reason for s in states[:-1]) and states[-2].raw == whole.raw


def test_whoever_stops_listening_ends_the_sampling(open_local: Callable[..., Any], tiny_model: str) -> None:
    sampler = open_local().create_sampling_client(base_model=tiny_model).result()
    coming = stream(ASKED, sampler, _config(max_new_tokens=10_000 // 32, stop=[]))
    assert next(coming).tokens == 1
    coming.close()  # type: ignore[attr-defined]
    ((after,),) = generate(GenerationRequest([ASKED]), sampler, _config(max_new_tokens=2))
    # The device is free.
    assert after.tokens == 2


@pytest.mark.parametrize("streams", [True, False])
def test_a_backend_that_cannot_stream_gives_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    run = run_pipeline(tiny_config(tmp_path), stages=("train",))
    if not streams:
        monkeypatch.setattr(FakeServiceClient, "capabilities", replace(FakeServiceClient.capabilities, streams=False))
        monkeypatch.delattr(FakeSamplingClient, "stream")
    row = rows(1)[0]
    with open_answerer(run) as answerer:
        states = list(answerer.stream(row["question"], row["context"], "tuned"))
        assert states[-1].finished and states[-1].sql == answerer.answer(row["question"], row["context"], "tuned").sql
    assert "COUNT" in states[-1].sql
    assert (len(states) > 1) == streams and not any(state.finished or state.sql for state in states[:-1])
