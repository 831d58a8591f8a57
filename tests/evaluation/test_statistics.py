"""Statistics against published or independently computed values."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest

from text2sql.evaluation import clustered_interval, paired_comparison, wilson_interval
from text2sql.evaluation.statistics import exact_mcnemar, holm


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # The first three are Newcombe's (Statistics in Medicine 17, 1998, p. 857, table I, method 3).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(n - correct, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_edges() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(5, 5)[1] == 1.0
    with pytest.raises(ValueError):
        wilson_interval(6, 5)


def test_clusters_widen_the_interval_and_never_narrow_it() -> None:
    together = [True] * 50 + [False] * 50
    by_ten = [str(index // 10) for index in range(100)]
    wide, plain = clustered_interval(together, by_ten), wilson_interval(50, 100)
    assert wide[0] < plain[0] - 0.1 and wide[1] > plain[1] + 0.1
    apart = clustered_interval([True, False] * 50, by_ten)
    assert apart[0] <= plain[0] and apart[1] >= plain[1]
    alone = clustered_interval(together, [str(index) for index in range(100)])
    assert alone == pytest.approx(plain, abs=0.005)
    assert clustered_interval([True] * 20, ["x"] * 20) == (0.0, 1.0)
    assert clustered_interval([True] * 20, list("ab" * 10))[0] < 0.5


def test_paired_comparison_is_the_exact_mcnemar_test() -> None:
    base = [True] * 40 + [False] * 10 + [True] * 2 + [False] * 8
    tuned = [True] * 40 + [True] * 10 + [False] * 2 + [False] * 8
    result = paired_comparison(base, tuned)
    assert (result.wins, result.losses) == (10, 2)
    assert result.difference == pytest.approx(8 / 60)
    assert result.p_value == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)
    assert result.low < result.difference < result.high
    # The interval agrees with the test here.
    assert result.low > 0


@pytest.mark.parametrize(("wins", "losses"), [(0, 1), (5, 5), (0, 6), (10, 2), (44, 0), (61, 90), (400, 500), (1, 999)])
def test_the_exact_p_value_is_twice_the_smaller_tail(wins: int, losses: int) -> None:
    n = wins + losses
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(min(wins, losses) + 1))
    assert exact_mcnemar(wins, losses) == pytest.approx(float(min(1, 2 * tail)), rel=1e-9)
    assert exact_mcnemar(losses, wins) == exact_mcnemar(wins, losses)


def test_the_exact_test_of_many_discordant_pairs_takes_no_time() -> None:
    start = time.thread_time()
    assert exact_mcnemar(7800, 8200) == pytest.approx(0.00161, abs=5e-5)
    assert exact_mcnemar(80_000, 80_000) == 1.0
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    # Two-sided 95 % points of Student's t (Abramowitz and Stegun, Handbook of Mathematical Functions, table 26.10).
    [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_few_clusters_are_judged_by_students_t(degrees: int, quantile: float) -> None:
    """Clusters that are all right or all wrong count as one observation each, so the interval is Wilson's of them."""
    k = degrees + 1
    right = [index % 2 == 0 for index in range(k) for _ in range(50)]
    clusters = [str(index) for index in range(k) for _ in range(50)]
    p = sum(right) / len(right)
    effective = p * (1 - p) / (k / (k - 1) * sum((50 * (own - p)) ** 2 for own in right[::50]) / len(right) ** 2)
    scale = 1 + quantile**2 / effective
    centre = (p + quantile**2 / (2 * effective)) / scale
    spread = quantile / scale * math.sqrt(p * (1 - p) / effective + quantile**2 / (4 * effective**2))
    expected = max(0, centre - spread), min(1, centre + spread)
    assert clustered_interval(right, clusters) == pytest.approx(expected, abs=2e-4)


def test_holm() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({1: 0.5, 2: 0.9}) == {1: 1.0, 2: 1.0}
    assert holm({}) == {}


def test_paired_interval_against_newcombe() -> None:
    # Newcombe (Statistics in Medicine 17, 1998, p. 2635, table III, method 10): a, b, c, d = 36, 12, 2, 0.
    base = [True] * 36 + [False] * 12 + [True] * 2
    tuned = [True] * 36 + [True] * 12 + [False] * 2
    result = paired_comparison(base, tuned)
    assert (result.low, result.high) == pytest.approx((0.0569, 0.3404), abs=5e-4)


def test_paired_edges() -> None:
    assert paired_comparison([], []).p_value == 1.0
    same = paired_comparison([True, False], [True, False])
    assert same.p_value == 1.0 and same.difference == 0 and same.low < 0 < same.high
    with pytest.raises(ValueError):
        paired_comparison([True], [])
    many = paired_comparison([False] * 1500 + [True] * 1400, [True] * 1500 + [False] * 1400)
    assert 0.05 < many.p_value < 0.08
