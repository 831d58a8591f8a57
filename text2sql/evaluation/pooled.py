"""Two systems on the same questions, each trained several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.evaluation.statistics import paired_comparison

# Exchanges of signs that are tried where there are too many to try all.
RESAMPLES = 9999


@dataclass(frozen=True)
class PooledComparison:
    """The difference of two systems over several seeds.

    Attributes:
        difference: Mean accuracy of the second minus that of the first.
        low: Lower end of its interval.
        high: Upper end.
        p_value: Two-sided.
        questions: Questions that all runs answered.
        seeds: Runs of each system.
    """

    difference: float
    low: float
    high: float
    p_value: float
    questions: int
    seeds: int


def pooled_comparison(
    first: Sequence[Sequence[bool]], second: Sequence[Sequence[bool]], confidence: float = 0.95
) -> PooledComparison:
    """Compares two systems question by question, over runs that differ in the seed.

    Answers of several seeds to one question are not independent, so each question counts once, with the mean over
    seeds of its difference. The test exchanges the two systems question by question (R. A. Fisher, The Design of
    Experiments, 1935, section 21): all exchanges where they are few, else a fixed sample of them. The interval is
    Student's of the mean difference over questions. With one seed, or where no question differs from another, it is
    that of `paired_comparison`.

    Args:
        first: Whether the first system was right: a list for each seed, with an entry for each question.
        second: The same of the second system.
        confidence: Of the interval.

    Raises:
        ValueError: The systems have different numbers of seeds or questions, or none.
    """
    shapes = {len(run) for run in (*first, *second)}
    if len(first) != len(second) or len(shapes) != 1 or shapes == {0}:
        raise ValueError(f"{len(first)} and {len(second)} runs with {sorted(shapes)} answers cannot be paired")
    plain = paired_comparison(first[0], second[0], confidence)
    # [questions]
    differences = [
        (sum(after) - sum(before)) / len(first)
        for before, after in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
    ]
    n, mean = len(differences), sum(differences) / len(differences)
    if len(first) == 1:
        return PooledComparison(plain.difference, plain.low, plain.high, plain.p_value, n, 1)
    # Imported here: a command that tests nothing should not wait for it.
    import numpy as np
    from scipy.stats import permutation_test, ttest_1samp

    if len(set(differences)) == 1:
        low, high = plain.low, plain.high
    else:
        interval = ttest_1samp(differences, 0.0).confidence_interval(confidence)
        low, high = max(-1.0, float(interval.low)), min(1.0, float(interval.high))
    changed = np.asarray([value for value in differences if value])
    p_value = 1.0
    # Questions without a difference stay as they are whatever is exchanged, and one alone says nothing.
    if changed.size > 1:
        tested = permutation_test(
            (changed,), np.sum, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(0)
        )
        p_value = float(tested.pvalue)
    return PooledComparison(mean, low, high, p_value, n, len(first))
