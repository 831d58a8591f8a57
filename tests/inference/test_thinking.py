"""Thinking within its limit: the block apart from the answer, base and tuned model alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import rows, tiny_config
from text2sql.config import Config, EvaluationConfig, PromptConfig
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.inference.generate import Generation, GenerationRequest, PendingGenerations, generate, stream
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory

ASKED = Example("q", "How many berths?", "CREATE TABLE berth (quay TEXT)", "SELECT COUNT(*) FROM berth")


def _config(thinking: str, **evaluation: Any) -> Config:
    given = {"max_new_tokens": 6, "max_thinking_tokens": 9, "stop": [], **evaluation}
    return Config(
        prompt=PromptConfig.model_validate({"template": "chat", "thinking": thinking}),
        evaluation=EvaluationConfig(**given),
    )


def _texts(answer: Generation) -> tuple[str, str, int]:
    return answer.thought, answer.text, answer.tokens


def test_the_block_is_closed_within_its_limit(open_local: Callable[..., Any], thinking_model: str) -> None:
    sampler = open_local().create_sampling_client(base_model=thinking_model).result()
    config = _config("on")
    pending = PendingGenerations(GenerationRequest([ASKED], samples=2, temperature=1.0), sampler, config)
    pending.submit()
    (answers,) = pending.results()
    for answer in answers:
        assert answer.thought and "</think>" not in answer.thought
        assert answer.prompt.endswith("<turn>assistant\n<think>\n")
        assert answer.tokens <= 9 + 6 and answer.thought not in answer.text
    assert len({answer.thought for answer in answers}) == 2
    # What a budget sets aside is at least what it then pays.
    assert pending.prompt_tokens <= pending.max_prompt_tokens
    assert sum(answer.tokens for answer in answers) <= pending.max_tokens


def test_the_answer_is_what_the_model_says_behind_its_thoughts(
    open_local: Callable[..., Any], thinking_model: str
) -> None:
    sampler = open_local().create_sampling_client(base_model=thinking_model).result()
    ((thought,),) = generate(GenerationRequest([ASKED]), sampler, _config("on"))
    *growing, last = stream(ASKED, sampler, _config("on"))
    assert _texts(last) == _texts(thought) and last.stop_reason == thought.stop_reason
    assert growing[0].thought and not growing[0].text
    ((direct,),) = generate(GenerationRequest([ASKED]), sampler, _config("off"))
    assert not direct.thought and direct.prompt.endswith("<think>\n\n</think>\n\n")


def test_a_run_keeps_thoughts_apart(tmp_path: Path, thinking_model: str) -> None:
    settings: dict[str, Any] = {
        "backend": "local",
        "base_model": thinking_model,
        "prompt": {"template": "chat", "thinking": "on"},
        "evaluation": {"max_new_tokens": 32, "max_thinking_tokens": 5, "novel_questions": False, "stop": []},
    }
    with pytest.raises(UserError, match=r"prompt.thinking=on: reasoning is trained"):
        run_pipeline(tiny_config(tmp_path, **settings))
    source = tmp_path / "reasoned.jsonl"
    worked = [{**row, "reasoning": "Rows are counted."} for row in rows(40)]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in worked))
    run = RunDirectory(run_pipeline(tiny_config(tmp_path, **settings, data={"source": str(source), "test_size": 4})))
    for label in ("base", "tuned"):
        predictions = run.predictions(label)
        assert len(predictions) == 4 and all(row.thought for row in predictions)
        assert not any("</think>" in row.raw or (row.thought or "") in row.raw for row in predictions)
