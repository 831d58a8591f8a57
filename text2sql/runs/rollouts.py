"""The records of a run that learns from verdicts: ``rollouts.jsonl``, and its steps in ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from text2sql.runs.records import JsonTuple, JsonVerdict, Part, Record, StepMetrics, optional

ROLLOUTS = "rollouts.jsonl"

# What an answer is rewarded for. "caught": a wrong answer that the question's own database accepts and a generated one
# rejects. "undecided": the evaluator cannot say. "failed": the user's own reward function could not.
AnswerOutcome = Literal[
    "equivalent", "runs", "caught", "error", "timeout", "refused", "truncated", "undecided", "failed"
]

# The frozen model whose log-probabilities of the answers a method needs: the policy that the run began with, or a
# teacher.
ReferenceName = Literal["start", "teacher"]


class SampledAnswer(Part):
    """One answer as it was sampled.

    Attributes:
        tokens: Token ids ``[A]``, those that ended it included.
        logprobs: Log-probability of each token ``[A]``, under the distribution that it was sampled from.
        stop_reason: ``stop``, or ``length`` if it was cut off.
        thinking_length: Number of thinking tokens, which come first; None for a model that does not think.
        closing_length: Number of tokens behind these that close the thinking block. The chat template puts them there,
            whatever the model did: they were not sampled, and their log-probabilities are recorded as 0.
    """

    tokens: JsonTuple[int]
    logprobs: JsonTuple[float]
    stop_reason: str
    thinking_length: int | None = optional(alias="thought")
    closing_length: int | None = optional(alias="closing")

    @property
    def forced_tokens(self) -> range:
        """Indices of the tokens that were not sampled: those that close the thinking block."""
        first = self.thinking_length or 0
        return range(first, first + (self.closing_length or 0))

    @property
    def answer_tokens(self) -> Sequence[int]:
        """The tokens behind the thinking block."""
        return self.tokens[self.forced_tokens.stop :]


class SampledGroup(Record):
    """The answers to one question of one step: a line of ``rollouts.jsonl``, written before they are graded.

    Attributes:
        step: Counted from 0.
        index: Index of the question within the step.
        id: Id of the question.
        question: The question in natural language.
        context: The schema as ``CREATE TABLE`` statements.
        gold: The gold query.
        seed: Seed of the sampling.
        prompt: Token ids of the prompt ``[P]``.
        answers: The sampled answers.
        version: Number of optimiser steps behind the weights that it was sampled from, where these are fewer than
            `step`.
    """

    step: int
    index: int = Field(alias="place")
    id: str
    question: str
    context: str
    gold: str
    seed: int
    prompt: JsonTuple[int]
    answers: JsonTuple[SampledAnswer]
    version: int | None = optional()

    @property
    def staleness(self) -> int:
        """By how many steps the weights that it was sampled from were behind."""
        return 0 if self.version is None else self.step - self.version


class GradedAnswer(Part):
    """The verdict on an answer, and its reward.

    Attributes:
        sql: The query in the answer.
        verdict: The evaluator's verdict.
        outcome: What it is rewarded for.
        reward: None where it leaves its group.
        passes_single_database: Whether it is a false positive of a comparison on a single database: it is wrong, and
            its result is the gold query's, compared as sets of rows, on the question's own database or, where it has
            none, on the first that was generated. None for no.
    """

    sql: str
    verdict: JsonVerdict
    outcome: AnswerOutcome
    reward: float | None
    passes_single_database: bool | None = optional(alias="passes_one")


class GradedGroup(Record):
    """The rewards of a group: a line of ``rollouts.jsonl``, written before the gradient uses them.

    Attributes:
        step: Counted from 0.
        index: Index of the question within the step.
        answers: The graded answers, in the order of the `SampledGroup`'s answers.
        start_logprobs: Log-probabilities of every answer's tokens under the start model, where the method needs them.
        teacher_logprobs: Log-probabilities of every answer's tokens under the teacher, where the method needs them.
    """

    step: int
    index: int = Field(alias="place")
    answers: JsonTuple[GradedAnswer] = Field(alias="paid")
    start_logprobs: JsonTuple[JsonTuple[float]] | None = optional()
    teacher_logprobs: JsonTuple[JsonTuple[float]] | None = optional()

    @property
    def reference_logprobs(self) -> Sequence[Sequence[float]] | None:
        """Those under the reference model of the run's method; None where it has none."""
        return self.start_logprobs or self.teacher_logprobs


class RlStepMetrics(StepMetrics):
    """One step from verdicts: a line of ``metrics.jsonl``. Shares are of all answers that were sampled in the step.

    `examples` are the answers sampled, `tokens` those trained on.

    Attributes:
        reward: Mean over the answers that have one.
        equivalent: Share of answers with this outcome (`AnswerOutcome`).
        caught: Share of answers that are false positives of a comparison on a single database
            (`GradedAnswer.passes_single_database`); more of them than have the outcome ``caught``.
        error: Share of answers with this outcome.
        timeout: Share of answers with this outcome.
        refused: Share of answers with this outcome.
        truncated: Share of answers with this outcome.
        undecided: Share of answers with this outcome.
        failed: Share of answers with this outcome.
        empty: Share of answers without a query.
        groups: Groups sampled.
        frac_mixed: Share of groups in which some answers are right and others wrong.
        frac_all_good: Share of groups in which all answers are right.
        frac_all_bad: Share of groups in which no answer is right.
        dropped: Share of groups that nothing is learnt from, as all their rewards are equal.
        pass_at_1: Share of right answers.
        pass_at_group: Share of questions with a right answer.
        distinct: Mean number of different queries in a group.
        entropy: Mean of -log-probability over the sampled tokens, in nats.
        kl_sample_train: Mean of q - p over the tokens trained on: q the log-probability when sampled, p in the training
            step.
        kl_sample_train_v2: Half the mean of (q - p)^2.
        kl_start: Mean of q - r, r under the start model; None where it is not measured.
        limit: Share of answers with LIMIT.
        gold_limit: Share of gold queries with LIMIT.
        distinct_clause: Share of answers with DISTINCT.
        gold_distinct_clause: Share of gold queries with DISTINCT.
        select_all: Share of answers with SELECT *.
        gold_select_all: Share of gold queries with SELECT *.
        answer_tokens: Mean length of an answer, in sampled tokens.
        sampled_tokens: Sampled tokens of all answers.
        prefilled_tokens: Tokens of all prompts, and of what a reference model has read.
        dollars: Cost of the step; None where no price is known.
        sampling_seconds: Part of `seconds` spent on sampling.
        judging_seconds: Part of `seconds` spent on verdicts and rewards.
        training_seconds: Part of `seconds` spent on the gradient and the optimiser step.
        kl_teacher: Mean of q - r, r under the teacher; None where there is none.
        staleness: Most steps by which the weights that sampled were behind those that learn; None for none.
        learnt: Answers with a gradient.
        preferred: Share of preference pairs whose right answer has gained more on the start model than the wrong one.
        gold_answers: How many of the `learnt` answers are gold ones.
    """

    reward: float
    equivalent: float
    caught: float
    error: float
    timeout: float
    refused: float
    truncated: float
    undecided: float
    failed: float
    empty: float
    groups: int
    frac_mixed: float = Field(alias="mixed")
    frac_all_good: float = Field(alias="all_good")
    frac_all_bad: float = Field(alias="all_bad")
    dropped: float
    pass_at_1: float
    pass_at_group: float
    distinct: float
    entropy: float
    kl_sample_train: float
    kl_sample_train_v2: float
    kl_start: float | None
    limit: float
    gold_limit: float
    distinct_clause: float
    gold_distinct_clause: float
    select_all: float
    gold_select_all: float
    answer_tokens: float
    sampled_tokens: int
    prefilled_tokens: int
    dollars: float | None
    sampling_seconds: float
    judging_seconds: float
    training_seconds: float
    kl_teacher: float | None = optional()
    staleness: int | None = optional()
    learnt: int | None = optional()
    preferred: float | None = optional()
    gold_answers: int | None = optional()

    @property
    def shown(self) -> dict[str, float]:
        """What the progress bar of the training shows."""
        return {"reward": self.reward, "right": self.equivalent}
