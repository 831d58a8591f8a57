"""Guards against two habits of tokenizers: reading control tokens in data, and appending an end token.

A question that contains ``<|im_end|>`` is a text about the token, not the token. transformers can tell the two apart in
a chat (`sanitize_control_tokens`) and in a plain text (`split_special_tokens`). Both options are used only for examples
that spell a control token; all others are tokenised in one batch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from text2sql.data.example import Example

FIELDS = ("question", "context", "answer", "evidence", "reasoning", "shown")


def control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    """A pattern for the spellings of control tokens, such as marks of turns; None if the tokenizer has none."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    spellings = [t.content for t in added if t.content.strip() and (t.special or t.content in template)]
    return re.compile("|".join(map(re.escape, spellings))) if spellings else None


def spell_control_token(control: re.Pattern[str] | None, examples: Sequence[Example]) -> bool:
    """Whether a field of one of the examples spells a control token."""
    return control is not None and any(
        control.search(text) for e in examples for field in FIELDS if (text := getattr(e, field))
    )


def encode_as_plain_text(text: str, tokenizer: Any, *, marks: bool = False) -> list[int]:
    """Encodes a text without control tokens; `marks` adds the tokenizer's own tokens around it."""
    control = control_tokens(tokenizer)
    spelled = {match[0] for match in control.finditer(text)} if control else set()
    # `split_special_tokens` splits special tokens only, and Qwen's <think> is not one: cut it in two here.
    others = {t.content for t in getattr(tokenizer, "added_tokens_decoder", {}).values() if not t.special}
    if not spelled & others:
        return _encode(text, tokenizer, marks)
    cuts = [
        0,
        *(match.start() + 1 for match in re.finditer("|".join(map(re.escape, spelled & others)), text)),
        len(text),
    ]
    pieces = [_encode(text[a:b], tokenizer, False) for a, b in itertools.pairwise(cuts)]
    before, after = _added_tokens(tokenizer) if marks else ([], [])
    return [*before, *itertools.chain(*pieces), *after]


def _encode(text: str, tokenizer: Any, marks: bool) -> list[int]:
    ids: list[int] = tokenizer([text], add_special_tokens=marks, split_special_tokens=True)["input_ids"][0]
    return ids


def count_appended(tokenizer: Any) -> int:
    """The number of tokens that a tokenizer appends to texts; an end token would end a prompt before its answer."""
    return len(_added_tokens(tokenizer)[1])


def _added_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer adds before and after a text; empty if it changes texts in another way."""
    marked, bare = (tokenizer(["a"], add_special_tokens=marks)["input_ids"][0] for marks in (True, False))
    start = next((i for i in range(len(marked)) if marked[i : i + len(bare)] == bare), None)
    return ([], []) if start is None else (marked[:start], marked[start + len(bare) :])
