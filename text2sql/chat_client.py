"""A client of OpenAI-compatible chat endpoints: many requests at once, each answered and paid for only once.

Every answer is kept on disk under a key made of the request's content, so an interrupted command goes on where it
stopped. What no waiting mends (a wrong key, an unknown model, an address where nothing answers) ends the command at
once. The key comes from the environment; it is neither stored nor printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from backends.extras import missing_package
from text2sql.config import EndpointConfig
from text2sql.errors import UserError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

GIVE_UP_AFTER = 10  # requests that fail one after another, each with all its retries, before the endpoint is given up
CHARACTERS_PER_TOKEN = 4  # for the cost where an endpoint reports no usage
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0  # seconds before the first retry, doubled for each further one, and at most
LONGEST_RETRY_AFTER = 300.0  # seconds; an endpoint that asks for more is tried again as if it had not asked
_TRANSIENT = (408, 409, 429)  # statuses below 500 that waiting mends

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: What the model wrote.
        reasoning: What it thought before, where the endpoint gives that apart from the text.
        finish_reason: ``stop``, or ``length`` if it was cut off; other names are the endpoint's own.
        prompt_tokens: Length of the request.
        completion_tokens: Length of the answer, reasoning included.
        cached: It was kept from an earlier request, and cost nothing now.
    """

    text: str
    reasoning: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool = False


@dataclass(frozen=True)
class ChatFailure:
    """A request without an answer. It is not kept: the next start asks again.

    Attributes:
        kind: ``refused`` by the endpoint, ``failed`` in spite of all retries, or not asked because the ``cost`` limit
            was reached.
        reason: One sentence for a person.
    """

    kind: Literal["refused", "failed", "cost"]
    reason: str


Answer = Completion | ChatFailure


class ChatClient:
    """A chat model behind an OpenAI-compatible endpoint.

    Attributes:
        spent: Dollars spent so far by this object, 0 where the configuration has no prices.
        requests: Requests that were answered, those from the cache not counted.
        cached: Answers that came from the cache.
        prompt_tokens: Tokens of the requests that were answered.
        completion_tokens: Tokens of their answers.
    """

    def __init__(self, config: EndpointConfig, cache: Path | None = None) -> None:
        """Takes the key from the environment.

        Args:
            config: Which endpoint and model, and how to ask.
            cache: Directory of kept answers; ``$TEXT2SQL_CACHE/endpoint`` (else in ``~/.cache/text2sql``) if None.

        Raises:
            UserError: The openai package or the key is missing.
        """
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise UserError(
                missing_package(
                    "A model behind an endpoint (judge, data reason)",
                    "openai",
                    "endpoint",
                    "do without judge and teacher",
                )
            ) from error
        root = Path(os.environ.get("TEXT2SQL_CACHE") or Path.home() / ".cache" / "text2sql")
        self._config, self._cache = config, cache or root / "endpoint"
        self._key = _key_from_environment(config)
        self.requests = self.cached = self.prompt_tokens = self.completion_tokens = 0
        self._failures = self._in_flight = 0
        self._reached = False  # anything at all has answered at the address

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
        """Ask for an answer to every conversation.

        The first request goes alone, so that a wrong set-up costs one request. An interrupt loses only what is in
        flight.

        Args:
            conversations: Lists of messages, each with ``role`` and ``content``.
            on_result: Called with the index and the answer as each is there; answers from the cache come first.
            attempt: Tells askings of the same conversation apart in the cache, where several answers are wanted.

        Returns:
            The answers, in the order of the conversations.

        Raises:
            UserError: The endpoint cannot be used at all, or stopped answering; answers so far are kept.
        """
        answers: dict[int, Answer] = {}

        def settle(index: int, answer: Answer) -> None:
            answers[index] = answer
            if on_result:
                on_result(index, answer)

        keys = [self._cache_key(messages, attempt) for messages in conversations]
        for index, key in enumerate(keys):
            kept = self._kept(key)
            if kept is not None:
                self.cached += 1
                settle(index, kept)
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
        from openai import AsyncOpenAI

        config = self._config
        client = AsyncOpenAI(api_key=self._key, base_url=config.base_url, timeout=config.timeout, max_retries=0)

        async def work() -> None:
            for index in waiting:  # shared by all workers
                settle(index, await self._answer(client, conversations[index], keys[index]))

        async with client:
            settle(first, await self._answer(client, conversations[first], keys[first]))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(config.concurrency):
                        group.create_task(work())
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _answer(self, client: AsyncOpenAI, messages: Messages, key: str) -> Answer:
        """One answer, kept in the cache; failures that only waiting explains are counted."""
        if not self._affordable():
            return ChatFailure(
                "cost", f"Not asked: the limit of ${self._config.max_cost:g} was reached (max_cost); ${self.spent:.4f}"
            )
        self._in_flight += 1
        try:
            answer = await self._request(client, messages)
        finally:
            self._in_flight -= 1
        if isinstance(answer, Completion):
            self._failures = 0
            self.requests += 1
            self.prompt_tokens += answer.prompt_tokens
            self.completion_tokens += answer.completion_tokens
            self._keep(key, answer)
            return answer
        self._failures += 1
        if self._failures >= GIVE_UP_AFTER:
            raise UserError(
                f"{self._config.base_url} failed on {self._failures} requests one after another; the last: "
                f"{answer.reason} What was answered is kept; the same command goes on from there."
            )
        return answer

    def _affordable(self) -> bool:
        """Whether one more request fits the budget, those in flight taken at the mean cost of those answered."""
        limit = self._config.max_cost
        if limit is None or not self.requests:
            return True
        mean = self.spent / self.requests
        return self.spent + mean * (self._in_flight + 1) <= limit

    async def _request(self, client: AsyncOpenAI, messages: Messages) -> Answer:
        """Asks until there is an answer, a refusal, or no retry left."""
        import openai

        config = self._config
        limits = {"temperature": config.temperature, "max_tokens": config.max_tokens}
        fields: Any = {name: value for name, value in limits.items() if value is not None}
        ask = client.chat.completions.with_raw_response.create  # raw: a body that is no completion is read here
        reason, delay = "", 0.0
        for attempt in range(1 + config.max_retries):
            await asyncio.sleep(delay)
            delay = min(BACKOFF * 2**attempt, LONGEST_BACKOFF) * random.uniform(0.75, 1)
            try:
                # The client's own time-out is one of silence: a byte now and then would outlast it.
                async with asyncio.timeout(config.timeout):
                    response = await ask(
                        model=config.model, messages=cast(Any, messages), extra_body=config.extra, **fields
                    )
                self._reached = True
                return _read(response.text, messages)
            except openai.APIStatusError as error:
                self._reached = True
                self._check_status(error)
                reason = self._hidden(f"HTTP {error.status_code}: {_message(error)}")
                if error.status_code < 500 and error.status_code not in _TRANSIENT:
                    return ChatFailure("refused", reason)
                delay = _retry_after(error.response.headers.get("retry-after")) or delay
            except (openai.APITimeoutError, TimeoutError):
                reason = f"no answer within {config.timeout:g} s (timeout)."
            except openai.APIConnectionError as error:
                reason = f"no connection ({_cause(error)})."
            except ValueError as error:
                reason = str(error)
            if not self._reached:
                raise UserError(f"{config.base_url}: {reason} Is base_url right, and the endpoint up?")
        return ChatFailure("failed", reason)

    def _check_status(self, error: APIStatusError) -> None:
        """Raises on what no waiting mends."""
        config, status = self._config, error.status_code
        about = self._hidden(_message(error))
        if status in (401, 403) or error.code == "invalid_api_key":
            variable = config.api_key_env or "none, as api_key_env is null"
            raise UserError(f"{config.base_url} refused the key (from {variable}): {about}") from None
        if status == 404 or error.code == "model_not_found":
            raise UserError(
                f"{config.base_url} has no model {config.model}, or no chat completions at this address: {about}"
            ) from None
        if error.code == "insufficient_quota" or status == 402:
            raise UserError(f"{config.base_url}: nothing more can be asked with this key: {about}") from None

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "***")

    def _cache_key(self, messages: Messages, attempt: int) -> str:
        config = self._config
        content = [config.base_url, config.model, config.temperature, config.max_tokens, config.extra, attempt]
        text = json.dumps([*content, [dict(message) for message in messages]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _file(self, key: str) -> Path:
        return self._cache / key[:2] / f"{key}.json"

    def _kept(self, key: str) -> Completion | None:
        try:
            return replace(Completion(**json.loads(self._file(key).read_text(encoding="utf-8"))), cached=True)
        except (OSError, ValueError, TypeError):
            return None

    def _keep(self, key: str, answer: Completion) -> None:
        """Writes an answer aside and moves it into place; where that fails, the answer is used all the same."""
        file = self._file(key)
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as aside:
                json.dump(asdict(answer), aside)
            os.replace(aside.name, file)


def _key_from_environment(config: EndpointConfig) -> str:
    if config.api_key_env is None:
        return "none"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"{config.base_url} needs a key: put it into the environment variable {config.api_key_env}, or set "
            "api_key_env to null for an endpoint without keys."
        )
    return key


def _retry_after(header: str | None) -> float:
    """Seconds that a Retry-After header asks to wait; 0 if it is absent, a date or beyond reason."""
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= LONGEST_RETRY_AFTER else 0.0


def _read(text: str, messages: Messages) -> Completion:
    """The answer in a response's body.

    Raises:
        ValueError: The body is not a chat completion.
    """
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        message = choice["message"]
        content, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        usage = body.get("usage") or {}
        asked = sum(len(m["content"]) for m in messages)
        return Completion(
            text=content if isinstance(content, str) else "",
            reasoning=thought if isinstance(thought, str) else "",
            finish_reason=str(choice.get("finish_reason")),
            prompt_tokens=int(usage.get("prompt_tokens") or asked // CHARACTERS_PER_TOKEN),
            completion_tokens=int(usage.get("completion_tokens") or len(content or "") // CHARACTERS_PER_TOKEN),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(f"The endpoint's answer is not a chat completion: {text[:200]!r}") from None


def _message(error: APIStatusError) -> str:
    """What the endpoint says of an error, in one line."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or error.message).split())[:300]


def _cause(error: BaseException) -> str:
    """The first cause of a failed connection, which names what the library's own message does not."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
