"""The summary of an evaluation: rates, intervals, error labels and breakdowns over a set of scored predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

from text2sql.console import progress_bar
from text2sql.equivalence.verdict import STATUSES, Verdict
from text2sql.evaluation.answer_analysis import AnswerAnalysis, analyse_answer
from text2sql.evaluation.benchmarks import summarize_benchmarks
from text2sql.evaluation.breakdown import Group, break_down, groups_of
from text2sql.evaluation.statistics import clustered_interval, wilson_interval
from text2sql.runs.evaluation_summary import ClusteredInterval, EquivalenceBasis, EvaluationSummary, HardnessScore
from text2sql.runs.records import BenchmarkScore, Prediction
from text2sql.sql.hardness import LEVELS, Hardness

# Number of distinct gold queries above which parsing them takes seconds, so that a progress bar is shown.
MIN_GOLDS_FOR_BAR = 2_000


@dataclass(frozen=True)
class Scored:
    """One scored prediction.

    Attributes:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The raw text of the prediction.
        verdict: The evaluator's verdict.
        stop_reason: Why the model stopped; ``"length"`` means that the answer was cut off.
        cluster: The database or schema of the question; predictions of one cluster are not independent.
        benchmark: The benchmarks' own metrics, where there is a real database.
        description: What is known without a database; None where it is still to be computed.
    """

    schema: str
    gold: str
    predicted: str
    verdict: Verdict
    stop_reason: str | None = None
    cluster: str | None = None
    benchmark: BenchmarkScore | None = None
    description: AnswerAnalysis | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> Scored:
        """Convert a prediction of a run."""
        return cls(
            schema=prediction.context,
            gold=prediction.gold,
            predicted=prediction.sql,
            verdict=prediction.verdict,
            stop_reason=prediction.stop_reason,
            cluster=prediction.cluster,
            benchmark=prediction.benchmark,
            description=AnswerAnalysis(prediction.checks, prediction.hardness, prediction.labels),
        )


def summarize(scored: Sequence[Scored]) -> EvaluationSummary:
    """Summarise the predictions and verdicts of one evaluation.

    Args:
        scored: The scored predictions.

    Returns:
        The summary without ``judge`` and ``cost``. ``accuracy`` is the share of ``equivalent`` among all predictions;
        nothing is left out of the denominator.
    """
    n = len(scored)
    correct = [item.verdict.correct for item in scored]
    low, high = wilson_interval(sum(correct), n)
    statuses = Counter(item.verdict.status for item in scored)
    analyses = [
        item.description or analyse_answer(item.schema, item.gold, item.predicted, item.verdict) for item in scored
    ]
    checks = Counter(name for analysis in analyses for name, holds in analysis.checks if holds)
    parses_unknown = any(analysis.checks.parses is None for analysis in analyses)
    benchmarks = [item.benchmark for item in scored]
    return EvaluationSummary(
        n=n,
        correct=sum(correct),
        accuracy=_share(sum(correct), n),
        low=low,
        high=high,
        lenient_accuracy=_share(sum(item.verdict.lenient for item in scored), n),
        counts={status: statuses[status] for status in STATUSES},
        truncated=sum(item.stop_reason == "length" for item in scored),
        unused_databases=sum(item.verdict.unused_database is not None for item in scored),
        exact_match=_share(checks["exact_match"], n),
        canonical_match=_share(checks["canonical_match"], n),
        parses=None if parses_unknown else _share(checks["parses"], n),
        valid_syntax=_share(checks["valid_syntax"], n),
        valid_schema=_share(checks["valid_schema"], n),
        executable=_share(checks["executable"], n),
        error_labels=dict(Counter(label for analysis in analyses for label in analysis.labels).most_common()),
        by_hardness=_by_hardness(correct, analyses),
        breakdown=break_down(_question_groups(scored, analyses), correct, [analysis.labels for analysis in analyses]),
        benchmarks=summarize_benchmarks(benchmarks) if any(benchmarks) else None,
        evidence=_equivalence_basis([item.verdict for item in scored]),
        clustered=_clustered_interval(correct, [item.cluster for item in scored]),
    )


def _question_groups(scored: Sequence[Scored], analyses: Sequence[AnswerAnalysis]) -> list[Sequence[Group]]:
    """The groups of each question. A gold query whose groups are not known yet is parsed once."""
    unparsed = dict.fromkeys(
        item.gold for item, analysis in zip(scored, analyses, strict=True) if analysis.groups is None
    )
    groups: dict[str, Sequence[Group]] = {}
    shows_bar = len(unparsed) >= MIN_GOLDS_FOR_BAR
    with progress_bar("Reading the gold queries", len(unparsed)) if shows_bar else nullcontext() as bar:
        for gold in unparsed:
            groups[gold] = groups_of(gold)
            if bar:
                bar.advance(1, 0)
    return [analysis.groups or groups[item.gold] for item, analysis in zip(scored, analyses, strict=True)]


def _share(count: int, n: int) -> float | None:
    return count / n if n else None


def _equivalence_basis(verdicts: Sequence[Verdict]) -> EquivalenceBasis | None:
    """What the verdicts ``equivalent`` rest on; None where one of them does not say, or there are none."""
    equivalent = [verdict for verdict in verdicts if verdict.status == "equivalent"]
    if not equivalent or not all(verdict.proof for verdict in equivalent):
        return None
    informative = [verdict.informative for verdict in equivalent if verdict.proof != "canonical"]
    return EquivalenceBasis(
        canonical=sum(verdict.proof == "canonical" for verdict in equivalent),
        tested=sum(verdict.proof == "tested" for verdict in equivalent),
        bounded=sum(verdict.proof == "bounded" for verdict in equivalent),
        median_telling=float(median(informative)) if informative else None,
        fewest_telling=min(informative, default=None),
    )


def _by_hardness(correct: Sequence[bool], analyses: Sequence[AnswerAnalysis]) -> dict[Hardness, HardnessScore]:
    by_level = {
        level: [value for value, analysis in zip(correct, analyses, strict=True) if analysis.hardness == level]
        for level in LEVELS
    }
    return {
        level: HardnessScore(n=len(values), correct=sum(values), accuracy=_share(sum(values), len(values)))
        for level, values in by_level.items()
    }


def _clustered_interval(correct: Sequence[bool], clusters: Sequence[str | None]) -> ClusteredInterval | None:
    """The interval for dependent questions; None where the cluster of a question is not known."""
    known = [cluster for cluster in clusters if cluster is not None]
    if not known or len(known) < len(clusters):
        return None
    low, high = clustered_interval(correct, known)
    return ClusteredInterval(low=low, high=high, clusters=len(set(known)))
