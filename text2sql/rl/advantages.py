"""The advantages of answers within their groups, and the data of a policy gradient made of them.

Conventions are those of the Tinker cookbook: the advantage of an answer stands at each of its tokens, a divergence
from the start model is part of it, and a loss is a sum, so that the mean over tokens is made here, by division.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from text2sql.config.rl import Advantage
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, make_datum, trained_answers
from text2sql.runs.rollouts import GradedGroup, SampledGroup

# What TRL adds to a group's standard deviation.
STD_EPS = 1e-4


def group_advantages(rewards: Sequence[float | None], kind: Advantage) -> list[float | None] | None:
    """The advantages within one group.

    Args:
        rewards: Rewards of the group's answers; None for an answer that has left the group.
        kind: ``mean``: r - mean(r), without a division by the deviation (Liu et al., 2025, Dr. GRPO). ``rloo``: r less
            the mean of the others (Ahmadian et al., 2024), which is the same times n / (n - 1). ``std``: over the
            group's standard deviation, n - 1 in its denominator (Shao et al., 2024, GRPO as TRL computes it).
            ``maxrl``: over the group's mean, which must not be less than what one right answer in it would make.

    Returns:
        An advantage for each answer, None for one that has left; None for a group without a signal, because all its
        rewards are equal or fewer than two answers have one.
    """
    present = np.asarray([reward for reward in rewards if reward is not None], dtype=np.float64)
    n = len(present)
    if n < 2 or present.max() == present.min():
        return None
    centred = present - present.mean()
    if kind == "rloo":
        centred = centred * n / (n - 1)
    elif kind == "std":
        centred = centred / (present.std(ddof=1) + STD_EPS)
    elif kind == "maxrl":
        centred = centred / max(present.mean(), 1 / n)
    values = iter(centred.tolist())
    return [None if reward is None else next(values) for reward in rewards]


def answers_with_advantages(sampled: SampledGroup, graded: GradedGroup, kind: Advantage) -> list[TrainedAnswer]:
    """The answers of a group with their advantages; none where its rewards give no signal."""
    advantages = group_advantages([answer.reward for answer in graded.answers], kind) or []
    return [
        replace(answer, advantage=advantage)
        for answer, advantage in zip(trained_answers(sampled, graded), advantages, strict=False)
        if advantage is not None
    ]


def policy_data(answers: Sequence[TrainedAnswer], kl_coef: float) -> list[AnswerDatum]:
    """The answers of one optimiser step as data whose summed loss is a mean over their tokens.

    At token t the advantage is A + c * (mean(d) - d_t), with d_t = log q_t - log r_t, q when it was sampled, r under
    the start model, c the coefficient and the mean over all answers; then 1/N of that, N being the tokens of all
    answers. A token that the model did not sample, as one that closes a thinking block, counts in none of it.

    Args:
        answers: The answers, at least one.
        kl_coef: Coefficient of the divergence; 0 leaves it out.

    Returns:
        Data with input ids ``[T]``, targets shifted by one, log-probabilities and advantages ``[T]``, both 0 on the
        prompt; an answer without a token that has an advantage is left out, as it would change nothing.
    """
    mean_ratio = 0.0
    if kl_coef:
        mean_ratio = float(np.concatenate([answer.log_ratio[answer.sampled_mask] for answer in answers]).mean())
    advantages = [
        answer.advantage + (kl_coef * (mean_ratio - answer.log_ratio) if kl_coef else np.zeros(len(answer.tokens)))
        for answer in answers
    ]
    return token_advantage_data(answers, advantages)


def token_advantage_data(answers: Sequence[TrainedAnswer], advantages: Sequence[np.ndarray]) -> list[AnswerDatum]:
    """Answers as data with an advantage at each token ``[A]``, divided by the tokens of all answers.

    An answer without a token that has an advantage is left out; see `policy_data`.
    """
    count = sum(answer.sampled_mask.sum() for answer in answers)
    data = []
    for answer, token_advantages in zip(answers, advantages, strict=True):
        masked = token_advantages * answer.sampled_mask  # [A]
        if masked.any():
            assert answer.sampling_logprobs is not None
            datum = make_datum(answer, logprobs=answer.sampling_logprobs, advantages=masked / count)
            data.append(AnswerDatum(answer, datum))
    return data
