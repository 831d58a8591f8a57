"""The reward as the Tinker cookbook takes it: a group of environments, one for each answer to a question.

This module needs `tinker_cookbook`, which no extra installs. Rewards are computed for the group as a whole: one call
executes all answers, and one that the evaluator cannot decide gets the mean of the others, so that it has no advantage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import tinker
from tinker_cookbook import renderers
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, StepResult

from text2sql.config import RewardConfig
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.processes.process_pool import Workers
from text2sql.rewards.batch import Reward, reward_answers


class VerdictEnv(Env):
    """One answer to one question.

    Args:
        renderer: The cookbook's renderer of the model.
        prompt: What the user says: schema and question.

    Attributes:
        answer: The text that the model wrote; empty until then.
        truncated: Whether it was cut off.
    """

    def __init__(self, renderer: renderers.Renderer, prompt: str) -> None:
        self._renderer, self._prompt = renderer, prompt
        self.answer, self.truncated = "", False

    async def initial_observation(self) -> tuple[tinker.ModelInput, Any]:
        """The question as a conversation, and the stop condition of an answer."""
        messages = [{"role": "user", "content": self._prompt}]
        return self._renderer.build_generation_prompt(messages), self._renderer.get_stop_sequences()

    async def step(self, action: list[int], *, extra: Any = None) -> StepResult:
        """Keep the answer; `VerdictGroup` computes its reward."""
        message, _ = self._renderer.parse_response(action)
        self.answer = renderers.get_text_content(message)
        self.truncated = bool(extra) and extra.get("stop_reason") == "length"
        return StepResult(
            reward=0.0,
            episode_done=True,
            next_observation=tinker.ModelInput.empty(),
            next_stop_condition=self._renderer.get_stop_sequences(),
        )


@dataclass(frozen=True)
class VerdictGroup(EnvGroupBuilder):
    """The environments of one question, and the rewards of the answers in them.

    Attributes:
        renderer: The cookbook's renderer of the model.
        prompt: What the user says: schema and question.
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        size: Answers to the question.
        database: Path of a real SQLite database, None for most.
        table: The rewards of verdicts.
        workers: Processes that execute queries.
        dialect: SQL dialect of schema and queries, whose engine runs them.
        transpile: Without the engine: queries are translated, and run on SQLite.
    """

    renderer: renderers.Renderer
    prompt: str
    schema: str
    gold: str
    size: int = 8
    database: str | None = None
    table: RewardConfig = field(default_factory=RewardConfig)
    workers: Workers = 2
    dialect: Dialect = "sqlite"
    transpile: bool = False

    async def make_envs(self) -> Sequence[VerdictEnv]:
        """One for each answer."""
        return [VerdictEnv(self.renderer, self.prompt) for _ in range(self.size)]

    async def compute_group_rewards(
        self, trajectory_group: list[Any], env_group: Sequence[VerdictEnv]
    ) -> list[tuple[float, dict[str, float]]]:
        """The reward of each answer of the group, and its outcome as a metric."""
        count = len(env_group)
        rewards: list[Reward] = await asyncio.to_thread(
            reward_answers,
            [env.answer for env in env_group],
            [self.gold] * count,
            [self.schema] * count,
            [self.database] * count,
            truncated=[env.truncated for env in env_group],
            table=self.table,
            workers=self.workers,
            dialect=self.dialect,
            transpile=self.transpile,
        )
        known = [reward.value for reward in rewards if reward.value is not None]
        neutral = fmean(known) if known else 0.0
        return [
            (neutral if reward.value is None else reward.value, {f"verdict/{reward.outcome}": 1.0})
            for reward in rewards
        ]

    def logging_tags(self) -> list[str]:
        """What the cookbook's logs call it."""
        return ["text2sql"]
