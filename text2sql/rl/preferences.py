"""Preference pairs: a right answer against one that runs and is wrong (DPO; Rafailov et al., 2023).

Both are the model's own, to one question, and sampled in the step that learns from them. The loss of a pair is
``-log sigmoid(beta * ((p_c - r_c) - (p_r - r_r)))``: p an answer's log-probability now, r under the start model, c the
right answer and r the wrong one. It is no loss of the API, and goes through `forward_backward_custom`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from tinker import types

from text2sql.config.rl import RewardConfig
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, make_datum, sampled_answers
from text2sql.rl.rejection import distinct, is_right
from text2sql.runs.rollouts import PaidAnswer, PaidGroup, SampledGroup

if TYPE_CHECKING:
    from torch import Tensor

    from backends.interface import CustomLoss


def preference_pairs(sampled: SampledGroup, paid: PaidGroup, table: RewardConfig, most: int) -> list[TrainedAnswer]:
    """Pairs of a group's different answers, each a right one followed by a wrong one.

    Args:
        sampled: The group.
        paid: Its rewards.
        table: What is right is paid as much as it says of equivalent answers; wrong is what runs, or with a user's own
            function whatever is paid less.
        most: Pairs.

    Returns:
        An even number of answers; none where no answer is right, or none is wrong.
    """
    places = range(len(paid.paid))
    right = distinct(paid.paid, [place for place in places if is_right(paid.paid[place], table)], most)
    wrong = distinct(paid.paid, [place for place in places if _is_wrong(paid.paid[place], table)], most)
    if not right or not wrong:
        return []
    answers = sampled_answers(sampled, paid)
    # The longer side is gone through once: no pair comes twice.
    count = min(most, max(len(right), len(wrong)))
    pairs = [(right[number % len(right)], wrong[number % len(wrong)]) for number in range(count)]
    return [answers[place] for pair in pairs for place in pair]


def _is_wrong(answer: PaidAnswer, table: RewardConfig) -> bool:
    if answer.reward is None or answer.reward >= table.equivalent:
        return False
    return table.function is not None or answer.outcome in ("runs", "caught")


def preference_data(answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
    """Pairs as data for `preference_loss`, whose sum is a mean over all pairs."""
    weight = 2.0 / len(answers)
    data = []
    for answer in answers:
        assert answer.reference is not None
        data.append(AnswerDatum(answer, make_datum(answer, weights=weight * answer.chosen, logprobs=answer.reference)))
    return data


def preference_loss(beta: float) -> CustomLoss:
    """The loss of data that are pairs."""
    return partial(_pairs_loss, beta=beta)


def _pairs_loss(
    data: Sequence[types.Datum], logprobs: Sequence[Tensor], *, beta: float
) -> tuple[Tensor, dict[str, float]]:
    # Not at the top: whoever imports this module need not wait for torch.
    import torch
    from torch.nn.functional import logsigmoid

    gains = [_gain(datum, own) for datum, own in zip(data, logprobs, strict=True)]
    weights = [float(datum.loss_fn_inputs["weights"].to_numpy().max()) for datum in data]
    losses = [
        -weight * logsigmoid(beta * (right - wrong))
        for weight, right, wrong in zip(weights[::2], gains[::2], gains[1::2], strict=True)
    ]
    return torch.stack(losses).sum(), {}


def _gain(datum: types.Datum, logprobs: Tensor) -> Tensor:
    """How much likelier an answer is than under the start model, in nats."""
    inputs = datum.loss_fn_inputs
    scored = inputs["weights"].to_torch() > 0
    return (logprobs - inputs["logprobs"].to_torch())[scored].sum()


def preferred(answers: Sequence[TrainedAnswer], logprobs: Sequence[np.ndarray]) -> float | None:
    """Share of pairs whose right answer has gained more on the start model than the wrong one; None without pairs.

    Args:
        answers: Pairs, as `preference_pairs` has them.
        logprobs: Of each answer, its tokens' log-probabilities in the training step.
    """
    gains = [
        float((own - answer.reference)[answer.chosen].sum())
        for answer, own in zip(answers, logprobs, strict=True)
        if answer.reference is not None
    ]
    if not gains:
        return None
    return sum(right > wrong for right, wrong in zip(gains[::2], gains[1::2], strict=True)) / (len(gains) // 2)
