"""Sequences that begin alike: what is computed once is what a path through the tree says, whatever the sequences."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backends.planning import prefix_tree
from backends.planning.prefix_tree import build_segments, cut_micro_batches, sort_by_prefix

# Two letters, so that much begins alike; some are repeated, or begin another.
sequences = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=30), min_size=1, max_size=12)


def arrays(rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(row) for row in rows]


def paths(lengths: list[int], shared: list[int]) -> list[list[int]]:
    """Where the tokens of each sequence lie."""
    found: list[list[int]] = []
    count = 0
    for length, taken in zip(lengths, [0, *shared[1:]], strict=True):
        new = range(count, count + length - taken)
        found.append([*(found[-1][:taken] if taken else []), *new])
        count += len(new)
    return found


@given(sequences)
def test_neighbours_take_over_what_they_have_in_common_and_no_more(rows: list[list[int]]) -> None:
    order, shared = sort_by_prefix(arrays(rows))
    assert sorted(order) == list(range(len(rows))) and shared[0] == 0
    for k in range(1, len(order)):
        before, own = rows[order[k - 1]], rows[order[k]]
        assert before[: shared[k]] == own[: shared[k]] and shared[k] <= min(len(before), len(own))


@given(sequences, st.integers(1, 80))
def test_every_token_sees_what_stands_before_it_in_its_sequences_and_nothing_else(
    rows: list[list[int]], budget: int
) -> None:
    order, shared = sort_by_prefix(arrays(rows))
    lengths = [len(rows[place]) for place in order]
    for places in cut_micro_batches(lengths, shared, budget):
        own, taken = [lengths[k] for k in places], [shared[k] for k in places]
        tree, ways = build_segments(own, taken), paths(own, taken)
        count = 1 + max(way[-1] for way in ways)
        assert [s.start for s in tree] == [0, *(s.end for s in tree[:-1])] and tree[-1].end == count
        sees = np.zeros((count, count), bool)
        for start, end, below in tree:
            sees[start:below, start:end] = True
        expected = np.zeros_like(sees)
        for way in ways:
            for k, place in enumerate(way):
                expected[place, way[: k + 1]] = True
        assert (np.tril(sees) == expected).all()


@given(sequences, st.integers(1, 80))
def test_batches_hold_every_sequence_once_within_the_budget(rows: list[list[int]], budget: int) -> None:
    order, shared = sort_by_prefix(arrays(rows))
    lengths = [len(rows[place]) for place in order]
    batches = cut_micro_batches(lengths, shared, budget)
    assert sorted(k for places in batches for k in places) == list(range(len(rows)))
    for places in batches:
        inner = [shared[k] for k in places][1:]
        tokens = sum(lengths[k] for k in places) - sum(inner)
        assert len(places) == 1 or tokens - min(inner) <= budget


def test_a_beginning_that_saves_little_is_left_to_each() -> None:
    tail = [list(np.random.default_rng(k).integers(0, 99, 9)) for k in range(4)]
    few = prefix_tree.MIN_SAVED_TOKENS - 1
    assert sort_by_prefix(arrays([[7] * few + t for t in tail[:2]]))[1] == [0, 0]
    # Of four it saves three times as much.
    assert sort_by_prefix(arrays([[7] * few + t for t in tail]))[1][1:] == [few] * 3


def test_cuts_fall_between_prompts_not_amid_their_answers() -> None:
    """Three prompts of 50 tokens with four answers of 10: a budget of 100 tokens has room for one prompt's."""
    rows = [[prompt] * 50 + [10 + answer] * 10 for prompt in range(3) for answer in range(4)]
    order, shared = sort_by_prefix(arrays(rows))
    assert [list(places) for places in cut_micro_batches([60] * 12, shared, 100)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert [order[k] // 4 for k in range(12)] == [0] * 4 + [1] * 4 + [2] * 4
    # A prompt alone is longer than the budget: its answers still stand behind it together.
    assert [list(places) for places in cut_micro_batches([60] * 12, shared, 40)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
