"""The learning rate: the automatic peak, and its course."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.config import TrainingConfig
from text2sql.errors import UserError
from text2sql.training.lr_schedule import auto_learning_rate, learning_rate


def _training(**values: object) -> TrainingConfig:
    return TrainingConfig.model_validate(values)


def test_the_automatic_rate_is_the_cookbooks_figure_for_llama_3_2_1b() -> None:
    rate, reason = auto_learning_rate(2048, "llama", 256)
    assert rate == pytest.approx(4.908e-4, rel=1e-4)
    assert "0.000491" in reason and "2000/2048" in reason and "cookbook" in reason


def test_the_automatic_rate_follows_the_square_root_of_the_batch() -> None:
    at_256, _ = auto_learning_rate(576, "llama", 256)
    assert auto_learning_rate(576, "llama", 64)[0] == pytest.approx(at_256 / 2)
    assert auto_learning_rate(576, "llama", 1024)[0] == pytest.approx(at_256 * 2)


def test_the_automatic_rate_falls_with_the_width_by_family() -> None:
    assert auto_learning_rate(2000, "qwen3", 256)[0] == pytest.approx(5e-4)
    llama, qwen = (auto_learning_rate(4000, family, 256)[0] for family in ("llama", "qwen3"))
    assert llama == pytest.approx(5e-4 * 0.5**0.781)
    assert qwen == pytest.approx(5e-4 * 0.5**0.0775)


def test_another_family_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r'training\.learning_rate=auto.*"gpt2".*Set a number'):
        auto_learning_rate(768, "gpt2", 256)


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 1.0, 0.5, 0.1),
        ("cosine", 1.0, 0.5, 0.5 * (1 + math.cos(0.9 * math.pi))),
    ],
)
def test_end_points(schedule: str, first: float, middle: float, last: float) -> None:
    rates = [learning_rate(step, 10, 1.0, _training(schedule=schedule)) for step in (0, 5, 9)]
    assert rates == pytest.approx([first, middle, last])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_rises_in_equal_steps_to_the_peak_and_the_decay_starts_there(schedule: str) -> None:
    training = _training(schedule=schedule, warmup_steps=4)
    rates = [learning_rate(step, 14, 2.0, training) for step in range(14)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    without = _training(schedule=schedule)
    assert rates[4:] == pytest.approx([learning_rate(step, 10, 2.0, without) for step in range(10)])


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 50), st.integers(0, 60))
def test_the_rate_is_positive_at_most_the_peak_and_never_rises_after_the_warm_up(
    schedule: str, total: int, warmup: int
) -> None:
    training = _training(schedule=schedule, warmup_steps=warmup)
    rates = [learning_rate(step, total, 3.0, training) for step in range(total)]
    assert all(0 < rate <= 3.0 for rate in rates)
    after = rates[warmup:]
    assert after == sorted(after, reverse=True)
