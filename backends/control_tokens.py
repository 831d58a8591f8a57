"""Keeps data apart from the marks of turns: a text that spells a control token is a text about it, not the token.

transformers can tell the two apart in a chat (`sanitize_control_tokens`) and in a plain text (`split_special_tokens`).
Both are used only for texts that spell a control token, so that the ids of all others are those of a plain call.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any

# How tokenizers spell marks that they do not declare special, and that templates put together from pieces.
MARK = re.compile(r"<[|｜][^<>\s]+[|｜]>")
# Arguments of `apply_chat_template` for turns that spell a control token.
SPELLED_AS_TEXT = {"tokenize": True, "return_dict": False, "sanitize_control_tokens": True}


def control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    """A pattern for the spellings of control tokens, such as marks of turns; None if the tokenizer has none."""
    # The longest first: of two that begin alike, a text spells the longer one.
    spellings = sorted(_spellings(tokenizer), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spellings))) if spellings else None


def _spellings(tokenizer: Any) -> Iterator[str]:
    template = str(getattr(tokenizer, "chat_template", None) or "")
    for token in getattr(tokenizer, "added_tokens_decoder", {}).values():
        spelling = token.content
        if spelling.strip() and (token.special or spelling in template or MARK.fullmatch(spelling)):
            yield spelling


def with_all_control_tokens(tokenizer: Any) -> Any:
    """A tokenizer whose `sanitize_control_tokens` knows all that `control_tokens` does; the original is not changed."""
    knowing = copy.copy(tokenizer)
    knowing.chat_control_tokens = list(_spellings(tokenizer))
    return knowing


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
    before, after = added_around(tokenizer) if marks else ([], [])
    return [*before, *itertools.chain(*pieces), *after]


def _encode(text: str, tokenizer: Any, marks: bool) -> list[int]:
    ids: list[int] = tokenizer([text], add_special_tokens=marks, split_special_tokens=True)["input_ids"][0]
    return ids


def added_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer adds before and after a text; empty if it changes texts in another way."""
    marked, bare = (tokenizer(["a"], add_special_tokens=marks)["input_ids"][0] for marks in (True, False))
    start = next((i for i in range(len(marked)) if marked[i : i + len(bare)] == bare), None)
    return ([], []) if start is None else (marked[:start], marked[start + len(bare) :])
