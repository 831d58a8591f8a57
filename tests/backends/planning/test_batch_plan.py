"""The one cutter of micro-batches: what it must hold for any lengths."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.planning.batch_plan import padded_tokens, plan_batches

lengths_and_kinds = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 3)), max_size=40)


@given(lengths_and_kinds, st.integers(1, 200), st.booleans())
def test_every_sequence_is_in_one_batch_of_its_kind_within_the_budget(
    sequences: list[tuple[int, int]], budget: int, packing: bool
) -> None:
    lengths, kinds = [length for length, _ in sequences], [(kind,) for _, kind in sequences]
    plan = plan_batches(lengths, budget, packing=packing, kinds=kinds)
    assert sorted(place for batch in plan for place in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len({kinds[place] for place in batch}) == 1
        assert len(batch) == 1 or padded_tokens([lengths[place] for place in batch], packing=packing) <= budget


@given(lengths_and_kinds, st.integers(1, 200), st.booleans())
def test_no_batch_is_closed_while_the_next_sequence_would_fit(
    sequences: list[tuple[int, int]], budget: int, packing: bool
) -> None:
    lengths = [length for length, _ in sequences]
    plan = plan_batches(lengths, budget, packing=packing)
    assert [lengths[place] for batch in plan for place in batch] == sorted(lengths, reverse=True)
    for batch, following in itertools.pairwise(plan):
        assert padded_tokens([lengths[place] for place in (*batch, following[0])], packing=packing) > budget


@pytest.mark.parametrize(("packing", "expected"), [(False, [[1], [0, 2, 3]]), (True, [[1, 0], [2, 3]])])
def test_equal_lengths_keep_their_order(packing: bool, expected: list[list[int]]) -> None:
    assert plan_batches([3, 9, 3, 3], 12, packing=packing) == expected
