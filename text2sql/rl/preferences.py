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
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, make_datum, trained_answers
from text2sql.rl.rejection import first_distinct, is_right
from text2sql.runs.rollouts import GradedAnswer, GradedGroup, SampledGroup

if TYPE_CHECKING:
    from torch import Tensor

    from backends.interface import CustomLoss


def preference_pairs(
    sampled: SampledGroup, graded: GradedGroup, table: RewardConfig, max_pairs: int
) -> list[TrainedAnswer]:
    """Pairs of a group's different answers, each a right one followed by a wrong one.

    Args:
        sampled: The sampled group.
        graded: The rewards of its answers.
        table: An answer is right whose reward is at least that of equivalent answers; wrong is what runs, or with a
            user's own function whatever has a lower reward.
        max_pairs: Most pairs.

    Returns:
        An even number of answers; none where no answer is right, or none is wrong.
    """
    answers = graded.answers
    right = [index for index, answer in enumerate(answers) if is_right(answer, table)]
    wrong = [index for index, answer in enumerate(answers) if _is_wrong(answer, table)]
    right = first_distinct(answers, right, max_pairs)
    wrong = first_distinct(answers, wrong, max_pairs)
    if not right or not wrong:
        return []
    # The longer side is gone through once: no pair comes twice.
    count = min(max_pairs, max(len(right), len(wrong)))
    pairs = [(right[i % len(right)], wrong[i % len(wrong)]) for i in range(count)]
    trained = trained_answers(sampled, graded)
    return [trained[index] for pair in pairs for index in pair]


def _is_wrong(answer: GradedAnswer, table: RewardConfig) -> bool:
    if answer.reward is None or answer.reward >= table.equivalent:
        return False
    return table.function is not None or answer.outcome in ("runs", "caught")


def preference_data(answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
    """Pairs as data for `preference_loss`, whose sum is a mean over all pairs."""
    pair_weight = 2.0 / len(answers)
    data = []
    for answer in answers:
        assert answer.reference_logprobs is not None
        weights = pair_weight * answer.sampled_mask  # [A]
        data.append(AnswerDatum(answer, make_datum(answer, weights=weights, logprobs=answer.reference_logprobs)))
    return data


def preference_loss(beta: float) -> CustomLoss:
    """The loss of data that are pairs."""
    return partial(_pairs_loss, beta=beta)


def _pairs_loss(
    data: Sequence[types.Datum], logprobs: Sequence[Tensor], *, beta: float
) -> tuple[Tensor, dict[str, float]]:
    """The loss of pairs, a scalar; `data` and `logprobs`, of each datum ``[T]``, have the right answer of a pair first.

    Loss inputs of a datum: ``weights`` ``[T]``, the pair's weight at each token that counts and 0 elsewhere;
    ``logprobs`` ``[T]``, those under the start model.
    """
    # Not at the top: whoever imports this module need not wait for torch.
    import torch
    from torch.nn.functional import logsigmoid

    gains = [_gain(datum, policy_logprobs) for datum, policy_logprobs in zip(data, logprobs, strict=True)]
    weights = [float(datum.loss_fn_inputs["weights"].to_numpy().max()) for datum in data]
    losses = [
        -weight * logsigmoid(beta * (right - wrong))
        for weight, right, wrong in zip(weights[::2], gains[::2], gains[1::2], strict=True)
    ]
    return torch.stack(losses).sum(), {}


def _gain(datum: types.Datum, logprobs: Tensor) -> Tensor:
    """How much likelier an answer is than under the start model, in nats: a scalar of ``logprobs`` ``[T]``."""
    inputs = datum.loss_fn_inputs
    scored = inputs["weights"].to_torch() > 0  # [T]
    return (logprobs - inputs["logprobs"].to_torch())[scored].sum()


def preference_accuracy(answers: Sequence[TrainedAnswer], logprobs: Sequence[np.ndarray]) -> float | None:
    """Share of pairs whose right answer has gained more on the start model than the wrong one; None without pairs.

    Args:
        answers: Pairs, as `preference_pairs` has them.
        logprobs: Log-probabilities of each answer's tokens in the training step ``[A]``.
    """
    gains = [
        float((policy_logprobs - answer.reference_logprobs)[answer.sampled_mask].sum())
        for answer, policy_logprobs in zip(answers, logprobs, strict=True)
        if answer.reference_logprobs is not None
    ]
    if not gains:
        return None
    return sum(right > wrong for right, wrong in zip(gains[::2], gains[1::2], strict=True)) / (len(gains) // 2)
