"""Sampling: against a plain loop, and Tinker's rules for stops, seeds, temperatures and log-probabilities."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tinker import types

from backends.local.decode import decoder, growing_cache
from backends.local.prefix_cache import PrefixCache
from tests.support.datums import random_datums
from tests.support.sampling import PROMPTS, greedy_by_hand, ids, params


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_greedy_equals_a_plain_loop(open_local: Any, tiny_model: str, model: Any, batch: int) -> None:
    client = open_local(sample_batch_size=batch).create_sampling_client(base_model=tiny_model).result()
    lengths = [12, 1, 80, 5, 30]
    futures = [client.sample(ids(p), 1, params(max_tokens=n)) for p, n in zip(PROMPTS, lengths, strict=True)]
    for prompt, count, future in zip(PROMPTS, lengths, futures, strict=True):
        sequence = future.result().sequences[0]
        assert sequence.tokens == greedy_by_hand(model, prompt, count)
        assert sequence.stop_reason == "length"


def test_calls_join_a_running_batch(open_local: Any, tiny_model: str, model: Any) -> None:
    """Calls that come while others are decoded share their steps, and give what they give alone."""
    client = open_local(sample_batch_size=3).create_sampling_client(base_model=tiny_model).result()
    real, together = decoder.Decoder.step, []
    late: list[Any] = []

    def watched(self: Any) -> Any:
        together.append(len(self.active))
        if len(together) == 5:
            late.extend(client.sample(ids(p), 1, params(max_tokens=9)) for p in PROMPTS[1:])
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder.Decoder, "step", watched)
        first = client.sample(ids(PROMPTS[0]), 1, params(max_tokens=30)).result()
        answers = [future.result().sequences[0].tokens for future in late]
    assert first.sequences[0].tokens == greedy_by_hand(model, PROMPTS[0], 30)
    assert answers == [greedy_by_hand(model, prompt, 9) for prompt in PROMPTS[1:]]
    assert together[:5] == [1] * 5
    assert max(together) == 3
    assert len(together) < 29 + 4 * 8


@pytest.mark.parametrize("columns", [10_000, 100, 1])
def test_no_more_are_decoded_together_than_memory_is_free_for(
    open_local: Any, tiny_model: str, model: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    config = model.config
    column = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    client = open_local().create_sampling_client(base_model=tiny_model).result()
    real, together = decoder.Decoder.step, []

    def watched(self: Any) -> Any:
        together.append([len(s.request.prompt) + 9 for s in self.active])
        return real(self)

    monkeypatch.setattr(decoder.Decoder, "step", watched)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2 * column * columns))
    futures = [client.sample(ids(p), 1, params(max_tokens=9)) for p in PROMPTS]
    answers = [future.result().sequences[0].tokens for future in futures]
    assert answers == [greedy_by_hand(model, prompt, 9) for prompt in PROMPTS]
    assert all(len(rows) == 1 or len(rows) * max(rows) <= columns for rows in together)
    assert max(map(len, together)) == (5 if columns == 10_000 else 1 if columns == 1 else 3)


def test_other_work_is_not_kept_waiting(open_local: Any, tiny_model: str) -> None:
    """While a job waits for the device, no more calls join the batch that runs."""
    service = open_local()
    client = service.create_sampling_client(base_model=tiny_model).result()
    real, order = decoder.Decoder.step, []

    def watched(self: Any) -> Any:
        if not order:
            order.append("first")
            service._executor.submit(order.append, "other")
            client.sample(ids(PROMPTS[1]), 1, params(max_tokens=1)).future().add_done_callback(
                lambda _: order.append("late")
            )
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder.Decoder, "step", watched)
        client.sample(ids(PROMPTS[0]), 1, params(max_tokens=20)).result()
        service._executor.submit(int).result()
    assert order == ["first", "other", "late"]


def test_no_step_copies_more_than_one_layer_of_the_cache(
    open_local: Any, tiny_model: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of long sequences each is a gigabyte, and others wait for the step; what comes between two changes nothing."""
    client = open_local().create_sampling_client(base_model=tiny_model).result()
    real, copied, most = growing_cache.GrowingLayer.rebuild, 0, 0

    def counted(self: Any, *arguments: Any) -> None:
        nonlocal copied
        copied += 1
        real(self, *arguments)

    monkeypatch.setattr(growing_cache.GrowingLayer, "rebuild", counted)
    lengths = (100, 3, 140)
    calls = [client.call(ids(p), 1, params(max_tokens=n)) for p, n in zip(PROMPTS, lengths, strict=False)]
    work, finished, times = client.sampling_job(calls, lambda room: []), False, 0
    while not finished:
        copied = 0
        finished = work.run_slice(lambda: True).result()
        most, times = max(most, copied), times + copied
    assert most == 1 and times >= 3 * len(model.model.layers)
    for prompt, length, call in zip(PROMPTS, lengths, calls, strict=False):
        assert call.future.result().sequences[0].tokens == greedy_by_hand(model, prompt, length)


def test_a_call_behind_others_is_answered_as_if_alone(open_local: Any, tiny_model: str) -> None:
    """To the bit: in the wider cache of those before, the sums of attention would round in another way."""
    client = open_local(sample_batch_size=1).create_sampling_client(base_model=tiny_model).result()

    def call(prompt: list[int], length: int, stop: list[int]) -> Any:
        return client.call(ids(prompt), 1, params(max_tokens=length, temperature=1, seed=3, stop=stop))

    def last_answer(*calls: Any) -> Any:
        client.sampling_job(calls, lambda room: [], PrefixCache(2**20)).run()
        return calls[-1].future.result().sequences[0]

    ended = last_answer(call(PROMPTS[2], 100, [])).tokens[60]
    for length in (20, 40, 60):
        # The cache of the first one has free columns when it ends.
        behind = last_answer(call(PROMPTS[2], 100, [ended]), call(PROMPTS[0], length, []))
        alone = last_answer(call(PROMPTS[0], length, []))
        assert behind.tokens == alone.tokens and behind.logprobs == alone.logprobs


def test_a_batch_takes_nobody_up_once_all_are_answered(base: Any) -> None:
    """A client that has its answer may ask again before the batch has ended: what that keeps would be shared."""
    calls = [base.call(ids(PROMPTS[0]), 1, params(max_tokens=n)) for n in (1, 4)]
    asked: list[bool] = []
    base.sampling_job(calls, lambda room: asked.append(all(c.future.done() for c in calls)) or []).run()
    assert asked and not any(asked)


def test_scores_do_not_depend_on_the_company(open_local: Any, tiny_model: str) -> None:
    alone = open_local(micro_batch_tokens=1).create_sampling_client(base_model=tiny_model).result()
    together = open_local(micro_batch_tokens=10_000).create_sampling_client(base_model=tiny_model).result()
    futures = [(client.compute_logprobs(ids(p)), p) for client in (alone, together) for p in PROMPTS]
    results = [future.result() for future, _ in futures]
    for (_, prompt), one, other in zip(futures, results, results[len(PROMPTS) :], strict=False):
        assert len(one) == len(prompt)
        assert one[1:] == pytest.approx(other[1:], abs=1e-5)


def test_merged_adapter_samples_what_was_trained(open_local: Any, tiny_model: str) -> None:
    """The weights are merged to sample, and the base is bit for bit itself again afterwards."""
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    base = service.create_sampling_client(base_model=tiny_model).result()
    before = base.compute_logprobs(ids(PROMPTS[2])).result()
    for _ in range(3):
        client.forward_backward(random_datums(6, 600), "cross_entropy")
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    sampler = client.save_weights_and_get_sampling_client().result()
    prompt = PROMPTS[2]
    datum = types.Datum(ids(prompt[:-1]), {"target_tokens": types.TensorData.from_numpy(np.asarray(prompt[1:]))})
    trained = client.forward([datum], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].tolist()
    assert sampler.compute_logprobs(ids(prompt)).result()[1:] == pytest.approx(trained, abs=1e-5)
    assert trained != pytest.approx(before[1:], abs=1e-2)
    assert base.compute_logprobs(ids(prompt)).result() == before


def test_snapshot_does_not_follow_training(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    sampler = client.save_weights_and_get_sampling_client().result()
    saved = service.create_sampling_client(model_path=client.save_weights_for_sampler("a").result().path).result()
    before = sampler.compute_logprobs(ids(PROMPTS[1])).result()
    client.forward_backward(random_datums(6, 600), "cross_entropy")
    client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    after = client.save_weights_and_get_sampling_client().result().compute_logprobs(ids(PROMPTS[1])).result()
    assert sampler.compute_logprobs(ids(PROMPTS[1])).result() == before
    assert saved.compute_logprobs(ids(PROMPTS[1])).result() == pytest.approx(before, nan_ok=True)
    assert after[1:] != pytest.approx(before[1:], abs=1e-3)


def test_stop_token_ends_and_is_kept(base: Any, model: Any) -> None:
    greedy = greedy_by_hand(model, PROMPTS[0], 12)
    stop = greedy[4]
    sequence = base.sample(ids(PROMPTS[0]), 1, params(stop=[stop])).result().sequences[0]
    assert sequence.tokens == greedy[: greedy.index(stop) + 1]
    assert sequence.stop_reason == "stop"


def test_stop_string_ends_and_is_kept(base: Any, model: Any) -> None:
    """Also a string that begins and ends inside tokens."""
    greedy = greedy_by_hand(model, PROMPTS[0], 12)
    text = base.get_tokenizer().decode(greedy)
    stop = next(text[i : i + 3] for i in range(3, len(text)) if text[i : i + 3].isascii() and text[i].isprintable())
    sequence = base.sample(ids(PROMPTS[0]), 1, params(stop=[stop])).result().sequences[0]
    assert sequence.stop_reason == "stop"
    assert sequence.tokens == greedy[: len(sequence.tokens)]
    assert stop in base.get_tokenizer().decode(sequence.tokens)
    assert stop not in base.get_tokenizer().decode(sequence.tokens[:-1])


def test_end_of_sequence_stops_unless_stops_are_off(open_local: Any, tiny_model: str, model: Any) -> None:
    client = open_local().create_sampling_client(base_model=tiny_model).result()
    client.get_tokenizer().eos_token_id = greedy_by_hand(model, PROMPTS[0], 3)[2]
    lengths = [len(client.sample(ids(PROMPTS[0]), 1, params(stop=s)).result().sequences[0].tokens) for s in (None, [])]
    assert lengths[0] <= 3
    assert lengths[1] == 12


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_logprobs_are_of_the_scaled_distribution(base: Any, model: Any, temperature: float) -> None:
    sequence = base.sample(ids(PROMPTS[0]), 1, params(temperature=temperature, seed=4)).result().sequences[0]
    tokens = [*PROMPTS[0], *sequence.tokens]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, len(PROMPTS[0]) - 1 : -1]
    scaled = torch.log_softmax(logits / temperature, -1).gather(1, torch.tensor(sequence.tokens)[:, None])[:, 0]
    assert sequence.logprobs == pytest.approx(scaled.tolist(), abs=1e-4)


def test_seed_decides_whatever_the_company(base: Any) -> None:
    wanted = params(temperature=1, seed=8)
    alone = base.sample(ids(PROMPTS[1]), 2, wanted).result()
    others = [base.sample(ids(p), 1, params(temperature=1)) for p in PROMPTS]
    together = base.sample(ids(PROMPTS[1]), 2, wanted).result()
    assert [s.tokens for s in alone.sequences] == [s.tokens for s in together.sequences]
    assert alone.sequences[0].tokens != alone.sequences[1].tokens
    assert len({tuple(f.result().sequences[0].tokens) for f in others}) == len(PROMPTS)


def test_frequencies_follow_the_distribution(base: Any, model: Any) -> None:
    """First tokens of many samples against the model's probabilities, within five standard errors."""
    count, temperature = 600, 0.6
    response = base.sample(ids([100]), count, params(max_tokens=1, temperature=temperature, seed=1)).result()
    drawn = Counter(s.tokens[0] for s in response.sequences)
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([[100]])).logits[0, -1] / temperature, -1)
    for token in p.topk(5).indices.tolist():
        expected = count * float(p[token])
        assert abs(drawn[token] - expected) <= 5 * math.sqrt(expected) + 1


def test_a_draw_inverts_the_cumulative_distribution(base: Any, model: Any) -> None:
    """The token at which probabilities added up one by one first exceed the number that the seed gives."""
    response = base.sample(ids([100]), 200, params(max_tokens=1, temperature=2.5, seed=7)).result()
    with torch.no_grad():
        sums = torch.softmax(model(torch.tensor([[100]])).logits[0, -1].double() / 2.5, -1).cumsum(0)
    streams = [torch.Generator().manual_seed(7 * 1_000_003 + k) for k in range(200)]
    uniform = torch.stack([torch.rand((), generator=stream, dtype=torch.float64) for stream in streams])
    expected = torch.searchsorted(sums, uniform, right=True).tolist()
    # Float32 logits of another batch move the boundaries by a millionth of the whole.
    assert sum(s.tokens[0] != token for s, token in zip(response.sequences, expected, strict=True)) <= 1


def test_top_k_and_top_p_keep_the_likeliest(base: Any, model: Any) -> None:
    with torch.no_grad():
        order = model(torch.tensor([[100]])).logits[0, -1].argsort(descending=True).tolist()
    hot = {"max_tokens": 1, "temperature": 3.0, "seed": 0}
    top3 = base.sample(ids([100]), 100, params(**hot, top_k=3)).result()
    assert {s.tokens[0] for s in top3.sequences} == set(order[:3])
    nucleus = base.sample(ids([100]), 20, params(**hot, top_p=1e-6)).result()
    assert {s.tokens[0] for s in nucleus.sequences} == {order[0]}


def test_prompt_logprobs_and_the_likeliest(base: Any, model: Any) -> None:
    prompt = PROMPTS[2]
    response = base.sample(ids(prompt), 1, params(), include_prompt_logprobs=True, topk_prompt_logprobs=4).result()
    with torch.no_grad():
        lp = torch.log_softmax(model(torch.tensor([prompt])).logits[0], -1)
    expected = [float(lp[i, t]) for i, t in enumerate(prompt[1:])]
    assert response.prompt_logprobs[0] is None
    assert response.prompt_logprobs[1:] == pytest.approx(expected, abs=1e-4)
    assert response.topk_prompt_logprobs[0] is None
    assert [t for t, _ in response.topk_prompt_logprobs[1]] == lp[0].topk(4).indices.tolist()


def test_futures_can_be_awaited_together(base: Any) -> None:
    async def gather() -> list[Any]:
        return await asyncio.gather(*(base.sample(ids(p), 1, params()).coroutine() for p in PROMPTS))

    assert [len(r.sequences[0].tokens) for r in asyncio.run(gather())] == [12] * len(PROMPTS)


def test_a_call_nobody_waits_for_is_answered_too(base: Any) -> None:
    done = base.sample(ids(PROMPTS[0]), 1, params())._future
    assert done.result(timeout=30).sequences


@pytest.mark.parametrize(
    ("prompt", "values", "message"),
    [
        ([], {}, "0 tokens"),
        ([1] * 512, {}, "512 tokens"),
        ([600], {}, "outside 0..599"),
        ([1], {"temperature": -1}, "temperature"),
        ([1], {"top_p": 0}, "top_p"),
        ([1], {"max_tokens": -5}, "max_tokens is -5"),
        ([1], {"max_tokens": 0}, "max_tokens is 0, which asks for nothing"),
        ([-1], {}, "outside 0..599"),
        ([1, 2**70], {}, "outside 0..599"),
        ([1], {"temperature": float("nan")}, "temperature is nan"),
        ([1], {"temperature": float("inf")}, "temperature is inf"),
        ([1], {"top_p": 1.5}, "top_p is 1.5"),
        ([1], {"top_p": float("nan")}, "top_p is nan"),
        ([1], {"top_k": -2}, "top_k is -2; it must be 1 or more, or -1"),
        ([1], {"seed": -1}, "seed is -1"),
        ([1], {"seed": 2**70}, f"seed is {2**70}"),
        ([1], {"stop": [5, -1]}, "stop has the token id -1; the model's are 0 to 599"),
        ([1], {"stop": [600]}, "stop has the token id 600"),
        ([1], {"stop": ["a", ""]}, "stop text is empty"),
    ],
)
def test_bad_requests_are_refused(base: Any, prompt: list[int], values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        base.sample(ids(prompt), 1, params(**values))


def test_a_sample_is_at_least_one(base: Any) -> None:
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"num_samples is {number}"):
            base.sample(ids([1]), number, params())


def test_answers_stop_at_the_models_length(base: Any) -> None:
    sequence = base.sample(ids([1] * 500), 1, params(max_tokens=100)).result().sequences[0]
    assert len(sequence.tokens) == 12


def test_a_stream_has_the_tokens_of_the_sample_and_its_neighbours_keep_theirs(base: Any) -> None:
    alone = [base.sample(ids(prompt), 1, params()).result().sequences[0].tokens for prompt in PROMPTS[:3]]
    busy = base.sample(ids(PROMPTS[1]), 1, params())
    assert list(base.stream(ids(PROMPTS[0]), params())) == alone[0]
    assert busy.result().sequences[0].tokens == alone[1]
    heard: list[int] = []
    listening = base.sample_with_callback(ids(PROMPTS[2]), params(), heard.append)
    assert listening.result().sequences[0].tokens == heard == alone[2]
    with pytest.raises(ValueError, match="prompt has 0 tokens"):
        next(base.stream(ids([]), params()))


def test_tokens_are_told_once_although_memory_runs_out(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = open_local().create_sampling_client(base_model=tiny_model).result()
    expected = sampler.sample(ids(PROMPTS[0]), 1, params(temperature=1, seed=3)).result().sequences[0].tokens
    step, steps = decoder.Decoder.step, 0

    def failing(self: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self)

    monkeypatch.setattr(decoder.Decoder, "step", failing)
    neighbour = sampler.sample(ids(PROMPTS[1]), 1, params())
    assert list(sampler.stream(ids(PROMPTS[0]), params(temperature=1, seed=3))) == expected
    assert len(neighbour.result().sequences[0].tokens) == 12


def test_cancelling_stops_a_running_call_between_two_tokens(base: Any) -> None:
    """The device is free again, the neighbour has its own tokens, and what still waited is never begun."""
    alone = base.sample(ids(PROMPTS[0]), 1, params(max_tokens=40)).result().sequences[0].tokens
    heard: list[int] = []
    begun = threading.Event()
    endless = base.sample_with_callback(
        ids(PROMPTS[1]), params(max_tokens=400), lambda t: (heard.append(t), begun.set())
    )
    neighbour = base.sample(ids(PROMPTS[0]), 1, params(max_tokens=40))
    endless.future()
    assert begun.wait(20)
    assert endless.future().cancel()
    assert neighbour.result().sequences[0].tokens == alone
    assert len(heard) < 400
    # Whoever waits gets an answer.
    assert concurrent.futures.wait([endless.future()], timeout=5).done
    count = len(heard)
    assert base.sample(ids(PROMPTS[0]), 1, params(max_tokens=40)).result().sequences[0].tokens == alone
    assert len(heard) == count
    for token in base.stream(ids(PROMPTS[1]), params(max_tokens=400)):
        assert token == heard[0]
        break


def test_a_listener_that_fails_fails_its_call_alone(base: Any) -> None:
    def deaf(token: int) -> None:
        raise OSError("the line is dead")

    call, neighbour = (
        base.sample_with_callback(ids(PROMPTS[0]), params(), deaf),
        base.sample(ids(PROMPTS[1]), 1, params()),
    )
    with pytest.raises(OSError, match="the line is dead"):
        call.result()
    assert len(neighbour.result().sequences[0].tokens) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], 1, params()), "prompt has an input of type list"),
        ((ids([1]), 1, None), "sampling_params is a NoneType"),
        ((ids([1]), 1.5, params()), "num_samples is 1.5; it must be a whole number"),
        ((ids([1]), True, params()), "num_samples is True"),
        ((ids([1]), 1, params(), True, 1.5), "topk_prompt_logprobs is 1.5"),
        ((ids([1]), 1, params(), True, 0, 1.5), "topk_sample_logprobs is 1.5"),
        ((ids([1]), 1, params(), True, 0, 0, [1]), "target_prompt_logprobs is a list"),
    ],
)
def test_a_call_of_other_types_is_refused_before_it_joins_others(base: Any, arguments: Any, message: str) -> None:
    busy = base.sample(ids(PROMPTS[1]), 1, params())
    with pytest.raises(ValueError, match=message):
        base.sample(*arguments)
    assert busy.result().sequences
