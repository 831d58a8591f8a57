"""What sequences that are decoded together hold, predicted from their tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.options import LocalOptions
from backends.planning.decode_plan import (
    PrefixSpan,
    Prompt,
    RowLength,
    batch_cache_positions,
    can_share_prefixes,
    first_batch_positions,
    free_positions,
    plan_shared_prefixes,
)

SCHEMA = tuple(range(100))


def questions(count: int, beginning: Prompt = SCHEMA) -> list[Prompt]:
    return [(*beginning, 1000 + k, *range(5)) for k in range(count)]


def test_a_beginning_and_a_prompt_are_held_once_where_it_pays() -> None:
    first, second, other = (*SCHEMA, 1), (*SCHEMA, 2), tuple(range(500, 800))
    cached = {first: 100, second: 100, other: 0}
    spans = plan_shared_prefixes({first: 3, second: 1, other: 2}, cached)
    # The third row saves enough of the schema, and none of what one token more would.
    assert spans == {first: (PrefixSpan(0, SCHEMA),), second: (PrefixSpan(0, SCHEMA),), other: (PrefixSpan(0, other),)}
    assert plan_shared_prefixes({first: 1, second: 1}, cached) == {first: (), second: ()}
    # What is there already is used by one row, too.
    assert plan_shared_prefixes({second: 1}, cached, {PrefixSpan(0, SCHEMA)}) == {second: (PrefixSpan(0, SCHEMA),)}


def test_samples_of_several_prompts_on_a_schema_hold_both_once() -> None:
    long = [(*SCHEMA, *range(200 + 50 * k, 250 + 50 * k)) for k in range(2)]
    spans = plan_shared_prefixes(dict.fromkeys(long, 8), dict.fromkeys(long, 100))
    assert spans == {prompt: (PrefixSpan(0, SCHEMA), PrefixSpan(100, prompt)) for prompt in long}
    # The schema, both prompts, and the answers but for their last tokens.
    assert first_batch_positions(long, 8, 11, 16, sharing=True) == 100 + 2 * 50 + 16 * 10
    assert first_batch_positions(long, 8, 11, 16, sharing=False) == 16 * (150 + 10)


def test_the_first_rows_are_those_that_are_admitted_first() -> None:
    prompts = [*questions(6), tuple(range(2000, 2200))]
    # The longest prompt, and one more.
    assert first_batch_positions(prompts, 1, 1, 2, sharing=True) == 2 * 200
    assert first_batch_positions(questions(6), 1, 21, 64, sharing=True) == 100 + 6 * (6 + 20)
    assert first_batch_positions([], 1, 21, 64, sharing=True) == 0


def test_who_holds_beginnings_once() -> None:
    assert can_share_prefixes(LocalOptions(), "llama", on_gpu=False)
    assert not can_share_prefixes(LocalOptions(), "llama", on_gpu=True)
    assert not can_share_prefixes(LocalOptions(), "mistral", on_gpu=False)
    assert not can_share_prefixes(LocalOptions(attention="eager"), "llama", on_gpu=False)


ROWS = st.lists(st.builds(RowLength, st.integers(0, 400), st.integers(0, 300)), min_size=1, max_size=6)


@given(ROWS)
def test_the_joint_cache_never_grows_beyond_what_was_foretold(rows: list[RowLength]) -> None:
    """The rows go on to their ends; whenever the columns are full, those that are alive move to a new cache."""
    most, gone_on, full = 0, 0, 0
    while alive := [row for row in rows if row.remaining > gone_on]:
        width = max(row.filled + gone_on for row in alive)
        full = gone_on + free_positions(width, max(row.remaining - gone_on for row in alive))
        most = max(most, len(alive) * (width + full - gone_on))
        gone_on = full
    assert most <= batch_cache_positions(rows)
    if len({(row.filled, row.remaining) for row in rows}) == 1:
        assert batch_cache_positions(rows) == len(rows) * sum(rows[0])
