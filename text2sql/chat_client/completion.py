"""The answer of a chat endpoint: a completion, or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# For estimating the cost if an endpoint reports no usage.
CHARACTERS_PER_TOKEN = 4

# The turns of a conversation, each with ``role`` and ``content``.
Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: The model's answer.
        reasoning: Its reasoning, if the endpoint returns that separately.
        finish_reason: ``stop``, or ``length`` if it was cut off; endpoints may have other values.
        prompt_tokens: The length of the request.
        completion_tokens: The length of the answer, including reasoning.
        cached: Whether it is from the cache and cost nothing.
    """

    text: str
    reasoning: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool = False


@dataclass(frozen=True)
class ChatFailure:
    """A request without an answer, which is not cached: the next start asks again.

    Attributes:
        kind: ``refused`` by the endpoint, ``failed`` after all retries, or not asked because the ``cost`` limit
            was reached.
        reason: One sentence for a person.
    """

    kind: Literal["refused", "failed", "cost"]
    reason: str


Answer = Completion | ChatFailure


def read_completion(body: str, messages: Messages) -> Completion:
    """Reads the answer in the body of a response.

    Args:
        body: The body's text.
        messages: The conversation, for the prompt's length if the endpoint reports no usage.

    Raises:
        ValueError: The body is not a chat completion, for example the error page of a gateway.
    """
    try:
        fields = json.loads(body)
        choice = fields["choices"][0]
        message = choice["message"]
        content, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        usage = fields.get("usage") or {}
        prompt_characters = sum(len(m["content"]) for m in messages)
        return Completion(
            text=content if isinstance(content, str) else "",
            reasoning=reasoning if isinstance(reasoning, str) else "",
            finish_reason=str(choice.get("finish_reason")),
            prompt_tokens=int(usage.get("prompt_tokens") or prompt_characters // CHARACTERS_PER_TOKEN),
            completion_tokens=int(usage.get("completion_tokens") or len(content or "") // CHARACTERS_PER_TOKEN),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(f"The endpoint's answer is not a chat completion: {body[:200]!r}") from None
