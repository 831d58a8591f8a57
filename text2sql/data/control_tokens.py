"""Which examples spell a control token, and whether a tokenizer appends an end token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from backends.control_tokens import added_around
from text2sql.data.example import Example

FIELDS = ("question", "context", "answer", "evidence", "reasoning", "shown")


def spell_control_token(control: re.Pattern[str] | None, examples: Sequence[Example]) -> bool:
    """Whether a field of one of the examples spells a control token."""
    return control is not None and any(
        control.search(text) for e in examples for field in FIELDS if (text := getattr(e, field))
    )


def count_appended(tokenizer: Any) -> int:
    """The number of tokens that a tokenizer appends to texts; an end token would end a prompt before its answer."""
    return len(added_around(tokenizer)[1])
