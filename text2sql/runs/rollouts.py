"""The records of a run that learns from verdicts: ``rollouts.jsonl``, and its steps in ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from text2sql.runs.records import JsonVerdict, Part, Record, Several, StepMetrics, optional

ROLLOUTS = "rollouts.jsonl"

# What an answer is paid for. "undecided": the evaluator cannot say; "failed": the user's own function could not.
Outcome = Literal["equivalent", "runs", "caught", "error", "timeout", "refused", "truncated", "undecided", "failed"]

# The model next to the one in training that is asked how likely it finds the answers.
Asked = Literal["start", "teacher"]


class SampledAnswer(Part):
    """One answer as it was sampled.

    Attributes:
        tokens: Its token ids, those that ended it included.
        logprobs: Log-probability of each, under the distribution that it was sampled from.
        stop_reason: ``stop``, or ``length`` if it was cut off.
        thought: How many tokens, the first ones, were thought before the answer; None where nothing is.
        closing: How many behind these close the block of thinking. The chat template has them written there, whatever
            the model did, so nobody sampled them, and their log-probabilities stand as 0.
    """

    tokens: Several[int]
    logprobs: Several[float]
    stop_reason: str
    thought: int | None = optional()
    closing: int | None = optional()

    @property
    def given(self) -> range:
        """The places of tokens that nobody sampled."""
        first = self.thought or 0
        return range(first, first + (self.closing or 0))

    @property
    def answer(self) -> Sequence[int]:
        """The tokens behind what was thought."""
        return self.tokens[self.given.stop :]


class SampledGroup(Record):
    """The answers to one question of one step: a line of ``rollouts.jsonl``, there before they are judged.

    Attributes:
        step: Counted from 0.
        place: Of the question within the step.
        id: Of the question.
        question: In natural language.
        context: The schema as ``CREATE TABLE`` statements.
        gold: The gold query.
        seed: Of the sampling.
        prompt: Token ids of the prompt.
        answers: What was sampled.
        version: The steps that the weights had learnt from which it was sampled, where these are fewer than `step`.
    """

    step: int
    place: int
    id: str
    question: str
    context: str
    gold: str
    seed: int
    prompt: Several[int]
    answers: Several[SampledAnswer]
    version: int | None = optional()

    @property
    def staleness(self) -> int:
        """By how many steps the weights that it was sampled from were behind."""
        return 0 if self.version is None else self.step - self.version


class PaidAnswer(Part):
    """What an answer was found to be, and its reward.

    Attributes:
        sql: The query in it.
        verdict: Of the evaluator.
        outcome: What it is paid for.
        reward: None where it leaves its group.
        passes_one: Whether it is wrong, and a comparison on one database would have taken it for right: on the
            question's own, or where it has none on the first that was made, as sets of rows. None for no.
    """

    sql: str
    verdict: JsonVerdict
    outcome: Outcome
    reward: float | None
    passes_one: bool | None = optional()


class PaidGroup(Record):
    """The rewards of a group: a line of ``rollouts.jsonl``, there before the gradient uses them.

    Attributes:
        step: Counted from 0.
        place: Of the question within the step.
        paid: In the order of the group's answers.
        start_logprobs: Of every answer, the log-probability of each token under the start model, where it is asked.
        teacher_logprobs: The same under the teacher.
    """

    step: int
    place: int
    paid: Several[PaidAnswer]
    start_logprobs: Several[Several[float]] | None = optional()
    teacher_logprobs: Several[Several[float]] | None = optional()

    @property
    def reference_logprobs(self) -> Sequence[Sequence[float]] | None:
        """Those of the model that the run's method asks; None where it asks none."""
        return self.start_logprobs or self.teacher_logprobs


class RlStepMetrics(StepMetrics):
    """One step from verdicts: a line of ``metrics.jsonl``. Shares are of all answers that were sampled in the step.

    `examples` are the answers sampled, `tokens` those trained on.

    Attributes:
        reward: Mean of the answers that have one.
        equivalent: Share of answers; likewise the others that outcomes are named after, but one.
        caught: Share of answers that a comparison on one database would have taken for right, wrongly: those of that
            outcome, and those that the first made database lets pass; see `PaidAnswer.passes_one`.
        empty: Share of answers without a query.
        groups: Groups sampled.
        mixed: Share of groups in which some answers are right and others wrong.
        all_good: Share of groups in which all are right.
        all_bad: Share of groups in which none is.
        dropped: Share of groups whose answers are all paid alike, which nothing is learnt from.
        pass_at_1: Share of right answers.
        pass_at_group: Share of questions with a right answer.
        distinct: Mean number of different queries in a group.
        entropy: Mean of -log-probability over the sampled tokens, in nats.
        kl_sample_train: Mean of q - p over the tokens trained on: q when sampled, p in the training step.
        kl_sample_train_v2: Half the mean of (q - p)^2.
        kl_start: Mean of q - r, r under the start model; None where it is not measured.
        kl_teacher: The same, r under the teacher.
        staleness: Most steps by which the weights that sampled were behind those that learn; None for none.
        limit: Share of answers with LIMIT; the gold queries' share follows, likewise below.
        gold_limit: See there.
        distinct_clause: Share of answers with DISTINCT.
        gold_distinct_clause: See there.
        select_all: Share of answers with SELECT *.
        gold_select_all: See there.
        answer_tokens: Mean length of an answer.
        sampled_tokens: Of all answers.
        prefilled_tokens: Of all prompts, and of what a start model or teacher was asked.
        dollars: Cost of the step; None where no price is known.
        sampling_seconds: Of `seconds`, those spent on sampling.
        judging_seconds: Those spent on verdicts and rewards.
        training_seconds: Those spent on the gradient and the optimiser step.
        learnt: Answers with a gradient.
        gold_answers: How many of these are gold ones.
        preferred: Share of the pairs whose right answer has gained more on the start model than the wrong one.
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
    mixed: float
    all_good: float
    all_bad: float
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
        """What the progress of the training shows of it."""
        return {"reward": self.reward, "right": self.equivalent}
