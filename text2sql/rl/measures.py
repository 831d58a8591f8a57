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
from text2sql.rl.preferences import preference_accuracy
from text2sql.rl.rollouts import Rollouts
from text2sql.runs.rollouts import RlStepMetrics
from text2sql.runs.summary import VerdictSummary
from text2sql.sql.tokens import tokenize

# Above it the training is not on the policy that sampled; the Tinker cookbook calls a run stable below.
MAX_KL = 0.01
# Steps at the beginning and at the end over which a course is averaged.
WINDOW_STEPS = 5
# Share of `RlStepMetrics.caught` above which its rise is an alarm.
CAUGHT_ALARM_SHARE = 0.01

Alarm = Literal["kl", "entropy", "caught"]


@dataclass(frozen=True)
class RolloutMeasures:
    """Shares and means over the rollouts of a step, before anything is learnt from them: fields of `RlStepMetrics`."""

    reward: float
    equivalent: float
    caught: float
    error: float
    timeout: float
    refused: float
    truncated: float
    undecided: float
    failed: float
    empty: float
    groups: int
    frac_mixed: float
    frac_all_good: float
    frac_all_bad: float
    pass_at_1: float
    pass_at_group: float
    distinct: float
    entropy: float
    kl_start: float | None
    kl_teacher: float | None
    limit: float
    gold_limit: float
    distinct_clause: float
    gold_distinct_clause: float
    select_all: float
    gold_select_all: float
    answer_tokens: float
    sampled_tokens: int
    prefilled_tokens: int
    sampling_seconds: float
    judging_seconds: float
    staleness: int | None


@dataclass(frozen=True)
class TrainingMeasures:
    """Measures of the answers that a step was trained on: fields of `RlStepMetrics`."""

    kl_sample_train: float
    kl_sample_train_v2: float
    learnt: int
    preferred: float | None
    gold_answers: int | None


def measure_rollouts(rollouts: Rollouts) -> RolloutMeasures:
    """The measures of a step's rollouts."""
    graded = [answer for group in rollouts.graded for answer in group.answers]
    sampled = [answer for group in rollouts.sampled for answer in group.answers]
    golds = [question.example.answer for question in rollouts.questions]
    outcomes = Counter(answer.outcome for answer in graded)
    shares = {outcome: count / len(graded) for outcome, count in outcomes.items()}
    right = [[answer.outcome == "equivalent" for answer in group.answers] for group in rollouts.graded]
    rewards = [answer.reward for answer in graded if answer.reward is not None]
    logprobs = np.concatenate([np.delete(answer.logprobs, answer.forced_tokens) for answer in sampled])
    queries = [answer.sql for answer in graded]
    return RolloutMeasures(
        reward=fmean(rewards) if rewards else 0.0,
        equivalent=shares.get("equivalent", 0.0),
        caught=_share(graded, lambda answer: answer.passes_single_database),
        error=shares.get("error", 0.0),
        timeout=shares.get("timeout", 0.0),
        refused=shares.get("refused", 0.0),
        truncated=shares.get("truncated", 0.0),
        undecided=shares.get("undecided", 0.0),
        failed=shares.get("failed", 0.0),
        empty=_share(queries, lambda sql: not sql),
        groups=len(golds),
        frac_mixed=_share(right, lambda group: 0 < sum(group) < len(group)),
        frac_all_good=_share(right, all),
        frac_all_bad=_share(right, lambda group: not any(group)),
        pass_at_1=fmean(map(float, (value for group in right for value in group))),
        pass_at_group=_share(right, any),
        distinct=fmean(len({answer.sql for answer in group.answers}) for group in rollouts.graded),
        entropy=float(-logprobs.mean()),
        kl_start=_mean_log_ratio(rollouts, [group.start_logprobs for group in rollouts.graded]),
        kl_teacher=_mean_log_ratio(rollouts, [group.teacher_logprobs for group in rollouts.graded]),
        limit=_share(queries, has_limit),
        gold_limit=_share(golds, has_limit),
        distinct_clause=_share(queries, has_distinct),
        gold_distinct_clause=_share(golds, has_distinct),
        select_all=_share(queries, selects_all),
        gold_select_all=_share(golds, selects_all),
        answer_tokens=len(logprobs) / len(sampled),
        sampled_tokens=len(logprobs),
        prefilled_tokens=rollouts.prefilled_tokens,
        sampling_seconds=rollouts.sampling_seconds,
        judging_seconds=rollouts.judging_seconds,
        staleness=max(group.staleness for group in rollouts.sampled) or None,
    )


def measure_training(
    trained: Sequence[TrainedAnswer], logprobs: Sequence[np.ndarray], *, paired: bool
) -> TrainingMeasures:
    """The measures of the answers that a step was trained on.

    Args:
        trained: The answers.
        logprobs: Log-probabilities of each answer's tokens in the training step ``[A]``.
        paired: Whether they are preference pairs.
    """
    kl, kl_v2 = kl_sample_train(trained, logprobs)
    return TrainingMeasures(
        kl_sample_train=kl,
        kl_sample_train_v2=kl_v2,
        learnt=len(trained),
        preferred=preference_accuracy(trained, logprobs) if paired else None,
        gold_answers=sum(answer.sampling_logprobs is None for answer in trained) or None,
    )


def _share(items: Sequence[object], holds: Callable[..., bool | None]) -> float:
    return sum(map(bool, map(holds, items))) / len(items)


def _mean_log_ratio(rollouts: Rollouts, references: Sequence[Sequence[Sequence[float]] | None]) -> float | None:
    """Mean of log q - log r over all sampled tokens, r under a reference model, by group; None where none was asked."""
    log_ratios = [
        np.delete(np.asarray(answer.logprobs) - np.asarray(reference), answer.forced_tokens)
        for sampled, group in zip(rollouts.sampled, references, strict=True)
        for answer, reference in zip(sampled.answers, group or (), strict=False)
    ]
    return float(np.concatenate(log_ratios).mean()) if log_ratios else None


def has_limit(sql: str) -> bool:
    """Whether a query has the word LIMIT outside quotes."""
    return "LIMIT" in _keywords(sql)


def has_distinct(sql: str) -> bool:
    """Whether a query has the word DISTINCT outside quotes."""
    return "DISTINCT" in _keywords(sql)


def selects_all(sql: str) -> bool:
    """Whether a query has SELECT *, also behind DISTINCT."""
    words = [word for word in _keywords(sql) if word != "DISTINCT"]
    return any(pair == ("SELECT", "*") for pair in pairwise(words))


def _keywords(sql: str) -> list[str]:
    # Read as tokens alone: only the worker processes parse a model's text.
    return [token.keyword for token in tokenize(sql) if token.keyword]


def kl_sample_train(trained: Sequence[TrainedAnswer], logprobs: Sequence[np.ndarray]) -> tuple[float, float]:
    """How far the training step's probabilities are from those of the sampling.

    Args:
        trained: The answers; gold ones were not sampled, and do not count.
        logprobs: Log-probabilities of each answer's tokens in the training step ``[A]``.

    Returns:
        Mean of q - p, and half the mean of (q - p)^2: two estimates of the divergence (Schulman, 2020).
    """
    log_ratios = [
        (answer.sampling_logprobs - train_logprobs)[answer.sampled_mask]
        for answer, train_logprobs in zip(trained, logprobs, strict=True)
        if answer.sampling_logprobs is not None
    ]
    if not log_ratios:
        return 0.0, 0.0
    log_ratio = np.concatenate(log_ratios)
    return float(log_ratio.mean()), float(0.5 * (log_ratio**2).mean())


def alarms(steps: Sequence[RlStepMetrics]) -> dict[Alarm, str]:
    """What the course of a training warns of, in sentences; one step alone says nothing."""
    if len(steps) < WINDOW_STEPS:
        return {}
    first, last = steps[:WINDOW_STEPS], steps[-WINDOW_STEPS:]
    sentences: dict[Alarm, str] = {}
    kl = fmean(row.kl_sample_train for row in last)
    if kl > MAX_KL:
        sentences["kl"] = (
            f"Sampling and training disagree: their KL divergence is {kl:.3g}, above {MAX_KL}. A rl.temperature other "
            "than 1 does that; else lower rl.substeps or rl.max_steps_off_policy, or use the same dtype for both."
        )
    first_entropy, last_entropy = fmean(row.entropy for row in first), fmean(row.entropy for row in last)
    if last_entropy < first_entropy / 2:
        sentences["entropy"] = (
            f"The entropy has fallen from {first_entropy:.3g} to {last_entropy:.3g}: the answers to a question become "
            "the same, and groups teach nothing. Lower training.learning_rate, or set rl.kl_coef."
        )
    first_caught, last_caught = fmean(row.caught for row in first), fmean(row.caught for row in last)
    if last_caught > CAUGHT_ALARM_SHARE and last_caught > 2 * first_caught:
        sentences["caught"] = (
            f"Wrong answers that one database would let pass have risen from {first_caught:.1%} to {last_caught:.1%}: "
            "the model learns what a single database cannot tell apart. They are not paid as right ones; the report "
            "shows some."
        )
    return sentences


def summarize_verdicts(
    steps: Sequence[RlStepMetrics], settings: RlConfig, seen_in_training: int | None
) -> VerdictSummary:
    """What the steps came to.

    Args:
        steps: The metrics of all steps, at least one.
        settings: The run's settings.
        seen_in_training: Number of questions that the start model had been trained on; None where that is not known.
    """
    first, last = steps[:WINDOW_STEPS], steps[-WINDOW_STEPS:]
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
        seen_in_training=seen_in_training,
        alarms=tuple(alarms(steps).values()),
    )
