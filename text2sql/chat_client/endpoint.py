"""Sends a request to a chat endpoint by the openai package, with retries for temporary errors.

The retries differ from those of the openai package, which treats a failed connection like a rate limit:

- An address where nothing has answered yet fails at once: it is wrong, or the server is not up.
- A used-up quota fails at once, although its status is that of a rate limit.
- A body that is no completion (a gateway's error page with status 200) is retried.
- The time-out is for the whole answer; the package's own is for silence, and a byte now and then would extend it.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any, cast

from backends.extras import missing_package
from backends.redaction import MASK
from text2sql.chat_client.completion import Answer, ChatFailure, Messages, read_completion
from text2sql.config import EndpointConfig
from text2sql.errors import UserError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

# Seconds before the first retry; doubled for each further one.
BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
# The longest Retry-After in seconds that is respected.
MAX_RETRY_AFTER_SECONDS = 300.0
# Statuses below 500 of temporary errors: time-out, conflict, rate limit.
TRANSIENT_STATUSES = (408, 409, 429)


class Endpoint:
    """A chat model at an address, with its key.

    Args:
        config: Which endpoint and model, and how to ask.

    Raises:
        UserError: The openai package or the key is missing.
    """

    def __init__(self, config: EndpointConfig) -> None:
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
        self._config = config
        self._key = _key_from_environment(config)
        # Whether anything has answered at the address so far.
        self._reached = False

    def open(self) -> AsyncOpenAI:
        """A client for `ask`, to be closed by ``async with`` in the event loop that it was opened in."""
        from openai import AsyncOpenAI

        config = self._config
        return AsyncOpenAI(api_key=self._key, base_url=config.base_url, timeout=config.timeout, max_retries=0)

    async def ask(self, client: AsyncOpenAI, messages: Messages) -> Answer:
        """Asks until there is an answer, a refusal, or no retry left.

        Raises:
            UserError: The endpoint cannot be used: a wrong key, an unknown model, a used-up quota, no connection.
        """
        import openai

        reason, delay = "", 0.0
        for attempt in range(1 + self._config.max_retries):
            await asyncio.sleep(delay)
            delay = min(BACKOFF_SECONDS * 2**attempt, MAX_BACKOFF_SECONDS) * random.uniform(0.75, 1)
            try:
                return read_completion(await self._send(client, messages), messages)
            except openai.APIStatusError as error:
                self._reached = True
                self._check_usable(error)
                reason = self._without_key(f"HTTP {error.status_code}: {_message(error)}")
                if error.status_code < 500 and error.status_code not in TRANSIENT_STATUSES:
                    return ChatFailure("refused", reason)
                delay = _retry_after(error.response.headers.get("retry-after")) or delay
            except (openai.APITimeoutError, TimeoutError):
                reason = f"no answer within {self._config.timeout:g} s (timeout)."
            except openai.APIConnectionError as error:
                reason = f"no connection ({_root_cause(error)})."
            except ValueError as error:
                reason = str(error)
            if not self._reached:
                raise UserError(f"{self._config.base_url}: {reason} Is base_url right, and the endpoint up?")
        return ChatFailure("failed", reason)

    async def _send(self, client: AsyncOpenAI, messages: Messages) -> str:
        """Sends one request and returns the body of the response."""
        config = self._config
        limits = {"temperature": config.temperature, "max_tokens": config.max_tokens}
        fields: Any = {name: value for name, value in limits.items() if value is not None}
        # Raw, because the package would fail on a body that is no completion without showing it.
        create = client.chat.completions.with_raw_response.create
        async with asyncio.timeout(config.timeout):
            response = await create(model=config.model, messages=cast(Any, messages), extra_body=config.extra, **fields)
        self._reached = True
        return response.text

    def _check_usable(self, error: APIStatusError) -> None:
        """Raises UserError for permanent errors."""
        config, status = self._config, error.status_code
        about = self._without_key(_message(error))
        if status in (401, 403) or error.code == "invalid_api_key":
            variable = config.api_key_env or "none, as api_key_env is null"
            raise UserError(f"{config.base_url} refused the key (from {variable}): {about}") from None
        if status == 404 or error.code == "model_not_found":
            raise UserError(
                f"{config.base_url} has no model {config.model}, or no chat completions at this address: {about}"
            ) from None
        if error.code == "insufficient_quota" or status == 402:
            raise UserError(f"{config.base_url}: nothing more can be asked with this key: {about}") from None

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, MASK)


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
    """The seconds of a Retry-After header; 0 if it is absent, a date or too long."""
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= MAX_RETRY_AFTER_SECONDS else 0.0


def _message(error: APIStatusError) -> str:
    """The endpoint's message about an error, in one line."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error.message).split())[:300]


def _root_cause(error: BaseException) -> str:
    """The root cause of a failed connection, which says more than the library's message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
