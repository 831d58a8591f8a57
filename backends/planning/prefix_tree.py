"""Sequences with common prefixes as a tree: which prefixes are worth computing once, and how micro-batches are cut.

All questions on one database begin with its schema, and all answers to one prompt with the prompt. Causal attention
gives the tokens of a common prefix the same hidden states in every sequence, so a micro-batch needs each of them once,
if every continuation attends to it. Tokens in, indices out: no tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Tokens that a shared prefix must save: it costs additional calls of the attention kernel in every layer.
MIN_SAVED_TOKENS = 16
# The fixed cost of one more micro-batch, in tokens.
BATCH_OVERHEAD_TOKENS = 64


class Segment(NamedTuple):
    """Consecutive tokens of the packed row that belong to the same sequences: a node of the prefix tree.

    Attributes:
        start: Position of its first token.
        end: Position after its last token.
        subtree_end: Position after the last token of everything that continues it; `end` if nothing does.
    """

    start: int
    end: int
    subtree_end: int


def sort_by_prefix(sequences: Sequence[np.ndarray]) -> tuple[list[int], list[int]]:
    """Sort sequences so that those with a common prefix are neighbours: the order of the tree's leaves.

    Args:
        sequences: Token ids of each, ``[T]``.

    Returns:
        Their indices in sorted order, and how many tokens each shares with its predecessor; 0 for the first. Prefixes
        that save fewer than `MIN_SAVED_TOKENS` are not shared.
    """
    # Big-endian bytes compare like the numbers.
    keys = [np.ascontiguousarray(ids, dtype=">u4").tobytes() for ids in sequences]
    order = sorted(range(len(sequences)), key=keys.__getitem__)
    common = [0] * len(order)
    for k in range(1, len(order)):
        common[k] = _common_prefix_length(sequences[order[k - 1]], sequences[order[k]])
    return order, _drop_small_savings(common)


def _common_prefix_length(first: np.ndarray, second: np.ndarray) -> int:
    length = min(len(first), len(second))
    differ = np.flatnonzero(first[:length] != second[:length])
    return int(differ[0]) if len(differ) else length


def _drop_small_savings(common: list[int]) -> list[int]:
    """`common`, with each prefix that saves too little cut back to the longest one that saves enough."""
    shared = list(common)
    # Ranges of neighbours that share `known` tokens.
    ranges = [(0, len(common), 0)]
    while ranges:
        start, end, known = ranges.pop()
        if end - start < 2:
            continue
        shortest = min(common[start + 1 : end])
        if (shortest - known) * (end - start - 1) >= MIN_SAVED_TOKENS:
            known = shortest
        cuts = [k for k in range(start + 1, end) if common[k] == shortest]
        for k in cuts:
            shared[k] = known
        ranges += [(a, b, known) for a, b in zip([start, *cuts], [*cuts, end], strict=True)]
    return shared


def cut_micro_batches(lengths: Sequence[int], shared: Sequence[int], budget: int) -> list[range]:
    """Cut sequences in tree order into micro-batches so that the fewest tokens are computed (dynamic programming).

    A prefix is computed again in every micro-batch that needs it, so cuts fall where neighbours share little. What all
    sequences of a micro-batch share does not count towards the budget: without sharing it would be there once as well,
    in front of a single sequence.

    Args:
        lengths: Tokens of each sequence, in tree order.
        shared: Tokens that each shares with its predecessor.
        budget: Tokens in a micro-batch; a longer sequence gets one to itself.

    Returns:
        The range of sequences of each micro-batch, those with the most tokens first, so that running out of memory
        happens at once.
    """
    count = len(lengths)
    # By number of sequences cut so far: their least cost, and the first sequence and tokens of their last micro-batch.
    cost, starts, sizes = [0.0] * (count + 1), [0] * (count + 1), [0] * (count + 1)
    for end in range(1, count + 1):
        cost[end] = float("inf")
        # Of the micro-batch from `start` on: tokens after its first sequence, and the prefix that all of it shares.
        rest, common = 0, lengths[end - 1]
        for start in range(end - 1, -1, -1):
            size = lengths[start] + rest
            if size - common > budget:
                break
            if cost[start] + size + BATCH_OVERHEAD_TOKENS < cost[end]:
                cost[end], starts[end], sizes[end] = cost[start] + size + BATCH_OVERHEAD_TOKENS, start, size
            rest += lengths[start] - shared[start]
            common = min(common, shared[start])
    batches, end = [], count
    while end:
        batches.append((sizes[end], range(starts[end], end)))
        end = starts[end]
    return [rows for _, rows in sorted(batches, key=lambda batch: (-batch[0], batch[1].start))]


def build_segments(lengths: Sequence[int], shared: Sequence[int]) -> list[Segment]:
    """The prefix tree of one micro-batch, whose tokens lie end to end, shared ones once.

    Args:
        lengths: Tokens of each sequence, in tree order.
        shared: Tokens that each shares with its predecessor; the first value is ignored.

    Returns:
        Segments in the order of their tokens.
    """
    taken = [0, *shared[1:]]
    starts = np.cumsum([0, *(length - k for length, k in zip(lengths, taken, strict=True))]).tolist()
    segments = []
    for row, length in enumerate(lengths):
        # By depth at which later sequences branch off this one: where the first of them begins.
        branches: dict[int, int] = {}
        low, later = length + 1, row + 1
        while later < len(lengths) and low > taken[row]:
            if taken[later] < low:
                low = taken[later]
                branches[low] = starts[later]
            later += 1
        depths = sorted({length, *(depth for depth in branches if depth > taken[row])})
        by_depth = sorted(branches.items())
        offset, previous = starts[row] - taken[row], taken[row]
        for depth in depths:
            # The subtree ends with the first sequence that branches off at a smaller depth.
            subtree_end = min((start for at, start in by_depth if at < depth), default=starts[-1])
            if depth > previous:
                segments.append(Segment(offset + previous, offset + depth, subtree_end))
            previous = depth
    return segments
