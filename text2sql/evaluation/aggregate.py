"""What the verdicts say about a set of predictions, as one record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

from text2sql.console import stage
from text2sql.equivalence.verdict import STATUSES, Verdict
from text2sql.evaluation.benchmarks import summarize_benchmarks
from text2sql.evaluation.breakdown import Group, break_down, groups_of
from text2sql.evaluation.description import Description, describe
from text2sql.evaluation.statistics import clustered_interval, wilson_interval
from text2sql.runs.evaluation_summary import ClusteredInterval, EvaluationSummary, Evidence, HardnessScore
from text2sql.runs.records import BenchmarkScore, Prediction
from text2sql.sql.hardness import LEVELS, Hardness

# Gold queries from which reading them takes seconds.
MANY = 2_000


@dataclass(frozen=True)
class Scored:
    """One scored prediction.

    Attributes:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The raw text of the prediction.
        verdict: Of the evaluator.
        stop_reason: Why the model stopped; ``"length"`` means that the answer was cut off.
        cluster: What is not independent of each other shares it: the database or schema asked about.
        benchmark: What the benchmarks' scripts say of it, where there is a real database.
        description: What needs no database, where it is known already.
    """

    schema: str
    gold: str
    predicted: str
    verdict: Verdict
    stop_reason: str | None = None
    cluster: str | None = None
    benchmark: BenchmarkScore | None = None
    description: Description | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> Scored:
        """A prediction of a run."""
        return cls(
            schema=prediction.context,
            gold=prediction.gold,
            predicted=prediction.sql,
            verdict=prediction.verdict,
            stop_reason=prediction.stop_reason,
            cluster=prediction.cluster,
            benchmark=prediction.benchmark,
            description=Description(prediction.checks, prediction.hardness, prediction.labels),
        )


def summarize(scored: Sequence[Scored]) -> EvaluationSummary:
    """Everything that a set's predictions and verdicts say.

    Args:
        scored: The scored predictions.

    Returns:
        ``accuracy`` is the share of ``equivalent`` among all; nothing is left out of the denominator. ``judge`` and
        ``cost`` are not set.
    """
    n = len(scored)
    right = [item.verdict.correct for item in scored]
    low, high = wilson_interval(sum(right), n)
    statuses = Counter(item.verdict.status for item in scored)
    described = [item.description or describe(item.schema, item.gold, item.predicted, item.verdict) for item in scored]
    checks = Counter(name for text in described for name, holds in text.checks if holds)
    benchmarks = [item.benchmark for item in scored]
    return EvaluationSummary(
        n=n,
        correct=sum(right),
        accuracy=_share(sum(right), n),
        low=low,
        high=high,
        lenient_accuracy=_share(sum(item.verdict.lenient for item in scored), n),
        counts={status: statuses[status] for status in STATUSES},
        truncated=sum(item.stop_reason == "length" for item in scored),
        unused_databases=sum(item.verdict.unused_database is not None for item in scored),
        exact_match=_share(checks["exact_match"], n),
        canonical_match=_share(checks["canonical_match"], n),
        parses=None if any(text.checks.parses is None for text in described) else _share(checks["parses"], n),
        valid_syntax=_share(checks["valid_syntax"], n),
        valid_schema=_share(checks["valid_schema"], n),
        executable=_share(checks["executable"], n),
        error_labels=dict(Counter(label for text in described for label in text.labels).most_common()),
        by_hardness=_by_hardness(right, described),
        breakdown=break_down(_groups(scored, described), right, [text.labels for text in described]),
        benchmarks=summarize_benchmarks(benchmarks) if any(benchmarks) else None,
        evidence=_evidence([item.verdict for item in scored]),
        clustered=_clustered(right, [item.cluster for item in scored]),
    )


def _groups(scored: Sequence[Scored], described: Sequence[Description]) -> list[Sequence[Group]]:
    """The groups of each question; gold queries of which nobody has found them out are read once each."""
    unread = dict.fromkeys(item.gold for item, about in zip(scored, described, strict=True) if about.groups is None)
    found: dict[str, Sequence[Group]] = {}
    with stage("Reading the gold queries", len(unread)) if len(unread) >= MANY else nullcontext() as bar:
        for gold in unread:
            found[gold] = groups_of(gold)
            if bar:
                bar.advance(1, 0)
    return [about.groups or found[item.gold] for item, about in zip(scored, described, strict=True)]


def _share(count: int, n: int) -> float | None:
    return count / n if n else None


def _evidence(verdicts: Sequence[Verdict]) -> Evidence | None:
    """What the verdicts ``equivalent`` rest on; None where it is not known of all of them, or there are none."""
    equivalent = [verdict for verdict in verdicts if verdict.status == "equivalent"]
    if not equivalent or not all(verdict.proof for verdict in equivalent):
        return None
    telling = [verdict.informative for verdict in equivalent if verdict.proof != "canonical"]
    return Evidence(
        canonical=sum(verdict.proof == "canonical" for verdict in equivalent),
        tested=sum(verdict.proof == "tested" for verdict in equivalent),
        bounded=sum(verdict.proof == "bounded" for verdict in equivalent),
        median_telling=float(median(telling)) if telling else None,
        fewest_telling=min(telling, default=None),
    )


def _by_hardness(right: Sequence[bool], described: Sequence[Description]) -> dict[Hardness, HardnessScore]:
    outcomes = {
        level: [value for value, text in zip(right, described, strict=True) if text.hardness == level]
        for level in LEVELS
    }
    return {
        level: HardnessScore(n=len(own), correct=sum(own), accuracy=_share(sum(own), len(own)))
        for level, own in outcomes.items()
    }


def _clustered(right: Sequence[bool], clusters: Sequence[str | None]) -> ClusteredInterval | None:
    """The wider interval; None where the cluster of a question is not known."""
    named = [cluster for cluster in clusters if cluster is not None]
    if not named or len(named) < len(clusters):
        return None
    low, high = clustered_interval(right, named)
    return ClusteredInterval(low=low, high=high, clusters=len(set(named)))
