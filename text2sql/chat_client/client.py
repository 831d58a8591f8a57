"""Sends many conversations to one endpoint at once, within a budget, and caches each answer.

An interrupted command continues where it stopped. Permanent errors (a wrong key, an unknown model, an address where
nothing answers) end the command at once. The key comes from the environment; it is neither stored nor printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backends.paths import cache_directory
from text2sql.chat_client.cache import AnswerCache
from text2sql.chat_client.completion import Answer, ChatFailure, Completion, Messages
from text2sql.chat_client.endpoint import Endpoint
from text2sql.config import EndpointConfig
from text2sql.errors import UserError
from text2sql.formats import dollars

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# Consecutive failed requests, each after all its retries, after which the endpoint is given up.
MAX_CONSECUTIVE_FAILURES = 10


class ChatClient:
    """A chat model behind an OpenAI-compatible endpoint.

    Attributes:
        spent: Dollars spent by this object so far; 0 if the configuration has no prices.
        requests: The number of answered requests, without those from the cache.
        cached: The number of answers from the cache.
        prompt_tokens: The tokens of the answered requests.
        completion_tokens: The tokens of their answers.
    """

    def __init__(self, config: EndpointConfig, cache: Path | None = None) -> None:
        """Reads the key from the environment.

        Args:
            config: The endpoint, the model, and how it samples.
            cache: The directory of cached answers; ``endpoint`` in the project's cache directory if None.

        Raises:
            UserError: The openai package or the key is missing.
        """
        self._config = config
        self._endpoint = Endpoint(config)
        self._cache = AnswerCache(cache or cache_directory("endpoint"))
        self.requests = self.cached = self.prompt_tokens = self.completion_tokens = 0
        self._failures = self._in_flight = 0

    @property
    def spent(self) -> float:
        """Dollars spent so far."""
        config = self._config
        prices = (config.input_price or 0.0, config.output_price or 0.0)
        return (self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6

    def complete_all(
        self,
        conversations: Sequence[Messages],
        on_result: Callable[[int, Answer], None] | None = None,
        *,
        attempt: int = 0,
    ) -> list[Answer]:
        """Asks for an answer to every conversation.

        The first request is sent alone, so that a wrong set-up costs one request. An interrupt loses only what is in
        flight.

        Args:
            conversations: Lists of messages, each with ``role`` and ``content``.
            on_result: Called with the index and the answer as each arrives; answers from the cache come first.
            attempt: The index of the attempt, where several answers to the same conversation are wanted.

        Returns:
            The answers, in the order of the conversations.

        Raises:
            UserError: The endpoint cannot be used at all, or stopped answering; answers so far are cached.
        """
        answers: dict[int, Answer] = {}

        def settle(index: int, answer: Answer) -> None:
            answers[index] = answer
            if on_result:
                on_result(index, answer)

        keys = [self._cache.key(self._config, messages, attempt) for messages in conversations]
        for index, key in enumerate(keys):
            cached = self._cache.get(key)
            if cached is not None:
                self.cached += 1
                settle(index, cached)
        waiting = iter([index for index in range(len(keys)) if index not in answers])
        asyncio.run(self._ask_all(waiting, conversations, keys, settle))
        return [answers[index] for index in range(len(keys))]

    async def _ask_all(
        self,
        waiting: Iterator[int],
        conversations: Sequence[Messages],
        keys: Sequence[str],
        settle: Callable[[int, Answer], None],
    ) -> None:
        """Asks `waiting` conversations, the first alone, then `concurrency` at a time."""
        first = next(waiting, None)
        if first is None:
            return

        async def work() -> None:
            # All workers take from one iterator.
            for index in waiting:
                settle(index, await self._answer(client, conversations[index], keys[index]))

        async with self._endpoint.open() as client:
            settle(first, await self._answer(client, conversations[first], keys[first]))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._config.concurrency):
                        group.create_task(work())
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _answer(self, client: AsyncOpenAI, messages: Messages, key: str) -> Answer:
        """One answer, which is cached; consecutive failures are counted."""
        if not self._is_within_budget():
            return ChatFailure(
                "cost",
                f"Not asked: the limit of ${self._config.max_cost:g} was reached (max_cost); {dollars(self.spent)}",
            )
        self._in_flight += 1
        try:
            answer = await self._endpoint.ask(client, messages)
        finally:
            self._in_flight -= 1
        if isinstance(answer, Completion):
            self._failures = 0
            self.requests += 1
            self.prompt_tokens += answer.prompt_tokens
            self.completion_tokens += answer.completion_tokens
            self._cache.put(key, answer)
            return answer
        self._failures += 1
        if self._failures >= MAX_CONSECUTIVE_FAILURES:
            raise UserError(
                f"{self._config.base_url} failed on {self._failures} requests one after another; the last: "
                f"{answer.reason} What was answered is kept; the same command goes on from there."
            )
        return answer

    def _is_within_budget(self) -> bool:
        """Whether one more request fits the budget, with requests in flight at the mean cost of answered ones."""
        limit = self._config.max_cost
        if limit is None or not self.requests:
            return True
        mean = self.spent / self.requests
        return self.spent + mean * (self._in_flight + 1) <= limit
