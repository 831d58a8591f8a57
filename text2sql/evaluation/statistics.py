"""Rates with intervals, and the comparison of two systems on the same questions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import TypeVar

from text2sql.runs.summary import PairedComparison

# Below this p-value a difference is called significant, and a kind of failure systematic.
SIGNIFICANCE = 0.05
_Key = TypeVar("_Key", bound=Hashable)


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (E. B. Wilson, JASA 22, 1927), which is accurate for small n and near 0 and 1.

    Returns:
        Lower and upper end; (0, 1) when nothing was counted.
    """
    if n == 0:
        return 0.0, 1.0
    if not 0 <= correct <= n:
        raise ValueError(f"correct must lie between 0 and n: {correct} of {n}")
    low, high = _wilson(correct / n, n, _quantile(confidence))
    # At the ends the interval touches them exactly; rounding must not move it past.
    return (0.0 if correct == 0 else low), (1.0 if correct == n else high)


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1: {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def pass_at_k(right: int, samples: int, k: int) -> float:
    """The chance that at least one of k samples is right, without bias (Chen et al., 2021): 1 - C(n-c, k) / C(n, k).

    Args:
        right: Number of correct samples (c).
        samples: Number of samples (n).
        k: Number of samples drawn, at most n.
    """
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable], confidence: float = 0.95
) -> tuple[float, float]:
    """The confidence interval of a mean of values between 0 and 1, where values of one cluster are not independent.

    It is the normal approximation with the variance of the clusters' sums of residuals (Miller, 2024); with each value
    in a cluster of its own it is the usual one. Where all values are equal the variance cannot be estimated: Wilson's
    interval for as many observations as there are clusters is taken. A single cluster says nothing of others, so the
    interval is then (0, 1), as in `clustered_interval`.
    """
    mean = sum(values) / len(values)
    residuals: dict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    if len(residuals) < 2:
        return 0.0, 1.0
    if min(values) == max(values):
        return _wilson(mean, len(residuals), _t_quantile(len(residuals), confidence))
    margin = _quantile(confidence) * math.sqrt(sum(r * r for r in residuals.values())) / len(values)
    return max(0.0, mean - margin), min(1.0, mean + margin)


def clustered_interval(
    correct: Sequence[bool], clusters: Sequence[str], confidence: float = 0.95
) -> tuple[float, float]:
    """An interval for accuracy when questions of one cluster are not independent.

    The variance of the ratio "correct answers by answers" is estimated between clusters (W. G. Cochran, Sampling
    Techniques, 1977, section 9.7; the cluster-robust variance of a mean, with the factor k / (k - 1)). It becomes an
    effective sample size, for which the Wilson interval is taken, with Student's t for few clusters: unlike the plain
    normal interval this stays within 0 and 1, and is not empty when all answers are right. The result is never
    narrower than `wilson_interval`.

    Args:
        correct: Whether each question was answered correctly.
        clusters: The cluster of each question.
        confidence: Confidence level of the interval.
    """
    if len(correct) != len(clusters):
        raise ValueError(f"{len(correct)} answers but {len(clusters)} clusters")
    n = len(correct)
    if n == 0:
        return 0.0, 1.0
    p = sum(correct) / n
    residuals: dict[str, float] = defaultdict(float)
    for is_correct, cluster in zip(correct, clusters, strict=True):
        residuals[cluster] += is_correct - p
    k = len(residuals)
    if k < 2:
        # One cluster says nothing about others.
        return 0.0, 1.0
    variance = k / (k - 1) * sum(value * value for value in residuals.values()) / n**2
    # Where all answers are equally right the variance cannot be estimated: clusters are counted, not questions.
    effective_n = float(k) if p in (0.0, 1.0) else min(n, p * (1 - p) / variance) if variance else float(n)
    independent = wilson_interval(sum(correct), n, confidence)
    low, high = _wilson(p, effective_n, _t_quantile(k, confidence))
    return min(low, independent[0]), max(high, independent[1])


def _t_quantile(clusters: int, confidence: float) -> float:
    """The quantile of Student's t distribution for this number of clusters."""
    # Imported here: a command that tests nothing should not wait for it.
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, clusters - 1))


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's formula for a share `p` of `n` observations, with `z` standard errors to each side.

    `n` may be fractional, as an effective sample size is.
    """
    centre = p + z * z / (2 * n)
    half_width = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def paired_comparison(base: Sequence[bool], tuned: Sequence[bool], confidence: float = 0.95) -> PairedComparison:
    """Compare two systems question by question.

    The test is McNemar's in its exact binomial form (Q. McNemar, Psychometrika 12, 1947): among the questions on which
    the systems disagree, wins are Binomial(wins + losses, 1/2) if neither is better. The interval is the score-based
    one of R. G. Newcombe (Statistics in Medicine 17, 1998, method 10 for paired proportions).

    Args:
        base: Whether the base system was right, per question.
        tuned: The same for the tuned system, in the same order.
        confidence: Confidence level of the interval.
    """
    if len(base) != len(tuned):
        raise ValueError(f"the systems answered {len(base)} and {len(tuned)} questions")
    n = len(base)
    wins = sum(1 for b, t in zip(base, tuned, strict=True) if t and not b)
    losses = sum(1 for b, t in zip(base, tuned, strict=True) if b and not t)
    if n == 0:
        return PairedComparison(wins=0, losses=0, difference=0.0, low=-1.0, high=1.0, p_value=1.0, n=0)
    both = sum(1 for b, t in zip(base, tuned, strict=True) if b and t)
    low, high = _newcombe(both, wins, losses, n, confidence)
    return PairedComparison(
        wins=wins,
        losses=losses,
        difference=(wins - losses) / n,
        low=low,
        high=high,
        p_value=exact_mcnemar(wins, losses),
        n=n,
    )


def exact_mcnemar(wins: int, losses: int) -> float:
    """The two-sided p-value of McNemar's test in its exact binomial form; 1 without any discordant pair."""
    if wins + losses == 0:
        return 1.0
    # Imported here: a command that tests nothing should not wait for it.
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue)


def _newcombe(both: int, wins: int, losses: int, n: int, confidence: float) -> tuple[float, float]:
    neither = n - both - wins - losses
    tuned, base = (both + wins) / n, (both + losses) / n
    tuned_low, tuned_high = wilson_interval(both + wins, n, confidence)
    base_low, base_high = wilson_interval(both + losses, n, confidence)
    product = (both + wins) * (losses + neither) * (both + losses) * (wins + neither)
    cross = float(both * neither - wins * losses)
    # Newcombe's continuity correction of phi applies to positive association only.
    cross = max(cross - n / 2, 0) if cross > 0 else cross
    phi = cross / math.sqrt(product) if product else 0.0
    d = tuned - base

    def margin(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low = d - margin(tuned - tuned_low, base_high - base)
    high = d + margin(tuned_high - tuned, base - base_low)
    return max(-1.0, low), min(1.0, high)


def holm(values: Mapping[_Key, float]) -> dict[_Key, float]:
    """Adjust p-values for multiple comparisons (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    Args:
        values: The p-value of each test.

    Returns:
        The adjusted p-values, the smallest first.
    """
    adjusted: dict[_Key, float] = {}
    largest = 0.0
    for rank, (key, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, value * (len(values) - rank)))
        adjusted[key] = largest
    return adjusted
