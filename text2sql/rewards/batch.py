"""The reward as a plain function of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.config import RewardConfig
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.processes.process_pool import Workers
from text2sql.rl.rewards import RewardedAnswer, grade_answers
from text2sql.runs.rollouts import AnswerOutcome
from text2sql.sql.budget import TIMEOUT


@dataclass(frozen=True)
class Reward:
    """The reward of an answer, and why.

    Attributes:
        value: The reward; None where the evaluator cannot decide, which says nothing about the answer.
        outcome: What it is rewarded for.
        reason: The verdict in a sentence, with the difference between the results.
    """

    value: float | None
    outcome: AnswerOutcome
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
    transpile: bool = False,
) -> list[Reward]:
    """The rewards of answers, by execution on databases generated to tell them from the gold queries.

    Queries run in processes that can be killed: no answer makes this raise or hang.

    Args:
        answers: What a model wrote; the query is extracted from it.
        golds: The gold query of each.
        schemas: The ``CREATE TABLE`` statements for each.
        databases: Path of a real SQLite database for each, where there is one.
        truncated: Whether each was cut off at the token limit.
        table: The rewards; the defaults of `rl.reward` where it is None.
        workers: Processes; the rewards do not depend on it.
        seed: Seed of the generated databases.
        timeout: Seconds of processor time for one answer.
        dialect: SQL dialect of schemas and queries, whose engine runs them.
        transpile: Without the engine: queries are translated, and run on SQLite.

    Raises:
        EngineMissing: The engine of the dialect is not installed.
        ValueError: The lists are not of one length.
    """
    count = len(answers)
    databases = databases or [None] * count
    truncated = truncated or [False] * count
    inputs = [
        RewardedAnswer(
            question="",
            schema=schema,
            gold=gold,
            answer=answer,
            truncated=bool(cut_off),
            database=database,
            dialect=dialect,
        )
        for answer, gold, schema, database, cut_off in zip(answers, golds, schemas, databases, truncated, strict=True)
    ]
    graded = grade_answers(
        inputs, table or RewardConfig(), workers=workers, seed=seed, timeout=timeout, transpile=transpile
    )
    return [Reward(answer.reward, answer.outcome, answer.verdict.reason) for answer in graded]
