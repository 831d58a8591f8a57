"""Sequences that begin alike, as a tree: which beginnings are worth computing once, and how the sequences are cut.

All questions on one database begin with its schema, and all answers to one prompt with the prompt. Causal attention
gives the tokens of a common beginning the same hidden states in every sequence, so a micro-batch needs each of them
once, if every continuation attends to it. Tokens in, places out: no tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A beginning costs a few more calls of the attention kernel in every layer, as much as some tokens.
WORTH = 16
# What one more micro-batch costs, in tokens.
BATCH_COST = 64


class Segment(NamedTuple):
    """Tokens that lie together in the packed row, and belong to the same sequences.

    Attributes:
        start: Its first place.
        end: The place after its last.
        below: The place after everything that continues it; `end` if nothing does.
    """

    start: int
    end: int
    below: int


def in_tree_order(sequences: Sequence[np.ndarray]) -> tuple[list[int], list[int]]:
    """Sort sequences so that those which begin alike are neighbours.

    Args:
        sequences: Token ids of each, ``[T]``.

    Returns:
        Their places in sorted order, and how many tokens each is to take over from its neighbour before; 0 of the
        first. Beginnings that save fewer than `WORTH` tokens are not taken over.
    """
    # Big-endian bytes compare like the numbers.
    keys = [np.ascontiguousarray(ids, dtype=">u4").tobytes() for ids in sequences]
    order = sorted(range(len(sequences)), key=keys.__getitem__)
    common = [0] * len(order)
    for k in range(1, len(order)):
        common[k] = _in_common(sequences[order[k - 1]], sequences[order[k]])
    return order, _worthwhile(common)


def _in_common(first: np.ndarray, second: np.ndarray) -> int:
    length = min(len(first), len(second))
    differ = np.flatnonzero(first[:length] != second[:length])
    return int(differ[0]) if len(differ) else length


def _worthwhile(common: list[int]) -> list[int]:
    """`common`, with each beginning that saves too little cut back to the longest one that saves enough."""
    shared = list(common)
    # Runs of sequences, and what all of a run are known to share.
    runs = [(0, len(common), 0)]
    while runs:
        start, end, known = runs.pop()
        if end - start < 2:
            continue
        least = min(common[start + 1 : end])
        if (least - known) * (end - start - 1) >= WORTH:
            known = least
        cuts = [k for k in range(start + 1, end) if common[k] == least]
        for k in cuts:
            shared[k] = known
        runs += [(a, b, known) for a, b in zip([start, *cuts], [*cuts, end], strict=True)]
    return shared


def cut(lengths: Sequence[int], shared: Sequence[int], budget: int) -> list[range]:
    """Cut sequences in tree order into micro-batches so that the fewest tokens are computed.

    A beginning is computed again in every micro-batch that needs it, so cuts fall where neighbours share little. What
    all sequences of a micro-batch share does not count towards the budget: without sharing it would stand there once
    as well, in front of a single sequence.

    Args:
        lengths: Tokens of each sequence, in tree order.
        shared: What each takes over from its neighbour before.
        budget: Tokens in a micro-batch; a longer sequence gets one to itself.

    Returns:
        The places of each micro-batch, those with the most tokens first: what does not fit in memory fails at once.
    """
    count = len(lengths)
    # The least cost of the sequences up to each, where the last micro-batch of them begins, and its tokens.
    cost, begins, sizes = [0.0] * (count + 1), [0] * (count + 1), [0] * (count + 1)
    for end in range(1, count + 1):
        cost[end] = float("inf")
        # Tokens of the micro-batch from `start` on after its first sequence, and the beginning that all of it shares.
        rest, common = 0, lengths[end - 1]
        for start in range(end - 1, -1, -1):
            size = lengths[start] + rest
            if size - common > budget:
                break
            if cost[start] + size + BATCH_COST < cost[end]:
                cost[end], begins[end], sizes[end] = cost[start] + size + BATCH_COST, start, size
            rest += lengths[start] - shared[start]
            common = min(common, shared[start])
    batches, end = [], count
    while end:
        batches.append((sizes[end], range(begins[end], end)))
        end = begins[end]
    return [places for _, places in sorted(batches, key=lambda batch: (-batch[0], batch[1].start))]


def segments(lengths: Sequence[int], shared: Sequence[int]) -> list[Segment]:
    """The tree of one micro-batch, whose tokens lie end to end, without those that are taken over.

    Args:
        lengths: Tokens of each sequence, in tree order.
        shared: What each takes over from its neighbour before; what the first would is ignored.

    Returns:
        Segments in the order of their tokens.
    """
    taken = [0, *shared[1:]]
    starts = np.cumsum([0, *(length - k for length, k in zip(lengths, taken, strict=True))]).tolist()
    found = []
    for row, length in enumerate(lengths):
        # Depths at which later sequences leave this one, and where the first of them lies.
        ends: dict[int, int] = {}
        low, later = length + 1, row + 1
        while later < len(lengths) and low > taken[row]:
            if taken[later] < low:
                low = taken[later]
                ends[low] = starts[later]
            later += 1
        depths = sorted({length, *(depth for depth in ends if depth > taken[row])})
        leaving = sorted(ends.items())
        before = taken[row]
        for depth in depths:
            # Below it lies what follows, up to the first sequence that leaves at a smaller depth.
            below = min((place for at, place in leaving if at < depth), default=starts[-1])
            offset = starts[row] - taken[row]
            if depth > before:
                found.append(Segment(offset + before, offset + depth, below))
            before = depth
    return found
