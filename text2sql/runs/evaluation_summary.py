"""What one evaluation came to: the part of ``summary.json`` under ``evaluations``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from text2sql.equivalence.verdict import Status
from text2sql.runs.records import JsonTuple, Part, optional
from text2sql.sql.hardness import Hardness


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

    tables: dict[str, JsonTuple[GroupScore]]
    labels: dict[str, LabelScore]
    verdict: Literal["none", "too few", "all", "random", "systematic"]
    statements: JsonTuple[str]
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


class PassAtK(Part):
    """The chance that at least one of k samples is right, over the questions, with its 95 % interval."""

    k: int
    value: float
    low: float
    high: float


class AnswerCost(Part):
    """What the answers of an evaluation took."""

    samples: int
    prompt_tokens: int
    sampled_tokens: int
    seconds: float


class EquivalenceBasis(Part):
    """What the verdicts ``equivalent`` of an evaluation rest on.

    Attributes:
        canonical: Verdicts where both queries have the same normal form.
        tested: Verdicts where the results agree on the databases made for the pair, and nothing more is known.
        bounded: Verdicts where equivalence is also proven for all databases up to a small size.
        median_telling: Median number of informative databases over the ``tested`` and ``bounded`` verdicts; None if
            there are none.
        fewest_telling: The smallest such number.
    """

    canonical: int
    tested: int
    bounded: int = Field(default=0, exclude_if=lambda count: count == 0)
    median_telling: float | None = optional()
    fewest_telling: int | None = optional()


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
        unused_databases: Questions whose real database took no part in the verdict: the gold query fails on it, or it
            cannot be read.
        exact_match: Share with the same words as the gold query.
        canonical_match: Share with the same canonical form.
        parses: Share that sqlglot parses in their dialect; None where an answer's record does not say it.
        valid_syntax: Share that the engine that judges parses.
        valid_schema: Share that names only what the schema has.
        executable: Share that runs.
        error_labels: How often each error label was given, the most frequent first.
        by_hardness: Accuracy by Spider's levels.
        breakdown: Where the failures lie.
        benchmarks: The benchmarks' own metrics, where there are real databases.
        evidence: What the verdicts ``equivalent`` rest on; None where earlier versions judged, which did not say.
        clustered: The wider interval, where the clusters of all questions are known.
        judge: The second opinion of a language model, None where none was asked.
        cost: What the answers took, where they were made in a run.
        pass_at: pass@k for powers of two up to the number of samples, where all samples are judged.
    """

    n: int
    correct: int
    accuracy: float | None
    low: float
    high: float
    lenient_accuracy: float | None
    counts: dict[Status, int]
    truncated: int
    # Summaries of runs without real databases are the same bytes as before the count was kept.
    unused_databases: int = Field(default=0, exclude_if=lambda count: count == 0)
    exact_match: float | None
    canonical_match: float | None
    parses: float | None = optional()
    valid_syntax: float | None
    valid_schema: float | None
    executable: float | None
    error_labels: dict[str, int]
    by_hardness: dict[Hardness, HardnessScore]
    breakdown: Breakdown
    benchmarks: BenchmarkSummary | None = optional()
    evidence: EquivalenceBasis | None = optional()
    clustered: ClusteredInterval | None = optional()
    judge: JudgeSummary | None = None
    cost: AnswerCost | None = optional()
    pass_at: JsonTuple[PassAtK] | None = optional()

    @property
    def interval(self) -> tuple[float, float]:
        """The interval to show: the clustered one where there is one."""
        found = self.clustered or self
        return found.low, found.high
