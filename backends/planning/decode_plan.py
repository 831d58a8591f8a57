"""What sequences that are decoded together hold: which beginnings once for all, which columns each of its own.

All questions on one database begin with its schema, all samples of a prompt with the prompt. Of the prompts that are
waiting, the beginnings that several of them share are read first, the shorter before the longer that continue them;
every prompt then goes on from the longest beginning that is at hand. The local backend decodes by this plan and the
estimate reckons with it, so that the memory foretold is the memory used. Tokens in, numbers out: no tensors.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backends.options import LocalOptions
from backends.planning.batch_plan import may_pack
from backends.planning.prefix_tree import in_tree_order

Prompt = tuple[int, ...]

# Tokens that prompts must have in common for these to be read once.
SHARED = 32
# Columns that must be saved: another call of the kernel in every layer takes as long as reading some hundred.
SAVED = 256
# Columns by which a cache grows, at least, and the share of its width by which it does.
BLOCK, GROWTH = 64, 4
# Kinds of model that are known to attend to beginnings held once; what has a window, or may have one, does not.
WITHOUT_WINDOWS = frozenset({"llama"})


class Span(NamedTuple):
    """Tokens that prompts have in common and that are held once.

    Attributes:
        start: How many of the first ones another span of the same prompts holds.
        tokens: Of a prompt, from its first to the last one that is held.
    """

    start: int
    tokens: Prompt

    @property
    def columns(self) -> int:
        """How many tokens it holds."""
        return len(self.tokens) - self.start


class Row(NamedTuple):
    """A sequence in the joint cache.

    Attributes:
        columns: Its own that are filled.
        left: Those that may still be.
    """

    columns: int
    left: int


def may_hold_once(options: LocalOptions, family: str, *, on_gpu: bool) -> bool:
    """Whether it is certain that a kind of model attends to beginnings held once."""
    return not on_gpu and may_pack(options, on_gpu=False) and family in WITHOUT_WINDOWS


def pays(rows: int, columns: int) -> bool:
    """Whether columns are better held once than in each of the rows."""
    return (rows - 1) * columns >= SAVED


def plan_stems(
    asked: Mapping[Prompt, int], begun: Mapping[Prompt, int], held: Collection[Span] = ()
) -> dict[Prompt, tuple[Span, ...]]:
    """What is held once of each prompt, from its first token on; the rest is in the columns of every row.

    Args:
        asked: How many rows of each prompt join.
        begun: How many tokens of each are at hand, fewer than it has.
        held: What rows that are decoded already hold once.
    """
    together = Counter[Prompt]()
    for prompt, rows in asked.items():
        together[prompt[: begun[prompt]]] += rows
    stems: dict[Prompt, tuple[Span, ...]] = {}
    for prompt, rows in asked.items():
        beginning, own = prompt[: begun[prompt]], list[Span]()
        for tokens, sharing in ((beginning, together[beginning]), (prompt, rows)):
            span = Span(len(own[-1].tokens) if own else 0, tokens)
            if span in held or pays(sharing, span.columns):
                own.append(span)
        stems[prompt] = tuple(own)
    return stems


def own_columns(prompt: Prompt, stems: Sequence[Span]) -> int:
    """Columns of a row that what is held once of its prompt leaves to it."""
    return len(prompt) - (len(stems[-1].tokens) if stems else 0)


def free_columns(width: int, longest: int) -> int:
    """Columns to allocate behind those that are filled: so many that copying them all is seldom, and none in vain.

    Args:
        width: Columns that are filled.
        longest: How many tokens may still be sampled of one sequence.
    """
    return min(longest, max(BLOCK, width // GROWTH))


def joint_columns(rows: Sequence[Row]) -> int:
    """Columns of all rows of the joint cache, at the most until every row has ended; each is as wide as the widest."""
    filled, left = (max((row[k] for row in rows), default=0) for k in range(2))
    widest = max((row.columns + row.left for row in rows), default=0)
    # The row that is widest in the end may not be the one that goes on longest.
    return len(rows) * min(filled + left, widest + free_columns(widest, left))


def held_columns(stems: Mapping[Prompt, Sequence[Span]], rows: Sequence[Row], held: Collection[Span] = ()) -> int:
    """Columns of keys and values at the most: what is held once, and the joint cache."""
    once = {*held, *itertools.chain.from_iterable(stems.values())}
    return sum(span.columns for span in once) + joint_columns(rows)


def batch_columns(prompts: Sequence[Prompt], samples: int, answer: int, rows: int, *, sharing: bool) -> int:
    """Columns that the first batch of prompts that are asked together holds at the most.

    Args:
        prompts: All that are waiting; nothing of them has been read.
        samples: Of each.
        answer: Most tokens of one.
        rows: Most sequences in a batch.
        sharing: Whether beginnings are held once.
    """
    order = [prompts[place] for family in families(prompts) for place in family for _ in range(samples)][:rows]
    asked, stems = Counter(order), dict[Prompt, tuple[Span, ...]]()
    if sharing:
        beginnings = shared_beginnings(list(asked))
        stems = plan_stems(asked, {prompt: longest_of(beginnings, prompt) for prompt in asked})
    # The last token of an answer is never read.
    return held_columns(stems, [Row(own_columns(prompt, stems.get(prompt, ())), answer - 1) for prompt in order])


def longest_of(beginnings: Sequence[Prompt], prompt: Prompt) -> int:
    """Tokens of the longest of these with which a prompt begins; 0 if it begins with none."""
    return max((len(tokens) for tokens in beginnings if prompt[: len(tokens)] == tokens), default=0)


def shared_beginnings(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Beginnings of `SHARED` tokens and more that several of these different prompts have, shorter ones first.

    A longer one that some of them share counts if it has N tokens more. Each prompt keeps a token of its own.
    """
    ordered, shared = _in_order(prompts)
    found: list[Prompt] = []
    runs = [(0, len(ordered), 0)]
    while runs:
        start, end, known = runs.pop()
        if end - start < 2:
            continue
        least = min(shared[start + 1 : end])
        if least - known >= SHARED:
            known = least
            found.append(ordered[start][:known])
        cuts = [k for k in range(start + 1, end) if shared[k] == least]
        runs += [(a, b, known) for a, b in zip([start, *cuts], [*cuts, end], strict=True)]
    return sorted(found, key=len)


def families(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """The places of the prompts, those that begin alike together; the family with the longest prompt first."""
    order, shared = in_tree_order([np.array(prompt) for prompt in prompts])
    grouped: list[list[int]] = []
    for place, common in zip(order, shared, strict=True):
        if grouped and common >= SHARED:
            grouped[-1].append(place)
        else:
            grouped.append([place])
    # Of families equally long, that whose first member came first.
    yield from sorted(grouped, key=lambda family: (-max(len(prompts[place]) for place in family), min(family)))


def _in_order(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[int]]:
    order, shared = in_tree_order([np.array(prompt) for prompt in prompts])
    ordered = [prompts[place] for place in order]
    # One prompt may begin another.
    capped = [
        min(common, len(a) - 1, len(b) - 1) for common, a, b in zip(shared[1:], ordered, ordered[1:], strict=False)
    ]
    return ordered, [0, *capped]
