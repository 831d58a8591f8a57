"""Sequences that are decoded together hold what they begin with once, and get what each gets by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tinker import types
from transformers import AutoModelForCausalLM

from backends.interface import BackendError
from backends.local.decode import growing_cache
from backends.local.model.shared_attention import CascadeLevel, cascade_attention
from scripts.check_architectures import ARCHITECTURES, VOCABULARY, make_model
from tests.support.sampling import greedy_by_hand, ids, params, some

# Others than Llama: a norm of queries, rotary embedding of a part, values of another width, a window with soft-capping.
FAST = ("Qwen3", "GPT-NeoX, Pythia", "DeepSeek-V3", "Gemma-2")


def plain(directory: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def assert_is_of(model: Any, prompt: list[int], sequence: types.SampledSequence) -> None:
    """The log-probabilities of a sample are those of the model over this one row."""
    tokens = list(sequence.tokens)
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
    assert sequence.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


# Shots in front of all, schemas in front of their questions, and prompts that share nothing.
SHOTS = some(70, 1)
SCHEMAS = [SHOTS + some(90 + k, 2 + k) for k in range(2)]
QUESTIONS = [schema + some(5 + 7 * k, 10 + k) for k in range(3) for schema in SCHEMAS]
OTHERS = [some(40, 20), some(3, 21)]


@pytest.mark.parametrize("size", [64, 9, 2])
def test_every_sequence_is_what_it_is_alone(open_local: Any, tiny_model: str, size: int) -> None:
    """Samples of prompts on two levels of beginnings; they end one by one, and others take their rows."""
    model = plain(tiny_model)
    client = open_local(sample_batch_size=size).create_sampling_client(base_model=tiny_model).result()
    prompts = [*QUESTIONS, *OTHERS]
    futures = [
        (prompt, client.sample(ids(prompt), 4, params(temperature=1, seed=k, max_tokens=3 + 5 * (k % 4))))
        for k, prompt in enumerate(prompts)
    ]
    greedy = [(prompt, client.sample(ids(prompt), 1, params(max_tokens=25))) for prompt in prompts[::3]]
    for prompt, future in futures:
        for sequence in future.result().sequences:
            assert_is_of(model, prompt, sequence)
    for prompt, future in greedy:
        assert future.result().sequences[0].tokens == greedy_by_hand(model, prompt, 25)


def test_calls_that_join_later_and_calls_that_are_called_off(open_local: Any, tiny_model: str) -> None:
    """Rows on a beginning that others are already decoded on, and rows beside some that are gone."""
    model = plain(tiny_model)
    client = open_local(sample_batch_size=8).create_sampling_client(base_model=tiny_model).result()
    first = [client.call(ids(prompt), 2, params(max_tokens=20)) for prompt in QUESTIONS[:2]]
    late = [client.call(ids(QUESTIONS[k]), 2, params(max_tokens=9)) for k in (2, 0, 3)]
    turns = 0

    def arrivals(room: int) -> list[Any]:
        nonlocal turns
        turns += 1
        if turns == 6:
            first[1].future.cancel()
        return [late[turns // 3 - 1]] if turns in (3, 6, 9) else []

    client.sampling_job(first, arrivals).run()
    for call, length in ((first[0], 20), *((call, 9) for call in late)):
        expected = greedy_by_hand(model, call.prompt, length)
        assert [s.tokens for s in call.future.result().sequences] == [expected] * 2


def test_the_same_calls_give_the_same_bits(open_local: Any, tiny_model: str) -> None:
    """What a run that is begun again is compared by."""

    def sampled() -> list[tuple[list[int], list[float]]]:
        client = open_local(sample_batch_size=16).create_sampling_client(base_model=tiny_model).result()
        futures = [client.sample(ids(p), 8, params(temperature=1, seed=5, max_tokens=30)) for p in QUESTIONS[:3]]
        return [(s.tokens, s.logprobs) for future in futures for s in future.result().sequences]

    assert sampled() == sampled()


def test_beginnings_take_no_columns_of_the_joint_cache(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    real = growing_cache.GrowingLayer.rebuild

    def watched(self: Any, like: Any, kept: Any, first: int, shape: growing_cache.CacheShape) -> None:
        widths.append(shape.filled)
        real(self, like, kept, first, shape)

    monkeypatch.setattr(growing_cache.GrowingLayer, "rebuild", watched)
    client = open_local().create_sampling_client(base_model=tiny_model).result()
    futures = [client.sample(ids(prompt), 1, params(max_tokens=4)) for prompt in QUESTIONS]
    assert all(future.result() for future in futures)
    # Of a question, what follows its schema.
    assert max(widths) == max(len(question) - len(SCHEMAS[k % 2]) for k, question in enumerate(QUESTIONS))
    widths.clear()
    assert client.sample(ids(some(100, 30)), 8, params(max_tokens=4)).result()
    assert max(widths) == 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in ARCHITECTURES]
)
def test_other_architectures(name: str, tmp_path: Path, open_local: Callable[..., Any]) -> None:
    """Those that cannot attend so are decoded as before; all of them give the tokens of one row at a time."""
    make_model(name, tmp_path / "model")
    try:
        client = open_local().create_sampling_client(base_model=str(tmp_path / "model")).result()
    except BackendError as error:
        pytest.skip(str(error))
    model = plain(str(tmp_path / "model"))
    schema = some(80, 1, VOCABULARY)
    prompts = [schema + some(n, n, VOCABULARY) for n in (4, 60, 9)]
    futures = [client.sample(ids(prompt), 5, params(max_tokens=12)) for prompt in prompts]
    for prompt, future in zip(prompts, futures, strict=True):
        expected = model.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(prompt) :].tolist()
        assert [s.tokens for s in future.result().sequences] == [expected] * 5


@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize("length", [1, 5])
def test_attention_beside_beginnings_is_attention_over_all(heads: tuple[int, int], length: int) -> None:
    """Against PyTorch's own over rows that each hold everything, on two levels that not every row has."""
    torch.manual_seed(0)
    rows, width, size = 7, length if length > 1 else 11, 16
    lengths = {"a": 40, "b": 3, "c": 9}
    begins = [["a"], ["c", "a"], [], ["c", "b"], ["c"], ["a"], ["c", "b"]]
    query = torch.randn(rows, heads[0], length, size)
    key, value = (torch.randn(rows, heads[1], width, size) for _ in range(2))
    known = {name: tuple(torch.randn(1, heads[1], n, size) for _ in range(2)) for name, n in lengths.items()}
    hidden = torch.zeros(rows, 1, 1, width)
    if length == 1:
        for row in range(rows):
            hidden[row, ..., :row] = -torch.inf
    levels = []
    for depth in range(2):
        members = {
            name: [r for r, own in enumerate(begins) if own[depth : depth + 1] == [name]] for name in sorted(lengths)
        }
        members = {name: found for name, found in members.items() if found}
        order = torch.tensor([row for found in members.values() for row in found])
        levels.append(CascadeLevel(order, [len(m) for m in members.values()], [[known[n] for n in members]]))  # type: ignore[misc]
    found = cascade_attention(query, key, value, hidden if length == 1 else None, levels, 0, 0.2)
    for row, own in enumerate(begins):
        keys, values = (torch.cat([*(known[n][k] for n in own), x[row, None]], 2) for k, x in ((0, key), (1, value)))
        start = keys.shape[2] - width
        sees = torch.ones(length, keys.shape[2], dtype=torch.bool).tril(start) if length > 1 else None
        if length == 1:
            sees = torch.ones(1, keys.shape[2], dtype=torch.bool)
            sees[:, start : start + row] = False
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[row, None], keys, values, sees, scale=0.2, enable_gqa=True
        )
        torch.testing.assert_close(found[row, None], expected.transpose(1, 2))
