"""Learning from verdicts with a model that thinks: what is thought is learnt, the marks that close it are not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinker import types

from tests.support.rl_runs import training_alone
from tests.support.tiny_runs import rows, write_jsonl
from text2sql.config import Config
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, tokenize
from text2sql.equivalence.verdict import Verdict
from text2sql.inference.generate import GenerationRequest, sampling_params
from text2sql.pipeline.run import run_pipeline
from text2sql.rl.advantages import policy_data, token_advantage_data
from text2sql.rl.answers import TrainedAnswer, trained_answers
from text2sql.rl.pending import PendingGroup, PolicySnapshot, TokenizedQuestion, submit_samples
from text2sql.rl.preferences import preference_data
from text2sql.rl.sampling import thinking_block
from text2sql.runs.budget import TokenCount
from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import GradedAnswer, GradedGroup, RlStepMetrics, SampledAnswer, SampledGroup

ASKED = Example("q", "How many berths?", "CREATE TABLE berth (quay TEXT)", "SELECT COUNT(*) FROM berth")
LIMITS = {"max_new_tokens": 6, "max_thinking_tokens": 5, "max_unusable_golds": 1, "baseline": False, "workers": 1}
METHODS: dict[str, dict[str, Any]] = {
    "policy_gradient": {"steps": 2},
    "dpo": {"steps": 2},
    "rft": {"rft": {"rounds": 1.0}},
}


def _config(tmp_path: Path, model: str, method: str = "policy_gradient") -> Config:
    return Config.model_validate(
        {
            "name": "thinks",
            "output_dir": str(tmp_path / "run"),
            "backend": "local",
            "base_model": model,
            "data": {"source": str(write_jsonl(tmp_path / "rows.jsonl", rows(6))), "test_size": 2},
            "prompt": {"template": "chat", "thinking": "on"},
            "training": {"learning_rate": 1e-3},
            "local": {"device": "cpu"},
            "lora": {"rank": 4},
            "evaluation": LIMITS,
            "rl": {"method": method, "cold_start": True, "questions": 2, "group": 3, **METHODS[method]},
        }
    )


def test_an_answer_is_what_was_thought_its_end_and_the_query(
    open_local: Callable[..., Any], thinking_model: str, tmp_path: Path
) -> None:
    config = _config(tmp_path, thinking_model)
    sampler = open_local().create_sampling_client(base_model=thinking_model).result()
    tokenizer = sampler.get_tokenizer()
    block = thinking_block(tokenizer, config)
    assert block is not None
    question = TokenizedQuestion(ASKED, tokenize([ASKED], tokenizer, PromptFormat.of(config))[0])
    params = sampling_params(GenerationRequest([ASKED], samples=3, temperature=1.0, seed=5), tokenizer, config)
    samples = submit_samples(question, sampler, 3, params, block)
    pending = PendingGroup(0, 0, question, 5, PolicySnapshot(sampler, tokenizer, 0), TokenCount(), samples)
    results = pending.results()
    answers, read, cached = results.answers, results.prefill_tokens, results.cached_tokens
    assert len({answer.tokens for answer in answers}) == 3
    for answer in answers:
        assert answer.thinking_length is not None and 0 < answer.thinking_length <= 5
        assert [answer.tokens[place] for place in answer.forced_tokens] == list(block.closing)
        assert 0 < len(answer.answer_tokens) <= 6 and len(answer.logprobs) == len(answer.tokens)
        # Every token that was sampled has the probability that these weights give it where it stands.
        ids = [*question.prompt, *answer.tokens]
        scored = sampler.compute_logprobs(types.ModelInput.from_ints(ids)).result()[len(question.prompt) :]
        chosen = np.delete(np.arange(len(answer.tokens)), answer.forced_tokens)
        np.testing.assert_allclose(np.asarray(scored)[chosen], np.asarray(answer.logprobs)[chosen], atol=1e-4)
        assert {answer.logprobs[place] for place in answer.forced_tokens} == {0.0}
    assert read == len(question.prompt) * 4 + sum(answer.forced_tokens.stop for answer in answers) and cached <= read


def _group() -> tuple[SampledGroup, GradedGroup]:
    answer = SampledAnswer(
        tokens=(1, 2, 3, 4, 5),
        logprobs=(-1.0, -2.0, 0.0, 0.0, -3.0),
        stop_reason="stop",
        thinking_length=2,
        closing_length=2,
    )
    answer_grade = GradedAnswer(sql="", verdict=Verdict("different", ""), outcome="runs", reward=0.0)
    asked = ((-2.0, -2.0, -7.0, -7.0, -4.0), (-1.0, -1.0, -9.0, -9.0, -2.0))
    group = SampledGroup(
        step=0, index=0, id="q", question="", context="", gold="", seed=1, prompt=(9, 9), answers=(answer, answer)
    )
    return group, GradedGroup(step=0, index=0, answers=(answer_grade, answer_grade), start_logprobs=asked)


def test_what_nobody_sampled_weighs_nothing_in_any_loss() -> None:
    answers = trained_answers(*_group())
    # The mean of log q - log r over the six tokens that were sampled: the marks' are in none of it.
    assert np.concatenate([answer.log_ratio[answer.sampled_mask] for answer in answers]).tolist() == [
        1,
        0,
        1,
        0,
        -1,
        -1,
    ]
    for made in (policy_data(answers, 0.5), token_advantage_data(answers, [np.ones(5), np.ones(5)])):
        for each in made:
            advantages = each.datum.loss_fn_inputs["advantages"].to_numpy()
            # One for the prompt's second token, two thoughts, two marks, and the answer.
            assert len(advantages) == 6 and advantages[[0, 3, 4]].tolist() == [0, 0, 0] and advantages[5]
    assert advantages[[1, 2, 5]].tolist() == pytest.approx([1 / 6] * 3)
    pairs = preference_data(answers)
    assert [int((each.datum.loss_fn_inputs["weights"].to_numpy() > 0).sum()) for each in pairs] == [3, 3]


def test_an_answer_without_thinking_is_as_before() -> None:
    assert TrainedAnswer([1], [2, 3], np.array([-1.0, -2.0])).sampled_mask.all()
    assert "thought" not in SampledAnswer(tokens=(1,), logprobs=(0.0,), stop_reason="stop").to_json()


@pytest.mark.parametrize("method", METHODS)
def test_a_run_learns_from_what_it_thought(
    tmp_path: Path, thinking_model: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    training_alone(monkeypatch)
    read: list[str] = []

    def grade_answers(answers: Sequence[Any], *args: Any, **options: Any) -> list[GradedAnswer]:
        """Every other answer is right, whatever it says."""
        read.extend(answer.answer for answer in answers)
        right = itertools.cycle([True, False])
        return [
            GradedAnswer(
                sql=f"SELECT {place}",
                verdict=Verdict("equivalent" if good else "different", ""),
                outcome="equivalent" if good else "runs",
                reward=1.0 if good else 0.1,
            )
            for place, good in zip(range(len(answers)), right, strict=False)
        ]

    monkeypatch.setattr("text2sql.rl.rollouts.grade_answers", grade_answers)
    run = RunDirectory(run_pipeline(_config(tmp_path, thinking_model, method), stages=("train",)))
    done = [row for row in run.metrics() if isinstance(row, RlStepMetrics)]
    assert len(done) == 2 and all(row.learnt for row in done)
    # The weights that learn are those that sampled: a mark that counted as sampled would be nats away.
    assert all(abs(row.kl_sample_train) < 1e-3 for row in done)
    answers = [a for group in run.rollouts() if isinstance(group, SampledGroup) for a in group.answers]
    assert len(answers) == 12 and all(answer.thinking_length and answer.closing_length for answer in answers)
    assert read and not any("</think>" in text for text in read)
    # Whoever asks the start model, for preference pairs, is given a token more for each answer.
    asked = len(answers) if method == "dpo" else 0
    spent = sum(row.sample for row in run.usage() if row.stage == "rollouts")
    assert spent == asked + sum(len(answer.tokens) - len(answer.forced_tokens) for answer in answers)
