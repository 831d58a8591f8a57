"""Two systems over several seeds: each question counts once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2sql.evaluation.pooled import pooled_comparison
from text2sql.evaluation.statistics import exact_mcnemar, paired_comparison

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=12)


@given(ANSWERS, st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_the_same_answers_again_are_no_more_evidence(answers: list[tuple[bool, bool]], seeds: int) -> None:
    first, second = ([pair[side] for pair in answers] for side in (0, 1))
    pooled = pooled_comparison([first] * seeds, [second] * seeds)
    plain = paired_comparison(first, second)
    assert pooled.difference == pytest.approx(plain.difference)
    # With so few questions all exchanges are tried, and the test is McNemar's.
    assert pooled.p_value == pytest.approx(exact_mcnemar(plain.wins, plain.losses))
    assert -1 <= pooled.low <= pooled.difference <= pooled.high <= 1


@given(ANSWERS)
def test_one_seed_is_the_paired_comparison(answers: list[tuple[bool, bool]]) -> None:
    first, second = ([pair[side] for pair in answers] for side in (0, 1))
    pooled, plain = pooled_comparison([first], [second]), paired_comparison(first, second)
    assert (pooled.low, pooled.high, pooled.p_value) == (plain.low, plain.high, plain.p_value)


def test_chance_is_called_significant_as_rarely_as_the_level_says() -> None:
    rng = random.Random(0)
    low, trials = 0, 300
    for _ in range(trials):
        hard = [rng.random() for _ in range(40)]
        first, second = ([[rng.random() < p for p in hard] for _ in range(3)] for _ in range(2))
        low += pooled_comparison(first, second).p_value < 0.05
    # Binomial(300, 0.05) exceeds 27 once in a thousand.
    assert low <= 27


def test_more_seeds_show_a_difference_that_one_does_not() -> None:
    rng = random.Random(1)
    first, second = ([[rng.random() < p for _ in range(60)] for _ in range(6)] for p in (0.4, 0.6))
    assert pooled_comparison(first, second).p_value < 0.01


@pytest.mark.parametrize(("first", "second"), [([], []), ([[True]], []), ([[True]], [[True, False]]), ([[]], [[]])])
def test_what_cannot_be_paired_is_refused(first: list[list[bool]], second: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        pooled_comparison(first, second)
