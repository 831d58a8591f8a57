"""Examples of rollouts: groups of sampled answers with their rewards, and databases that show wrong answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.formats import clip
from text2sql.report.comparison import Limits
from text2sql.report.load import RunData
from text2sql.report.witness import WitnessView, witness_view
from text2sql.runs.rollouts import GradedAnswer, GradedGroup, SampledGroup

# Number of groups of each kind on the page.
_MAX_GROUPS = 3


@dataclass(frozen=True)
class RewardedQuery:
    """One query of a group with its reward; ``times`` is the number of answers with it."""

    sql: str
    times: int
    outcome: str
    reward: str
    reason: str
    witness: WitnessView | None


@dataclass(frozen=True)
class RolloutGroup:
    """A question of a step with the queries that were sampled, the highest reward first."""

    step: int
    question: str
    schema: str
    gold: str
    queries: list[RewardedQuery]


def example_groups(run: RunData, limits: Limits) -> list[RolloutGroup]:
    """Groups whose answers were paid differently: of the first steps, of the middle, and of the last.

    As many again are of those with a wrong answer that one database lets pass, where there are some.
    """
    sampled = {(row.step, row.index): row for row in run.rollouts if isinstance(row, SampledGroup)}
    telling = [
        (sampled[row.step, row.index], row)
        for row in run.rollouts
        if isinstance(row, GradedGroup)
        and (row.step, row.index) in sampled
        and len({answer.reward for answer in row.answers if answer.reward is not None}) > 1
    ]
    shown = min(_MAX_GROUPS, limits.cases)
    caught = [pair for pair in telling if any(answer.passes_single_database for answer in pair[1].answers)]
    chosen = {id(pair[1]): pair for pair in [*_evenly_spaced(telling, shown), *_evenly_spaced(caught, shown)]}
    return [_view(*pair, limits) for pair in sorted(chosen.values(), key=lambda pair: (pair[1].step, pair[1].index))]


def _evenly_spaced(
    pairs: Sequence[tuple[SampledGroup, GradedGroup]], wanted: int
) -> list[tuple[SampledGroup, GradedGroup]]:
    """Some of the pairs, evenly spaced, with the first and the last among them."""
    if wanted <= 1 or len(pairs) <= wanted:
        return list(pairs[:wanted])
    return [pairs[round(index * (len(pairs) - 1) / (wanted - 1))] for index in range(wanted)]


def _view(sampled: SampledGroup, paid: GradedGroup, limits: Limits) -> RolloutGroup:
    queries: dict[tuple[str, str], list[GradedAnswer]] = {}
    for answer in paid.answers:
        queries.setdefault((answer.sql, answer.outcome), []).append(answer)
    by_reward = sorted(queries.values(), key=lambda answers: (answers[0].reward is None, -(answers[0].reward or 0)))
    return RolloutGroup(
        step=paid.step + 1,
        question=clip(sampled.question, limits.text),
        schema=clip(sampled.context, limits.text),
        gold=clip(sampled.gold, limits.text),
        queries=[
            RewardedQuery(
                sql=clip(answers[0].sql, limits.text),
                times=len(answers),
                outcome=answers[0].outcome,
                reward="none" if answers[0].reward is None else f"{answers[0].reward:g}",
                reason=clip(answers[0].verdict.reason, 400),
                witness=witness_view(answers[0].verdict.witness, answers[0].verdict.judged_on)
                if answers[0].verdict.witness
                else None,
            )
            for answers in by_reward
        ],
    )
