"""What a chat endpoint answers: a completion, or why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# For the cost where an endpoint reports no usage.
CHARACTERS_PER_TOKEN = 4

# The turns of a conversation, each with ``role`` and ``content``.
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


def read_completion(body: str, messages: Messages) -> Completion:
    """The answer in the body of a response.

    Args:
        body: Its text.
        messages: What was asked; its length is the prompt's where the endpoint reports no usage.

    Raises:
        ValueError: The body is not a chat completion, for example the error page of a gateway.
    """
    try:
        fields = json.loads(body)
        choice = fields["choices"][0]
        message = choice["message"]
        content, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        usage = fields.get("usage") or {}
        asked = sum(len(m["content"]) for m in messages)
        return Completion(
            text=content if isinstance(content, str) else "",
            reasoning=thought if isinstance(thought, str) else "",
            finish_reason=str(choice.get("finish_reason")),
            prompt_tokens=int(usage.get("prompt_tokens") or asked // CHARACTERS_PER_TOKEN),
            completion_tokens=int(usage.get("completion_tokens") or len(content or "") // CHARACTERS_PER_TOKEN),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(f"The endpoint's answer is not a chat completion: {body[:200]!r}") from None
