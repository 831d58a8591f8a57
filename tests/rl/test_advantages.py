"""Advantages and the data made of them, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.rl.advantages import group_advantages, policy_data
from text2sql.rl.answers import TrainedAnswer

REWARDS = st.lists(st.one_of(st.none(), st.sampled_from([1.0, 0.1, 0.0, -0.1])), min_size=1, max_size=12)


def test_the_formulas() -> None:
    rewards = [1.0, 0.0, 0.1, 0.1]
    mean, deviation = 0.3, np.std(rewards, ddof=1)
    for kind, expected in {
        "mean": [0.7, -0.3, -0.2, -0.2],
        # Less the mean of the other three.
        "rloo": [1 - 0.2 / 3, -1.2 / 3, 0.1 - 1.1 / 3, 0.1 - 1.1 / 3],
        "std": (np.array(rewards) - mean) / (deviation + 1e-4),
        "maxrl": (np.array(rewards) - mean) / mean,
    }.items():
        np.testing.assert_allclose(group_advantages(rewards, kind), expected, rtol=1e-12, err_msg=kind)  # type: ignore[arg-type]


def test_a_mean_near_nothing_does_not_blow_advantages_up() -> None:
    found = group_advantages([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "maxrl")
    assert found is not None and max(value for value in found if value is not None) < 1


@given(REWARDS, st.sampled_from(["mean", "rloo", "std", "maxrl"]))
def test_within_a_group_advantages_add_up_to_nothing_and_keep_the_order(rewards: list[float | None], kind: str) -> None:
    found = group_advantages(rewards, kind)  # type: ignore[arg-type]
    present = [reward for reward in rewards if reward is not None]
    if len(present) < 2 or len(set(present)) == 1:
        assert found is None
        return
    assert found is not None
    assert [value is None for value in found] == [reward is None for reward in rewards]
    values = [value for value in found if value is not None]
    assert sum(values) == pytest.approx(0, abs=1e-9)
    for (one, a), (other, b) in zip(
        zip(present, values, strict=True), zip(present[1:], values[1:], strict=False), strict=False
    ):
        assert (one > other) == (a > b) and (one == other) == (a == b)


def answer(tokens: int, advantage: float, seed: int = 0) -> TrainedAnswer:
    stream = np.random.default_rng(seed)
    sampled, start = -stream.random(tokens), -stream.random(tokens)
    return TrainedAnswer([5, 6, 7], list(range(10, 10 + tokens)), sampled, start, advantage)


def test_a_datum_scores_the_answer_alone_and_the_batch_is_a_mean_over_its_tokens() -> None:
    answers = [answer(4, 0.5), answer(2, -0.5, seed=1)]
    data = [made.datum for made in policy_data(answers, 0.0)]
    for made, of in zip(data, answers, strict=True):
        ids = [*of.prompt, *of.tokens]
        inputs = {name: tensor.to_numpy() for name, tensor in made.loss_fn_inputs.items()}
        assert made.model_input.to_ints() == ids[:-1] and inputs["target_tokens"].tolist() == ids[1:]
        # Two targets are the prompt's.
        np.testing.assert_array_equal(inputs["advantages"][:2], 0)
        np.testing.assert_array_equal(inputs["logprobs"][:2], 0)
        np.testing.assert_allclose(inputs["advantages"][2:], of.advantage / 6, rtol=1e-6)
        np.testing.assert_allclose(inputs["logprobs"][2:], of.sampling_logprobs, rtol=1e-6)


def test_the_divergence_from_the_start_is_part_of_the_advantages() -> None:
    answers = [answer(4, 0.5), answer(2, 0.0, seed=1)]
    data = [made.datum for made in policy_data(answers, 0.1)]
    differences = [of.log_ratio for of in answers]
    mean = np.concatenate(differences).mean()
    for made, of, difference in zip(data, answers, differences, strict=True):
        expected = (of.advantage + 0.1 * (mean - difference)) / 6
        np.testing.assert_allclose(made.loss_fn_inputs["advantages"].to_numpy()[2:], expected, rtol=1e-5)
    # Measured, and no part of it; an answer without an advantage then has no gradient.
    measured = policy_data(answers, 0.0)
    assert [made.answer for made in measured] == answers[:1]
    assert measured[0].datum.loss_fn_inputs["advantages"].to_numpy()[2] == np.float32(0.5 / 6)
