"""What a tokenizer does to text unasked: control tokens that data spell out, and an end token it appends.

A question that says ``<|im_end|>`` is a text about a mark, not the mark. transformers tells the two apart in a chat
(`sanitize_control_tokens`) and in a plain text (`split_special_tokens`). Both are asked for where data spell a control
token, and nowhere else: any other example is tokenised in one go, as ever.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from text2sql.data.example import Example

FIELDS = ("question", "context", "answer", "evidence", "reasoning", "shown")


def control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    """Finds what spells a control token, for example a mark of turns; None if there is none."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    spellings = [t.content for t in added if t.content.strip() and (t.special or t.content in template)]
    return re.compile("|".join(map(re.escape, spellings))) if spellings else None


def are_spelt(control: re.Pattern[str] | None, examples: Sequence[Example]) -> bool:
    """Whether a field of one of the examples spells a control token."""
    return control is not None and any(
        control.search(text) for e in examples for field in FIELDS if (text := getattr(e, field))
    )


def encode_plainly(text: str, tokenizer: Any, *, marks: bool = False) -> list[int]:
    """Ids of a text in which nothing is a control token; `marks` puts the tokenizer's own around it."""
    control = control_tokens(tokenizer)
    spelt = {match[0] for match in control.finditer(text)} if control else set()
    # A tokenizer leaves only tokens apart that it calls special, and Qwen's <think> is none.
    others = {t.content for t in getattr(tokenizer, "added_tokens_decoder", {}).values() if not t.special}
    if not spelt & others:
        return _encode(text, tokenizer, marks)
    cuts = [0, *(match.start() + 1 for match in re.finditer("|".join(map(re.escape, spelt & others)), text)), len(text)]
    pieces = [_encode(text[a:b], tokenizer, False) for a, b in itertools.pairwise(cuts)]
    front, behind = _around(tokenizer) if marks else ([], [])
    return [*front, *itertools.chain(*pieces), *behind]


def _encode(text: str, tokenizer: Any, marks: bool) -> list[int]:
    ids: list[int] = tokenizer([text], add_special_tokens=marks, split_special_tokens=True)["input_ids"][0]
    return ids


def count_appended(tokenizer: Any) -> int:
    """How many tokens a tokenizer puts behind every text: an end token there would end the prompt before its answer."""
    return len(_around(tokenizer)[1])


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that a tokenizer puts in front of a text and behind it; none where it does something else to texts."""
    marked, bare = (tokenizer(["a"], add_special_tokens=marks)["input_ids"][0] for marks in (True, False))
    start = next((i for i in range(len(marked)) if marked[i : i + len(bare)] == bare), None)
    return ([], []) if start is None else (marked[:start], marked[start + len(bare) :])
