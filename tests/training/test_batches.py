"""The order of the examples: a pure function of seed and epoch, with schemas in runs where that is asked for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.training.batches import OrderKeys, epoch_order

schemas = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40)


@given(schemas, st.integers(2, 5), st.integers(0, 3))
def test_examples_on_one_schema_stand_together(schemas: list[str], together: int, epoch: int) -> None:
    order = epoch_order(1, epoch, len(schemas), OrderKeys(None, schemas, together))
    assert sorted(order) == list(range(len(schemas)))
    runs = [list(run) for _, run in itertools.groupby(order, key=schemas.__getitem__)]
    for schema in set(schemas):
        # All full but the last; neighbouring runs of one schema look like one.
        sizes = [len(run) for run in runs if schemas[run[0]] == schema]
        assert sum(size % together > 0 for size in sizes) <= 1


@given(schemas)
def test_levels_come_first_and_schemas_stand_together_within_one(schemas: list[str]) -> None:
    levels = [i % 3 for i in range(len(schemas))]
    order = epoch_order(1, 0, len(schemas), OrderKeys(levels, schemas, len(schemas)))
    kinds = [(levels[i], schemas[i]) for i in order]
    assert [level for level, _ in kinds] == sorted(levels)
    assert len(list(itertools.groupby(kinds))) == len(set(kinds))


@pytest.mark.parametrize("together", [0, 1])
def test_without_it_the_order_is_that_of_before(together: int) -> None:
    assert epoch_order(3, 1, 9, OrderKeys(None, list("aabbccdda"), together)) == epoch_order(3, 1, 9)


def test_epochs_differ_in_runs_and_in_what_is_in_them() -> None:
    schemas = list("abcd" * 8)
    orders = [epoch_order(0, epoch, 32, OrderKeys(None, schemas, 4)) for epoch in range(3)]
    members = [{frozenset(order[k : k + 4]) for k in range(0, 32, 4)} for order in orders]
    assert len({tuple(order) for order in orders}) == 3 and members[0] != members[1]
