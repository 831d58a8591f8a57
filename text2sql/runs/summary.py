"""What ``summary.json`` and ``environment.json`` hold: what a run came to, and where it took place."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from text2sql.equivalence.verdict import Status
from text2sql.runs.records import Part, Record, Several, StartRecord, optional
from text2sql.sql.hardness import Hardness

SUMMARY = "summary.json"
ENVIRONMENT = "environment.json"


class Environment(Record):
    """Machine, versions and command of a run's start, and what the backend says of itself: a record to be read.

    Which keys there are differs from backend to backend, so none is required.
    """

    @property
    def quantization(self) -> str | None:
        """What ``local.quantization=auto`` came to, where the backend says so."""
        found = (self.model_extra or {}).get("quantization")
        return found if isinstance(found, str) else None


# One evaluation


class HardnessScore(Part):
    """Accuracy on the questions of one level; None where there are none."""

    n: int
    correct: int
    accuracy: float | None


class GroupScore(Part):
    """Accuracy on one kind of question.

    Attributes:
        group: The kind, within its dimension.
        n: Questions.
        correct: Those answered right.
        accuracy: Their share.
        p_value: Of Fisher's exact test on the failures, after Holm's correction.
        systematic: Whether the failures are more than chance explains.
    """

    group: str
    n: int
    correct: int
    accuracy: float
    p_value: float
    systematic: bool


class LabelScore(Part):
    """One error label, and the kind of question that it comes with most."""

    n: int
    dimension: str
    group: str
    p_value: float
    systematic: bool


class Breakdown(Part):
    """Where the failures lie.

    Attributes:
        tables: For each dimension its kinds of question.
        labels: For each error label where it occurs.
        verdict: Whether anything is systematic.
        statements: The same in sentences.
        method: How it was tested.
    """

    tables: dict[str, Several[GroupScore]]
    labels: dict[str, LabelScore]
    verdict: Literal["none", "too few", "all", "random", "systematic"]
    statements: Several[str]
    method: str


class ClusteredInterval(Part):
    """The interval of an accuracy where questions on one database are not independent."""

    low: float
    high: float
    clusters: int


class MetricValue(Part):
    """A benchmark's metric over the questions that have it."""

    value: float
    n: int


class BenchmarkSummary(Part):
    """The benchmarks' own metrics; one that no question has is absent.

    Attributes:
        no_database: Questions left out since they have no database.
        gold_failed: Questions left out since their gold query fails there.
    """

    no_database: int
    gold_failed: int
    spider_ex: MetricValue | None = optional()
    spider_test_suite: MetricValue | None = optional()
    bird_ex: MetricValue | None = optional()
    bird_soft_f1: MetricValue | None = optional()
    bird_rves: MetricValue | None = optional()


class Agreement(Part):
    """How far a judge agrees with execution; ``kappa`` is Cohen's, None where it is undefined."""

    n: int
    kappa: float | None
    both_right: int
    both_wrong: int
    judge_only: int
    execution_only: int


class OpinionSummary(Part):
    """What a judge says of a set of predictions.

    Attributes:
        n: Predictions.
        judged: Those with an opinion.
        malformed: Those whose answers were not what was asked for.
        unanswered: Those without an answer.
        correct: Called right.
        accuracy: Their share of the judged ones.
        error_types: How often each class of error was given.
        agreement: With execution.
    """

    n: int
    judged: int
    malformed: int
    unanswered: int
    correct: int
    accuracy: float | None
    error_types: dict[str, int]
    agreement: Agreement


class JudgeSummary(OpinionSummary):
    """The same with the model that judged, and what it took; ``cost`` is in dollars, None where no price is known."""

    model: str
    requests: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


class AnswerCost(Part):
    """What the answers of an evaluation took."""

    samples: int
    prompt_tokens: int
    sampled_tokens: int
    seconds: float


class EvaluationSummary(Part):
    """Everything that a set's predictions and verdicts say.

    Attributes:
        n: Questions. Nothing is left out of the denominator.
        correct: Those answered right.
        accuracy: Execution accuracy, their share; None of no questions, like all shares.
        low: Lower end of its 95 % Wilson interval.
        high: Upper end.
        lenient_accuracy: Share equal as sets of rows with the columns in some order.
        counts: Answers by the status of their verdict.
        truncated: Answers cut off at the token limit.
        exact_match: Share with the same words as the gold query.
        canonical_match: Share with the same canonical form.
        valid_syntax: Share that parses.
        valid_schema: Share that names only what the schema has.
        executable: Share that runs.
        error_labels: How often each error label was given, the most frequent first.
        by_hardness: Accuracy by Spider's levels.
        breakdown: Where the failures lie.
        benchmarks: The benchmarks' own metrics, where there are real databases.
        clustered: The wider interval, where the clusters of all questions are known.
        judge: The second opinion of a language model, None where none was asked.
        cost: What the answers took, where they were made in a run.
    """

    n: int
    correct: int
    accuracy: float | None
    low: float
    high: float
    lenient_accuracy: float | None
    counts: dict[Status, int]
    truncated: int
    exact_match: float | None
    canonical_match: float | None
    valid_syntax: float | None
    valid_schema: float | None
    executable: float | None
    error_labels: dict[str, int]
    by_hardness: dict[Hardness, HardnessScore]
    breakdown: Breakdown
    benchmarks: BenchmarkSummary | None = optional()
    clustered: ClusteredInterval | None = optional()
    judge: JudgeSummary | None = None
    cost: AnswerCost | None = optional()

    @property
    def interval(self) -> tuple[float, float]:
        """The interval to show: the clustered one where there is one."""
        found = self.clustered or self
        return found.low, found.high


# A run


class Score(Part):
    """The accuracy of one model in the headline, with the interval to show.

    Attributes:
        n: Questions.
        correct: Those answered right.
        accuracy: Their share.
        low: Lower end of the 95 % interval.
        high: Upper end.
        clusters: Databases or domains, where the interval takes questions on one as dependent.
    """

    n: int
    correct: int
    accuracy: float | None
    low: float
    high: float
    clusters: int | None = optional()


class PairedComparison(Part):
    """Two systems on the same questions.

    Attributes:
        wins: Questions that only the tuned system answers correctly.
        losses: Questions that only the base system answers correctly.
        difference: Accuracy of tuned minus accuracy of base.
        low: Lower end of the interval of the difference.
        high: Upper end.
        p_value: Of the exact McNemar test, two-sided.
        n: Number of questions.
    """

    wins: int
    losses: int
    difference: float
    low: float
    high: float
    p_value: float
    n: int


class Headline(Part):
    """Execution accuracy before and after; a model that was not evaluated is None."""

    metric: str
    base: Score | None
    tuned: Score | None
    paired: PairedComparison | None


class NovelAnswers(Part):
    """One of the questions on new schemas with the answers of the models that were asked."""

    question: str
    context: str = Field(alias="schema")
    gold: str
    base_sql: str | None = optional()
    base_correct: bool | None = optional()
    base_reason: str | None = optional()
    tuned_sql: str | None = optional()
    tuned_correct: bool | None = optional()
    tuned_reason: str | None = optional()


class TrainingSummary(Part):
    """What training came to.

    Attributes:
        steps: Optimiser steps done.
        epochs: As configured.
        examples: Seen, over all steps.
        tokens: Trained on, over all steps.
        seconds: Without validation and saving.
        examples_per_second: `examples` by `seconds`.
        tokens_per_second: `tokens` by `seconds`.
        first_loss: Of the first step.
        final_loss: Of the last.
        learning_rate: The peak.
        batch_size: As configured.
        start_from: The saved weights that it began with, None for none.
        checkpoint_step: Of the checkpoint that evaluation uses.
        checkpoint_path: ``tinker://`` path of its weights.
        checkpoint_expires: When a server deletes it.
        stopped_early: Why it ended before its last step, None if it did not.
    """

    steps: int
    epochs: int
    examples: int
    tokens: int
    seconds: float
    examples_per_second: float
    tokens_per_second: float
    first_loss: float | None
    final_loss: float | None
    learning_rate: float
    batch_size: int
    start_from: StartRecord | None
    checkpoint_step: int
    checkpoint_path: str
    checkpoint_expires: str | None
    stopped_early: str | None


class Leaks(Part):
    """Test examples that share a table, or a question, with the training examples."""

    tables: int
    questions: int


class DataSummary(Part):
    """What a run trained and tested on; ``dropped`` counts what was left out, by reason."""

    source: str
    rows: int
    train: int
    validation: int
    test: int
    dropped: dict[str, int]
    leaks: Leaks
    split_by: str


class TokenUsage(Part):
    """Tokens by what the API charges for."""

    train: int
    prefill: int
    sample: int


class PricesUsed(Part):
    """Dollars for a million tokens, and where the prices come from."""

    train: float
    prefill: float
    sample: float
    source: str | None


class RunCost(Part):
    """What a run took.

    Attributes:
        wall_seconds: By stage.
        peak_memory_bytes: Of the GPU; without one, of the process.
        sampled_tokens: In the answers that were kept.
        trained_tokens: In the steps that were kept.
        usage: Tokens worked on, also those that a killed run had to do again.
        dollars: Their price, None where none is known.
        prices: It is reckoned with these.
    """

    wall_seconds: dict[str, float]
    peak_memory_bytes: int
    sampled_tokens: int
    trained_tokens: int
    usage: TokenUsage
    dollars: float | None
    prices: PricesUsed | None = optional()


class Summary(Record):
    """``summary.json``: what a run came to.

    Attributes:
        name: Of the run.
        created: ISO time.
        backend: Where it ran.
        base_model: As its backend calls it.
        headline: Execution accuracy before and after.
        evaluations: By label.
        novel: The answers on new schemas.
        training: None if there was none.
        data: What it trained and tested on.
        cost: What it took.
        notes: What a reader must know, in sentences.
        stages: Those carried out to the end.
    """

    name: str
    created: str
    backend: str
    base_model: str
    headline: Headline
    evaluations: dict[str, EvaluationSummary]
    novel: Several[NovelAnswers]
    training: TrainingSummary | None
    data: DataSummary
    cost: RunCost
    notes: Several[str]
    stages: Several[str]
