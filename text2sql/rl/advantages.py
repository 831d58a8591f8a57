"""How much better an answer is than the others to its question, and the policy's data made of that.

Conventions are those of the Tinker cookbook: the advantage of an answer stands at each of its tokens, a divergence
from the start model is part of it, and a loss is a sum, so that the mean over tokens is made here, by division.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from text2sql.config.rl import Advantage
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, make_datum, sampled_answers
from text2sql.runs.rollouts import PaidGroup, SampledGroup

# What TRL adds to a group's standard deviation.
STD_EPS = 1e-4


def group_advantages(rewards: Sequence[float | None], kind: Advantage) -> list[float | None] | None:
    """The advantages within one group.

    Args:
        rewards: Of its answers; None for one that has left it.
        kind: ``mean``: r - mean(r), without a division by the deviation (Liu et al., 2025, Dr. GRPO). ``rloo``: r less
            the mean of the others (Ahmadian et al., 2024), which is the same times n / (n - 1). ``std``: over the
            group's standard deviation, n - 1 in its denominator (Shao et al., 2024, GRPO as TRL computes it).
            ``maxrl``: over the group's mean, which must not be less than what one right answer in it would make.

    Returns:
        An advantage for each answer, None for one that has left; None for a group that teaches nothing, because its
        answers are all paid alike or fewer than two are paid.
    """
    paid = np.asarray([reward for reward in rewards if reward is not None], dtype=np.float64)
    n = len(paid)
    if n < 2 or paid.max() == paid.min():
        return None
    centred = paid - paid.mean()
    if kind == "rloo":
        centred = centred * n / (n - 1)
    elif kind == "std":
        centred = centred / (paid.std(ddof=1) + STD_EPS)
    elif kind == "maxrl":
        centred = centred / max(paid.mean(), 1 / n)
    values = iter(centred.tolist())
    return [None if reward is None else next(values) for reward in rewards]


def answers_with_advantages(sampled: SampledGroup, paid: PaidGroup, kind: Advantage) -> list[TrainedAnswer]:
    """The answers of a group that its rewards tell apart; none of one that teaches nothing."""
    advantages = group_advantages([answer.reward for answer in paid.paid], kind) or []
    return [
        replace(answer, advantage=advantage)
        for answer, advantage in zip(sampled_answers(sampled, paid), advantages, strict=False)
        if advantage is not None
    ]


def policy_data(answers: Sequence[TrainedAnswer], coefficient: float) -> list[AnswerDatum]:
    """The answers of one optimiser step as data whose summed loss is a mean over their tokens.

    At token t the advantage is A + c * (mean(d) - d_t), with d_t = log q_t - log r_t, q when it was sampled, r under
    the start model, c the coefficient and the mean over all answers; then 1/N of that, N being the tokens of all
    answers. A token that the model did not choose, as one that closes a block of thinking, counts in none of it.

    Args:
        answers: At least one.
        coefficient: Of the divergence; 0 leaves it out.

    Returns:
        Data with input ids ``[T]``, targets shifted by one, log-probabilities and advantages ``[T]``, both 0 on the
        prompt; an answer without a token that has an advantage is left out, as it would change nothing.
    """
    mean = 0.0
    if coefficient:
        mean = float(np.concatenate([answer.divergence[answer.chosen] for answer in answers]).mean())
    advantages = [
        answer.advantage + (coefficient * (mean - answer.divergence) if coefficient else np.zeros(len(answer.tokens)))
        for answer in answers
    ]
    return weighed_data(answers, advantages)


def weighed_data(answers: Sequence[TrainedAnswer], advantages: Sequence[np.ndarray]) -> list[AnswerDatum]:
    """Answers with an advantage for each token ``[A]``, divided by the tokens of all; see `policy_data`."""
    count = sum(answer.chosen.sum() for answer in answers)
    data = []
    for answer, every in zip(answers, advantages, strict=True):
        own = every * answer.chosen
        if own.any():
            assert answer.sampled is not None
            data.append(AnswerDatum(answer, make_datum(answer, logprobs=answer.sampled, advantages=own / count)))
    return data
