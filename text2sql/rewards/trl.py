"""The reward as TRL takes it: ``GRPOTrainer(reward_funcs=VerdictReward(), ...)``, or another online trainer of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from text2sql.config import RewardConfig
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.processes.process_pool import Workers
from text2sql.rewards.batch import reward_answers
from text2sql.sql.budget import TIMEOUT

# What TRL gives for a completion: its text, or in a conversation its messages.
Completion = str | Sequence[Mapping[str, Any]]


class VerdictReward:
    """Rewards completions by the evaluator's verdict on them.

    The data set has a column with the gold queries, one with the schemas, and may have one with the paths of real
    databases. What the evaluator cannot decide is None, which TRL leaves out of its group.

    Args:
        table: The rewards; the defaults of `rl.reward` where it is None.
        gold: Name of the column with the gold queries.
        schema: Name of the column with the ``CREATE TABLE`` statements.
        database: Name of the column with the paths of databases; a data set without it has none.
        max_completion_length: The trainer's. A completion of so many tokens counts as cut off; None: none does.
        workers: Processes that execute queries.
        seed: Seed of the generated databases.
        timeout: Seconds of processor time for one completion.
        dialect: SQL dialect of schemas and queries, whose engine runs them.
        transpile: Without the engine: queries are translated, and run on SQLite.
    """

    # TRL logs the reward under this name.
    __name__ = "verdict"

    def __init__(
        self,
        table: RewardConfig | None = None,
        *,
        gold: str = "gold",
        schema: str = "schema",
        database: str = "database",
        max_completion_length: int | None = None,
        workers: Workers = 2,
        seed: int = 0,
        timeout: float = TIMEOUT,
        dialect: Dialect = "sqlite",
        transpile: bool = False,
    ) -> None:
        self._table = table
        self._gold, self._schema, self._database = gold, schema, database
        self._max_length, self._workers, self._seed, self._timeout = max_completion_length, workers, seed, timeout
        self._dialect, self._transpile = dialect, transpile

    def __call__(
        self,
        *,
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The reward of each completion.

        Args:
            completions: What was sampled.
            completion_ids: Token ids of each completion.
            log_metric: TRL's; called with the share of every outcome.
            **columns: Columns of the data set, repeated for each completion, and what else TRL passes on.

        Raises:
            KeyError: The data set lacks a column that is needed.
        """
        for name in (self._gold, self._schema):
            if name not in columns:
                known = ", ".join(sorted(columns))
                raise KeyError(f"VerdictReward needs the column {name!r}, and the data set has {known}")
        truncated = None
        if self._max_length is not None and completion_ids is not None:
            truncated = [len(ids) >= self._max_length for ids in completion_ids]
        rewards = reward_answers(
            [_text(completion) for completion in completions],
            columns[self._gold],
            columns[self._schema],
            columns.get(self._database),
            truncated=truncated,
            table=self._table,
            workers=self._workers,
            seed=self._seed,
            timeout=self._timeout,
            dialect=self._dialect,
            transpile=self._transpile,
        )
        if log_metric is not None:
            for outcome, count in Counter(reward.outcome for reward in rewards).items():
                log_metric(f"verdict/{outcome}", count / len(rewards))
        return [reward.value for reward in rewards]


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
