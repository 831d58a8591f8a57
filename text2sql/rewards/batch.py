"""The reward as a plain function of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.config import RewardConfig
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.processes.process_pool import Workers
from text2sql.rl.rewards import RewardedAnswer, pay
from text2sql.runs.rollouts import Outcome
from text2sql.sql.budget import TIMEOUT


@dataclass(frozen=True)
class Reward:
    """What an answer is paid, and why.

    Attributes:
        value: The reward; None where the evaluator cannot decide, which says nothing about the answer.
        outcome: What it is paid for.
        reason: The same in a sentence, with the difference found.
    """

    value: float | None
    outcome: Outcome
    reason: str


def reward_answers(
    answers: Sequence[str],
    golds: Sequence[str],
    schemas: Sequence[str],
    databases: Sequence[str | None] | None = None,
    *,
    truncated: Sequence[bool] | None = None,
    table: RewardConfig | None = None,
    workers: Workers = 2,
    seed: int = 0,
    timeout: float = TIMEOUT,
    dialect: Dialect = "sqlite",
) -> list[Reward]:
    """Judge answers by execution on databases made to tell them from the gold queries, and say what each is paid.

    Queries run in processes that can be killed: no answer makes this raise or hang.

    Args:
        answers: What a model wrote; the query is found in it.
        golds: The gold query of each.
        schemas: ``CREATE TABLE`` statements of each.
        databases: Path of a real SQLite database of each, where there is one.
        truncated: Whether each was cut off at the token limit.
        table: The rewards; the defaults of `rl.reward` where it is None.
        workers: Processes; the rewards do not depend on it.
        seed: Of the databases that are made.
        timeout: Seconds of processor time for one answer.
        dialect: Of schemas and queries; its engine runs them.

    Raises:
        EngineMissing: The engine of the dialect cannot be had.
        ValueError: The lists are not of one length.
    """
    count = len(answers)
    own, cut = databases or [None] * count, truncated or [False] * count
    asked = [
        RewardedAnswer("", schema, gold, answer, bool(short), database, dialect)
        for answer, gold, schema, database, short in zip(answers, golds, schemas, own, cut, strict=True)
    ]
    paid = pay(asked, table or RewardConfig(), workers=workers, seed=seed, timeout=timeout)
    return [Reward(row.reward, row.outcome, row.verdict.reason) for row in paid]
