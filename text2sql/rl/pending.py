"""A group of answers under way: sampled at once, or each behind its own thinking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinker import types

from backends.interface import SamplingClient
from backends.tokenizer import Tokenizer
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.inference.generate import check_finite_logprobs
from text2sql.inference.thinking_block import ThinkingBlock
from text2sql.inference.thinking_sampler import PendingSamples, Sample
from text2sql.runs.budget import TokenCount
from text2sql.runs.rollouts import SampledAnswer


@dataclass(frozen=True)
class TokenizedQuestion:
    """A question of a step.

    Attributes:
        example: The question with its gold query, which the model is not shown.
        tokens: The tokens of its prompt and gold answer.
    """

    example: Example
    tokens: Tokens

    @property
    def prompt(self) -> list[int]:
        """Token ids ``[P]``."""
        return self.tokens.prompt.tolist()


@dataclass(frozen=True)
class PolicySnapshot:
    """The policy's weights at one step, to sample from.

    Attributes:
        sampler: Sampling client of these weights.
        tokenizer: Tokenizer of the model.
        version: Number of optimiser steps behind them.
    """

    sampler: SamplingClient
    tokenizer: Tokenizer
    version: int


@dataclass(frozen=True)
class GroupAnswers:
    """The answers of a group, and the prompt tokens that were read for them; see `PromptSamples`."""

    answers: list[SampledAnswer]
    prefill_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class PendingGroup:
    """A group of answers under way.

    Attributes:
        step: The step that it is sampled for, counted from 0.
        index: Index of its question within the step.
        question: The question.
        seed: Seed of its sampling.
        snapshot: The weights that it is sampled from.
        reserved: Tokens that the budget has set aside for it.
        samples: The samples under way.
    """

    step: int
    index: int
    question: TokenizedQuestion
    seed: int
    snapshot: PolicySnapshot
    reserved: TokenCount
    samples: PendingSamples

    def results(self) -> GroupAnswers:
        """Wait for the answers.

        Raises:
            UserError: The sampler gives no log-probabilities, or such that are not numbers.
        """
        results = self.samples.results()
        answers = [_sampled_answer(sample, len(self.question.prompt)) for sample in results.samples]
        return GroupAnswers(answers, results.prefill_tokens, results.cached_tokens)


def submit_samples(
    question: TokenizedQuestion,
    sampler: SamplingClient,
    samples: int,
    params: types.SamplingParams,
    block: ThinkingBlock | None,
) -> PendingSamples:
    """Ask for the answers of a group.

    Args:
        question: The question.
        sampler: Sampling client of the policy.
        samples: Number of answers.
        params: How an answer is sampled; its seed is the group's.
        block: The thinking block; None for a model that does not think.
    """

    def check(sequences: Sequence[types.SampledSequence]) -> None:
        check_logprobs(question.example, sequences)

    return PendingSamples(sampler, question.prompt, samples, params, block, check, distinct_seeds=True)


def check_logprobs(example: Example, sequences: Sequence[types.SampledSequence]) -> None:
    """Raise UserError where a sequence lacks the log-probability of a token, or where one is not a number."""
    check_finite_logprobs(example, sequences)
    for sequence in sequences:
        if sequence.logprobs is None or len(sequence.logprobs) != len(sequence.tokens):
            raise UserError(
                f"The sampler gave no log-probability of each token where it answers {example.id}: an answer is "
                "weighed by how likely it was. Sample with another server; the run's files are whole."
            )


def _sampled_answer(sample: Sample, prompt_length: int) -> SampledAnswer:
    tokens = tuple(map(int, sample.answer.tokens))
    logprobs = tuple(map(float, sample.answer.logprobs or ()))
    thought = sample.thought
    if thought is None:
        return SampledAnswer(tokens=tokens, logprobs=logprobs, stop_reason=sample.answer.stop_reason)
    closing = thought.answer_prompt[prompt_length + len(thought.tokens) :]
    return SampledAnswer(
        tokens=(*thought.tokens, *closing, *tokens),
        logprobs=(*thought.logprobs, *(0.0 for _ in closing), *logprobs),
        stop_reason=sample.answer.stop_reason,
        thinking_length=len(thought.tokens),
        closing_length=len(closing),
    )
