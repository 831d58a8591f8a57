"""Comparison of two systems on the same questions over several training seeds each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.evaluation.statistics import paired_comparison

# Sign permutations that are drawn where there are too many to try all.
RESAMPLES = 9999


@dataclass(frozen=True)
class PooledComparison:
    """The difference of two systems over several seeds.

    Attributes:
        difference: Mean accuracy of the second minus that of the first.
        low: Lower end of the confidence interval of the difference.
        high: Upper end of it.
        p_value: Two-sided p-value of the permutation test.
        questions: Number of questions, all of which all runs answered.
        seeds: Number of runs of each system.
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
    """Compare two systems question by question, over runs that differ in the seed.

    Answers of several seeds to one question are not independent, so each question counts once, with the mean over seeds
    of its difference. The p-value is that of a permutation test, which flips the sign of each question's difference
    (R. A. Fisher, The Design of Experiments, 1935, section 21): all permutations where they are few, else a fixed
    sample. The interval is Student's t interval of the mean difference over questions. With one seed, or where all
    questions have the same difference, it is that of `paired_comparison`.

    Args:
        first: Whether the first system was right, by seed and question: ``[seeds][questions]``.
        second: The same for the second system.
        confidence: Confidence level of the interval.

    Raises:
        ValueError: The systems have different numbers of seeds or questions, or none.
    """
    lengths = {len(run) for run in (*first, *second)}
    if len(first) != len(second) or len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"{len(first)} and {len(second)} runs with {sorted(lengths)} answers cannot be paired")
    first_seeds = paired_comparison(first[0], second[0], confidence)
    # [questions]
    differences = [
        (sum(after) - sum(before)) / len(first)
        for before, after in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
    ]
    n, mean = len(differences), sum(differences) / len(differences)
    if len(first) == 1:
        return PooledComparison(first_seeds.difference, first_seeds.low, first_seeds.high, first_seeds.p_value, n, 1)
    # Imported here: a command that tests nothing should not wait for it.
    import numpy as np
    from scipy.stats import permutation_test, ttest_1samp

    if len(set(differences)) == 1:
        low, high = first_seeds.low, first_seeds.high
    else:
        interval = ttest_1samp(differences, 0.0).confidence_interval(confidence)
        low, high = max(-1.0, float(interval.low)), min(1.0, float(interval.high))
    nonzero = np.asarray([value for value in differences if value])
    p_value = 1.0
    # Flipping the sign of no difference changes nothing, and a single question decides nothing.
    if nonzero.size > 1:
        test = permutation_test(
            (nonzero,), np.sum, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(0)
        )
        p_value = float(test.pvalue)
    return PooledComparison(mean, low, high, p_value, n, len(first))
