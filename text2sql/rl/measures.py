"""What a step of answers and rewards comes to, and the alarms that its course gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Literal

import numpy as np

from text2sql.config import RlConfig
from text2sql.rl.answers import TrainedAnswer
from text2sql.rl.rollouts import Rollouts
from text2sql.runs.rollouts import Outcome, RlStepMetrics
from text2sql.runs.summary import VerdictSummary
from text2sql.sql.tokens import tokenize

# Above it the training is not on the policy that sampled; the Tinker cookbook calls a run stable below.
MOST_KL = 0.01
# Steps at the beginning and at the end that a course is read from.
WINDOW = 5
# Share of `caught` answers from which its rise is an alarm.
CAUGHT = 0.01

Alarm = Literal["kl", "entropy", "caught"]


@dataclass(frozen=True)
class AnswerMeasures:
    """Shares and means over the answers of a step; see `RlStepMetrics`."""

    reward: float
    shares: dict[Outcome, float]
    caught: float
    empty: float
    mixed: float
    all_good: float
    all_bad: float
    pass_at_1: float
    pass_at_group: float
    distinct: float
    entropy: float
    kl_start: float | None
    kl_teacher: float | None
    limit: float
    distinct_clause: float
    select_all: float
    answer_tokens: float
    sampled_tokens: int


def measure_answers(rollouts: Rollouts) -> AnswerMeasures:
    """What the answers of a step are, before anything is learnt from them."""
    paid = [answer for group in rollouts.paid for answer in group.paid]
    sampled = [answer for group in rollouts.sampled for answer in group.answers]
    outcomes = Counter(answer.outcome for answer in paid)
    right = [[answer.outcome == "equivalent" for answer in group.paid] for group in rollouts.paid]
    rewards = [answer.reward for answer in paid if answer.reward is not None]
    logprobs = np.concatenate([np.delete(answer.logprobs, answer.given) for answer in sampled])
    queries = [answer.sql for answer in paid]
    return AnswerMeasures(
        reward=fmean(rewards) if rewards else 0.0,
        shares={outcome: count / len(paid) for outcome, count in outcomes.items()},
        caught=_share(paid, lambda answer: answer.passes_one),
        empty=_share(queries, lambda sql: not sql),
        mixed=_share(right, lambda own: 0 < sum(own) < len(own)),
        all_good=_share(right, all),
        all_bad=_share(right, lambda own: not any(own)),
        pass_at_1=fmean(map(float, (value for own in right for value in own))),
        pass_at_group=_share(right, any),
        distinct=fmean(len({answer.sql for answer in group.paid}) for group in rollouts.paid),
        entropy=float(-logprobs.mean()),
        kl_start=_divergence(rollouts, [group.start_logprobs for group in rollouts.paid]),
        kl_teacher=_divergence(rollouts, [group.teacher_logprobs for group in rollouts.paid]),
        limit=_share(queries, has_limit),
        distinct_clause=_share(queries, has_distinct),
        select_all=_share(queries, selects_all),
        answer_tokens=len(logprobs) / len(sampled),
        sampled_tokens=len(logprobs),
    )


def _share(items: Sequence[object], holds: Callable[..., bool]) -> float:
    return sum(map(bool, map(holds, items))) / len(items)


def _divergence(rollouts: Rollouts, asked: Sequence[Sequence[Sequence[float]] | None]) -> float | None:
    """Mean of log q - log r over all tokens, r as a model was asked, by group; None where it was not."""
    found = [
        np.delete(np.asarray(answer.logprobs) - np.asarray(own), answer.given)
        for sampled, group in zip(rollouts.sampled, asked, strict=True)
        for answer, own in zip(sampled.answers, group or (), strict=False)
    ]
    return float(np.concatenate(found).mean()) if found else None


def has_limit(sql: str) -> bool:
    """Whether a query has the word LIMIT outside quotes."""
    return "LIMIT" in _words(sql)


def has_distinct(sql: str) -> bool:
    """Whether a query has the word DISTINCT outside quotes."""
    return "DISTINCT" in _words(sql)


def selects_all(sql: str) -> bool:
    """Whether a query has SELECT *, also behind DISTINCT."""
    words = [word for word in _words(sql) if word != "DISTINCT"]
    return any(pair == ("SELECT", "*") for pair in pairwise(words))


def _words(sql: str) -> list[str]:
    # Read as tokens alone: only the processes that judge parse a model's text.
    return [token.keyword for token in tokenize(sql) if token.keyword]


def kl_sample_train(trained: Sequence[TrainedAnswer], logprobs: Sequence[np.ndarray]) -> tuple[float, float]:
    """How far the training step's probabilities are from those of the sampling.

    Args:
        trained: The answers; gold ones were not sampled, and do not count.
        logprobs: Of each answer, its tokens' log-probabilities in the training step.

    Returns:
        Mean of q - p, and half the mean of (q - p)^2: two estimates of the divergence (Schulman, 2020).
    """
    found = [(a.sampled - p)[a.chosen] for a, p in zip(trained, logprobs, strict=True) if a.sampled is not None]
    if not found:
        return 0.0, 0.0
    differences = np.concatenate(found)
    return float(differences.mean()), float(0.5 * (differences**2).mean())


def alarms(steps: Sequence[RlStepMetrics]) -> dict[Alarm, str]:
    """What the course of a training warns of, in sentences; one step alone says nothing."""
    if len(steps) < WINDOW:
        return {}
    first, last = steps[:WINDOW], steps[-WINDOW:]
    found: dict[Alarm, str] = {}
    kl = fmean(row.kl_sample_train for row in last)
    if kl > MOST_KL:
        found["kl"] = (
            f"Sampling and training disagree: their KL divergence is {kl:.3g}, above {MOST_KL}. A rl.temperature other "
            "than 1 does that; else lower rl.substeps or rl.max_steps_off_policy, or use the same dtype for both."
        )
    begun, now = fmean(row.entropy for row in first), fmean(row.entropy for row in last)
    if now < begun / 2:
        found["entropy"] = (
            f"The entropy has fallen from {begun:.3g} to {now:.3g}: the answers to a question become the same, and "
            "groups teach nothing. Lower training.learning_rate, or set rl.kl_coef."
        )
    before, after = fmean(row.caught for row in first), fmean(row.caught for row in last)
    if after > CAUGHT and after > 2 * before:
        found["caught"] = (
            f"Wrong answers that one database would let pass have risen from {before:.1%} to {after:.1%}: the model "
            "learns what a single database cannot tell apart. They are not paid as right ones; the report shows some."
        )
    return found


def summarize_verdicts(steps: Sequence[RlStepMetrics], settings: RlConfig, taught: int | None) -> VerdictSummary:
    """What the steps came to.

    Args:
        steps: At least one.
        settings: Of the run.
        taught: Questions that the start model had been trained on; None where that is not known.
    """
    first, last = steps[:WINDOW], steps[-WINDOW:]
    return VerdictSummary(
        method=str(settings.method),
        questions=settings.questions,
        group=settings.group,
        answers=sum(row.examples for row in steps),
        first_reward=fmean(row.reward for row in first),
        final_reward=fmean(row.reward for row in last),
        first_right=fmean(row.equivalent for row in first),
        final_right=fmean(row.equivalent for row in last),
        dropped=fmean(row.dropped for row in steps),
        caught=round(sum(row.caught * row.examples for row in steps)),
        undecided=round(sum(row.undecided * row.examples for row in steps)),
        taught=taught,
        alarms=tuple(alarms(steps).values()),
    )
