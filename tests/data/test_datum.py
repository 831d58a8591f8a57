"""Datums: where the weights are, and that parts add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.data.datum import make_batch
from text2sql.data.prompts import Tokens

IDS = st.lists(st.integers(0, 99), min_size=1, max_size=12)
BATCH = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8)


def _tokens(pair: tuple[list[int], list[int]]) -> Tokens:
    return Tokens(np.asarray(pair[0], np.int32), np.asarray(pair[1], np.int32))


def _inputs(datum: object, name: str) -> np.ndarray:
    return datum.loss_fn_inputs[name].to_numpy()  # type: ignore[attr-defined]


def test_an_example_to_the_position() -> None:
    (datum,) = make_batch([_tokens(([7, 8, 9], [1, 2, 0]))])
    assert datum.model_input.to_ints() == [7, 8, 9, 1, 2]
    assert _inputs(datum, "target_tokens").tolist() == [8, 9, 1, 2, 0]
    third = np.float32(1 / 3)
    assert _inputs(datum, "weights").tolist() == [0, 0, third, third, third]  # the end token counts like the rest


@given(BATCH)
def test_weights_are_zero_on_prompts_and_one_nth_on_completions(pairs: list[tuple[list[int], list[int]]]) -> None:
    count = sum(len(completion) for _, completion in pairs)
    for datum, (prompt, completion) in zip(make_batch([_tokens(pair) for pair in pairs]), pairs, strict=True):
        targets, weights = _inputs(datum, "target_tokens"), _inputs(datum, "weights")
        assert datum.model_input.length == len(targets) == len(weights) == len(prompt) + len(completion) - 1
        assert [datum.model_input.to_ints()[0], *targets] == [*prompt, *completion]
        assert not weights[: len(prompt) - 1].any()
        assert (weights[len(prompt) - 1 :] == np.float32(1 / count)).all()


@given(BATCH)
def test_weights_come_from_positions_and_not_from_ids(pairs: list[tuple[list[int], list[int]]]) -> None:
    changed = [([id_ + 1 for id_ in p], [0 for _ in c]) for p, c in pairs]
    for a, b in zip(make_batch([_tokens(p) for p in pairs]), make_batch([_tokens(p) for p in changed]), strict=True):
        assert (_inputs(a, "weights") == _inputs(b, "weights")).all()


@given(BATCH, st.data())
def test_the_parts_of_a_batch_add_up_to_its_mean_loss_per_token(
    pairs: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    batch = make_batch([_tokens(pair) for pair in pairs])
    rng = np.random.default_rng(0)
    logprobs = [-rng.random(len(_inputs(datum, "weights"))) for datum in batch]
    losses = [-float(_inputs(d, "weights") @ values) for d, values in zip(batch, logprobs, strict=True)]
    cut = data.draw(st.integers(0, len(batch)))
    scored = np.concatenate([v[len(p) - 1 :] for v, (p, _) in zip(logprobs, pairs, strict=True)])
    assert sum(losses[:cut]) + sum(losses[cut:]) == pytest.approx(-scored.mean(), rel=1e-5)
