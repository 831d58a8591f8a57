"""Beginnings that prompts share are read once, and change no answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tinker import types

from backends.local.decode import prompt_reader
from backends.local.prefix_cache import PrefixCache
from tests.support.datums import random_datums
from tests.support.sampling import PROMPTS, greedy_by_hand, ids, params, some


def test_equal_prompts_are_read_once(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, read = prompt_reader.PromptReader.read, []

    def watched(self: Any, prompts: Any, beginning: Any, first: Any) -> Any:
        read.extend(prompts)
        return real(self, prompts, beginning, first)

    monkeypatch.setattr(prompt_reader.PromptReader, "read", watched)
    futures = [base.sample(ids(p), 3, params(temperature=1, seed=2)) for p in (PROMPTS[0], PROMPTS[1], PROMPTS[0])]
    first, _, last = ([s.tokens for s in future.result().sequences] for future in futures)
    assert first == last
    assert sorted(read) == sorted(map(tuple, PROMPTS[:2]))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Prompt tokens of each forward pass."""
    real, counts = prompt_reader.PromptReader.read, []

    def watched(self: Any, prompts: Any, beginning: Any, first: Any) -> Any:
        known = beginning[0][0].shape[2] if beginning else 0
        counts.append(sum(len(prompt) - known for prompt in prompts))
        return real(self, prompts, beginning, first)

    monkeypatch.setattr(prompt_reader.PromptReader, "read", watched)
    return counts


def test_a_shared_beginning_is_read_once(base: Any, model: Any, read: list[int]) -> None:
    """As few-shot prompts have it; also for a call that comes later."""
    beginning = some(50, 0)
    prompts = [beginning + some(n, n) for n in (1, 7, 20)]
    futures = [base.sample(ids(p), 1, params()) for p in prompts]
    answers = [future.result().sequences[0].tokens for future in futures]
    assert answers == [greedy_by_hand(model, prompt, 12) for prompt in prompts]
    late = base.sample(ids([*beginning[:45], 3, 5]), 1, params()).result()
    assert late.sequences[0].tokens == greedy_by_hand(model, [*beginning[:45], 3, 5], 12)
    assert read == [50, 1 + 7 + 20, 2] and late.prompt_cache_hit_tokens == 45


@pytest.mark.parametrize("size", [2, 64])
def test_every_beginning_of_any_group_is_read_once(
    open_local: Any, tiny_model: str, model: Any, read: list[int], size: int
) -> None:
    """Solved examples in front of all, three schemas of several questions each, and prompts like no other."""
    shots = some(40, 1)
    schemas = [shots + some(35, 10 + k) for k in range(3)]
    prompts = [schema + some(3 + k, 100 * k + len(schema)) for k in range(4) for schema in schemas]
    prompts += [some(30 + k, 50 + k) for k in range(3)]
    client = open_local(sample_batch_size=size).create_sampling_client(base_model=tiny_model).result()
    futures = [client.sample(ids(p), 2, params(max_tokens=3)) for p in prompts]
    responses = [future.result() for future in futures]
    for prompt, response in zip(prompts, responses, strict=True):
        assert [s.tokens for s in response.sequences] == [greedy_by_hand(model, prompt, 3)] * 2
    distinct = 40 + 3 * 35 + 3 * (3 + 4 + 5 + 6) + 30 + 31 + 32
    # Two at a time, a schema is known to be shared only when its second question comes.
    assert sum(read) == distinct if size == 64 else sum(read) < 0.5 * sum(map(len, prompts))
    hits = sum(response.prompt_cache_hit_tokens for response in responses)
    assert hits + sum(read) == sum(map(len, prompts)) if size == 64 else hits > 0


def test_what_stands_before_the_last_tokens_is_read_once(base: Any, read: list[int]) -> None:
    """Several completions of one context, now and later, score as they do by themselves."""
    context, rest = some(50, 3), [some(n, n) for n in (3, 9, 9, 1)]
    prompts = [[*context, *own] for own in rest]
    whole = [base.compute_logprobs(ids(prompt)).result() for prompt in prompts]
    assert not read
    futures = [base.compute_logprobs(ids(prompt), len(own)) for prompt, own in zip(prompts, rest, strict=True)]
    top = base.sample(
        ids(prompts[0]),
        1,
        params(max_tokens=0),
        include_prompt_logprobs=True,
        topk_prompt_logprobs=2,
        prompt_logprobs_last_n=2,
    )
    for future, own, expected in zip(futures, rest, whole, strict=True):
        found = future.result()
        assert found[: len(context)] == [None] * len(context)
        assert found[len(context) :] == pytest.approx(expected[-len(own) :], abs=1e-4)
    # The last token of the context says what the first of a completion is; the last of that is asked nothing.
    assert sum(read) == 49 + (3 + 9 + 9 + 1) + 1 + 2
    response = top.result()
    assert response.prompt_logprobs[-2:] == pytest.approx(whole[0][-2:], abs=1e-4)
    assert [row is None for row in response.topk_prompt_logprobs] == [True] * 51 + [False] * 2
    late = base.compute_logprobs(ids([*context, 7, 8]), 2).result()
    assert late[-2:] == pytest.approx(base.compute_logprobs(ids([*context, 7, 8])).result()[-2:], abs=1e-4)


def test_beginnings_are_kept_for_the_same_weights_alone(open_local: Any, tiny_model: str, read: list[int]) -> None:
    client = open_local().create_lora_training_client(tiny_model, rank=4, seed=1).result()
    prompt = some(50, 3)

    def hits(sampler: Any, last: int) -> int:
        return int(sampler.sample(ids([*prompt, last]), 1, params(max_tokens=1)).result().prompt_cache_hit_tokens)

    first = client.save_weights_and_get_sampling_client().result()
    assert [hits(first, last) for last in (5, 6, 7)] == [0, 50, 50]
    client.forward_backward(random_datums(3, 600), "cross_entropy").result()
    client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    second = client.save_weights_and_get_sampling_client().result()
    assert [hits(second, 5), hits(second, 6), hits(first, 6), hits(first, 7)] == [0, 50, 0, 50]


def test_the_cache_of_beginnings_keeps_within_its_memory() -> None:
    def layers(length: int) -> Any:
        return [(torch.zeros(1, 2, length, 4), torch.zeros(1, 2, length, 4))]

    each = 2 * 2 * 40 * 4 * 4
    cache = PrefixCache(2 * each)
    names = [tuple(some(40, seed)) for seed in range(3)]
    for name in names[:2]:
        cache.store(name, layers(40))
    # The first is used, so the second goes.
    assert cache.lookup(names[0], 40)[0] == 40
    cache.store(names[2], layers(40))
    assert [cache.lookup(name, 40)[0] for name in names] == [40, 0, 40]
    # Part of a beginning is one, if it is long enough; a longer one takes its place.
    assert cache.lookup((*names[0][:35], 0), 36)[0] == 35 and cache.lookup(names[0][:20], 20)[0] == 0
    cache.store((*names[0], 1), layers(41))
    assert cache.lookup((*names[0], 1, 2), 42)[0] == 41
    # One alone stays, however large.
    cache.store(tuple(some(500, 9)), layers(500))
    assert cache.lookup(tuple(some(500, 9)), 500)[0] == 500 and cache.lookup(names[2], 40)[0] == 0
