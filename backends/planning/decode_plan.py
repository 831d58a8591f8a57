"""Key/value cache of sequences that are decoded together: which prefixes are stored once, which positions per row.

All questions on one database begin with its schema, all samples of a prompt with the prompt. Of the prompts that wait,
the prefixes that several of them share are prefilled first, shorter before longer ones; every prompt then continues
from its longest cached prefix. The local backend decodes by this plan and the estimate computes with it, so that the
memory predicted is the memory used. Tokens in, numbers out: no tensors.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backends.options import LocalOptions
from backends.planning.batch_plan import may_pack
from backends.planning.prefix_tree import sort_by_prefix

Prompt = tuple[int, ...]

# Tokens that prompts must have in common for these to be prefilled once.
MIN_PREFIX_TOKENS = 32
# Cache positions that a shared prefix must save: its additional call of the attention kernel in every layer takes as
# long as reading some hundred positions.
MIN_SAVED_POSITIONS = 256
# Free positions by which a cache grows at least.
MIN_FREE_POSITIONS = 64
# A cache grows by this fraction of its filled positions (one in so many), so that copying it stays rare.
GROWTH_DIVISOR = 4
# Model families that are known to attend to prefixes stored outside their cache; one with a sliding window does not.
FULL_ATTENTION_FAMILIES = frozenset({"llama"})


class PrefixSpan(NamedTuple):
    """Consecutive prompt tokens whose keys and values are stored once for several rows.

    Attributes:
        start: Tokens before the span, which another span of the same prompts stores.
        tokens: The prompt from its first token to the last one of the span.
    """

    start: int
    tokens: Prompt

    @property
    def positions(self) -> int:
        """Number of tokens whose keys and values the span stores."""
        return len(self.tokens) - self.start


class RowLength(NamedTuple):
    """The length of one row of the batch cache.

    Attributes:
        filled: Positions that the row fills.
        remaining: Positions that it may still need.
    """

    filled: int
    remaining: int


def can_share_prefixes(options: LocalOptions, family: str, *, on_gpu: bool) -> bool:
    """Whether a model family is certain to attend to prefixes that are stored once for several rows."""
    return not on_gpu and may_pack(options, on_gpu=False) and family in FULL_ATTENTION_FAMILIES


def is_worth_sharing(rows: int, positions: int) -> bool:
    """Whether so many positions are better stored once than in each of the rows."""
    return (rows - 1) * positions >= MIN_SAVED_POSITIONS


def plan_shared_prefixes(
    row_counts: Mapping[Prompt, int], cached_lengths: Mapping[Prompt, int], stored: Collection[PrefixSpan] = ()
) -> dict[Prompt, tuple[PrefixSpan, ...]]:
    """The spans of each prompt that are stored once, from its first token on; the rest is stored in every row.

    Args:
        row_counts: Rows that join, by prompt.
        cached_lengths: Tokens of each prompt whose keys and values are cached, fewer than the prompt has.
        stored: Spans of rows that are already being decoded.
    """
    prefix_rows = Counter[Prompt]()
    for prompt, rows in row_counts.items():
        prefix_rows[prompt[: cached_lengths[prompt]]] += rows
    plan: dict[Prompt, tuple[PrefixSpan, ...]] = {}
    for prompt, rows in row_counts.items():
        prefix, spans = prompt[: cached_lengths[prompt]], list[PrefixSpan]()
        for tokens, sharing_rows in ((prefix, prefix_rows[prefix]), (prompt, rows)):
            span = PrefixSpan(len(spans[-1].tokens) if spans else 0, tokens)
            if span in stored or is_worth_sharing(sharing_rows, span.positions):
                spans.append(span)
        plan[prompt] = tuple(spans)
    return plan


def row_positions(prompt: Prompt, spans: Sequence[PrefixSpan]) -> int:
    """Positions of a prompt that its row stores itself, beside its shared spans."""
    return len(prompt) - (len(spans[-1].tokens) if spans else 0)


def free_positions(filled: int, max_remaining: int) -> int:
    """Free positions to allocate behind the filled ones: enough that copying is rare, and none in vain.

    Args:
        filled: Positions that are filled.
        max_remaining: Tokens that may still be sampled of one sequence.
    """
    return min(max_remaining, max(MIN_FREE_POSITIONS, filled // GROWTH_DIVISOR))


def batch_cache_positions(rows: Sequence[RowLength]) -> int:
    """Most positions of the batch cache, in all rows, until every row has ended; all rows are as wide as the widest."""
    max_filled, max_remaining = (max((row[k] for row in rows), default=0) for k in range(2))
    max_total = max((row.filled + row.remaining for row in rows), default=0)
    # The row that is widest in the end may not be the one that continues longest.
    return len(rows) * min(max_filled + max_remaining, max_total + free_positions(max_total, max_remaining))


def peak_positions(
    spans: Mapping[Prompt, Sequence[PrefixSpan]], rows: Sequence[RowLength], stored: Collection[PrefixSpan] = ()
) -> int:
    """Most positions of keys and values: shared spans, each once, and the batch cache."""
    all_spans = {*stored, *itertools.chain.from_iterable(spans.values())}
    return sum(span.positions for span in all_spans) + batch_cache_positions(rows)


def first_batch_positions(
    prompts: Sequence[Prompt], samples: int, max_answer_tokens: int, max_rows: int, *, sharing: bool
) -> int:
    """Most cache positions of the first batch of prompts that are submitted together.

    Args:
        prompts: All that wait; none of their keys and values is cached.
        samples: Sequences sampled of each prompt.
        max_answer_tokens: Most tokens of one answer.
        max_rows: Most sequences in a batch.
        sharing: Whether shared prefixes are stored once.
    """
    rows = [prompts[i] for group in group_by_prefix(prompts) for i in group for _ in range(samples)][:max_rows]
    row_counts, spans = Counter(rows), dict[Prompt, tuple[PrefixSpan, ...]]()
    if sharing:
        prefixes = find_shared_prefixes(list(row_counts))
        cached_lengths = {prompt: longest_prefix_length(prefixes, prompt) for prompt in row_counts}
        spans = plan_shared_prefixes(row_counts, cached_lengths)
    # The last token of an answer is never an input.
    lengths = [RowLength(row_positions(prompt, spans.get(prompt, ())), max_answer_tokens - 1) for prompt in rows]
    return peak_positions(spans, lengths)


def longest_prefix_length(prefixes: Sequence[Prompt], prompt: Prompt) -> int:
    """Tokens of the longest of the prefixes with which a prompt begins; 0 if it begins with none."""
    return max((len(tokens) for tokens in prefixes if prompt[: len(tokens)] == tokens), default=0)


def find_shared_prefixes(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prefixes of `MIN_PREFIX_TOKENS` tokens and more that several of these different prompts share, shortest first.

    A longer prefix that some of them share counts if it is `MIN_PREFIX_TOKENS` tokens longer. Each prompt keeps at
    least its last token to itself.
    """
    ordered, common = _sort_with_common_lengths(prompts)
    prefixes: list[Prompt] = []
    # Ranges of neighbours that share `known` tokens.
    ranges = [(0, len(ordered), 0)]
    while ranges:
        start, end, known = ranges.pop()
        if end - start < 2:
            continue
        shortest = min(common[start + 1 : end])
        if shortest - known >= MIN_PREFIX_TOKENS:
            known = shortest
            prefixes.append(ordered[start][:known])
        cuts = [k for k in range(start + 1, end) if common[k] == shortest]
        ranges += [(a, b, known) for a, b in zip([start, *cuts], [*cuts, end], strict=True)]
    return sorted(prefixes, key=len)


def group_by_prefix(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """Indices of the prompts, those with a common prefix in one group; the group with the longest prompt first."""
    order, common = sort_by_prefix([np.array(prompt) for prompt in prompts])
    groups: list[list[int]] = []
    for index, length in zip(order, common, strict=True):
        if groups and length >= MIN_PREFIX_TOKENS:
            groups[-1].append(index)
        else:
            groups.append([index])
    # Of groups equally long, that whose first member came first.
    yield from sorted(groups, key=lambda group: (-max(len(prompts[i]) for i in group), min(group)))


def _sort_with_common_lengths(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[int]]:
    """The prompts sorted by prefix, and the tokens that each shares with its predecessor, its last token excluded."""
    order, common = sort_by_prefix([np.array(prompt) for prompt in prompts])
    ordered = [prompts[i] for i in order]
    # One prompt may be a prefix of another.
    capped = [
        min(length, len(a) - 1, len(b) - 1) for length, a, b in zip(common[1:], ordered, ordered[1:], strict=False)
    ]
    return ordered, [0, *capped]
