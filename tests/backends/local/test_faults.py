"""What goes wrong on the device: memory runs out, gradients overflow, calls are cancelled, the backend is closed."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tinker
import torch
from tinker import types

from backends.local.decode import decoder
from backends.local.step import forward_backward
from tests.support.datums import random_datums

ADAM = types.AdamParams(learning_rate=1e-2)
PARAMS = types.SamplingParams(max_tokens=4, temperature=0, stop=[])


def ids(*tokens: int) -> types.ModelInput:
    return types.ModelInput.from_ints(list(tokens))


@pytest.fixture
def client(open_local: Any, tiny_model: str) -> Any:
    return open_local(micro_batch_tokens=10_000).create_lora_training_client(tiny_model, rank=4, seed=0).result()


def out_of_memory_unless(fits: Callable[[Any, Any], bool], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let forward passes fail unless `fits(model, batch)`; returns the list of the row counts that were tried."""
    real, tried = forward_backward.run_micro_batch, []

    def limited(engine: Any, model: Any, parameters: Any, batch: Any, *rest: Any) -> Any:
        tried.append(len(batch.rows))
        if not fits(model, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(engine, model, parameters, batch, *rest)

    monkeypatch.setattr(forward_backward, "run_micro_batch", limited)
    return tried


def test_halved_micro_batches_give_the_same_step(client: Any, open_local: Any, tiny_model: str) -> None:
    data = random_datums(8, 600)
    whole = client.forward_backward(data, "cross_entropy").result()
    norm = client.optim_step(ADAM).result().metrics["grad_norm:mean"]
    with pytest.MonkeyPatch.context() as patch:
        tried = out_of_memory_unless(lambda model, batch: len(batch.rows) <= 3, patch)
        small = open_local(micro_batch_tokens=10_000).create_lora_training_client(tiny_model, rank=4, seed=0).result()
        parts = small.forward_backward(data, "cross_entropy").result()
    assert tried[0] == 8 > tried[1] and tried[-1] <= 3
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-5)
    assert small.optim_step(ADAM).result().metrics["grad_norm:mean"] == pytest.approx(norm, rel=1e-4)


def test_what_did_not_fit_is_not_tried_again(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = out_of_memory_unless(lambda model, batch: batch.tokens.numel() <= 100, monkeypatch)
    for step in range(3):
        client.forward_backward(random_datums(8, 600, seed=step), "cross_entropy")
        client.optim_step(ADAM).result()
    assert tried[0] == 8
    assert 8 not in tried[1:]
    assert client.engine.micro_batch_tokens <= 100


def test_the_longest_micro_batch_runs_first(open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []

    def watch(model: Any, batch: Any) -> bool:
        widths.append(max(len(row.tokens) for row in batch.rows))
        return True

    out_of_memory_unless(watch, monkeypatch)
    small = open_local(micro_batch_tokens=64).create_lora_training_client(tiny_model, rank=4, seed=0).result()
    small.forward_backward(random_datums(12, 600), "cross_entropy").result()
    assert len(widths) > 3
    assert widths == sorted(widths, reverse=True)


def test_activations_are_recomputed_when_one_row_does_not_fit(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_unless(lambda model, batch: model.training, monkeypatch)
    assert client.forward_backward(random_datums(3, 600), "cross_entropy").result()


def test_one_row_too_many_says_what_to_do(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_unless(lambda model, batch: False, monkeypatch)
    with pytest.raises(tinker.RequestFailedError, match=r"one sequence of \d+ tokens.*nf4"):
        client.forward_backward(random_datums(3, 600), "cross_entropy").result()
    monkeypatch.undo()
    # Nothing of the failed call was kept.
    with pytest.raises(ValueError, match="no gradient"):
        client.optim_step(ADAM).result()


def test_what_did_not_fit_is_let_go_before_the_next_try(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No frame of the error, and nothing else, keeps the activations of a failed pass while the smaller one runs."""
    real, logits, alive = forward_backward.target_logprobs, [], []

    def failing_at_first(found: torch.Tensor, *others: Any) -> torch.Tensor:
        alive.append(sum(kept() is not None for kept in logits))
        logits.append(weakref.ref(found))
        if len(logits) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(found, *others)

    monkeypatch.setattr(forward_backward, "target_logprobs", failing_at_first)
    # It must go at once, not when garbage is next collected.
    gc.disable()
    try:
        client.forward_backward(random_datums(8, 600), "cross_entropy").result()
    finally:
        gc.enable()
    assert len(alive) > 2
    assert not any(alive)


def test_sampling_halves_its_batches(open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = open_local().create_sampling_client(base_model=tiny_model).result()
    prompts = [ids(*range(3, 3 + n)) for n in range(2, 9)]
    expected = [f.result().sequences[0].tokens for f in [sampler.sample(p, 1, PARAMS) for p in prompts]]
    real, tried, decoders = decoder.Decoder.step, [], []

    def limited(self: Any) -> Any:
        tried.append(len(self.active))
        if all(kept() is not self for kept in decoders):
            # A failed one's keys and values are gone.
            assert not any(kept() for kept in decoders)
            decoders.append(weakref.ref(self))
        if len(self.active) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self)

    monkeypatch.setattr(decoder.Decoder, "step", limited)
    assert [f.result().sequences[0].tokens for f in [sampler.sample(p, 1, PARAMS) for p in prompts]] == expected
    assert tried[:2] == [7, 3]
    assert len(decoders) == 3
    assert max(tried[2:]) == 1


def test_float16_gradients_do_not_underflow(open_local: Any, tiny_model: str) -> None:
    """Weights as small as 1/N of a large batch; the direction must be that of float32."""
    steps = []
    for dtype in ("float32", "float16"):
        client = open_local(dtype=dtype).create_lora_training_client(tiny_model, rank=4, seed=0).result()
        data = [
            types.Datum(
                datum.model_input,
                {
                    "target_tokens": datum.loss_fn_inputs["target_tokens"],
                    "weights": types.TensorData.from_numpy(datum.loss_fn_inputs["weights"].to_numpy() / 100_000),
                },
            )
            for datum in random_datums(6, 600)
        ]
        client.forward_backward(data, "cross_entropy").result()
        steps.append(torch.cat([gradient.flatten() for gradient in client.detach_state().result().gradients]))
    assert torch.nn.functional.cosine_similarity(*steps, dim=0) > 0.99
    assert steps[1].norm() == pytest.approx(float(steps[0].norm()), rel=0.05)


def test_float16_overflow_lowers_the_scale(open_local: Any, tiny_model: str) -> None:
    client = open_local(dtype="float16").create_lora_training_client(tiny_model, rank=4, seed=0).result()
    client.engine.loss_scale.value = 2.0**40
    client.forward_backward(random_datums(3, 600), "cross_entropy").result()
    assert client.engine.loss_scale.value < 2.0**40
    assert np.isfinite(client.optim_step(ADAM).result().metrics["grad_norm:mean"])


@pytest.mark.parametrize("packed", [True, False])
def test_a_failed_merge_leaves_the_base_as_it_was(client: Any, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    from peft.tuners.lora import Linear

    from backends.local.model import prepacked_products

    client.forward_backward(random_datums(3, 600), "cross_entropy")
    client.optim_step(ADAM).result()
    weights = {n: p.clone() for n, p in client.engine.base.model.named_parameters() if "lora" not in n}
    sampler = client.save_weights_and_get_sampling_client().result()
    # Elsewhere than on a CPU, adapters are merged.
    client.engine.weights._can_prepack = packed
    owner, name = (prepacked_products, "_merged") if packed else (Linear, "get_delta_weight")
    real, calls = getattr(owner, name), []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments)

    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(tinker.RequestFailedError, match="out of memory"):
        sampler.sample(ids(1, 2), 1, PARAMS).result()
    monkeypatch.undo()
    now = dict(client.engine.base.model.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in weights.items())
    assert sampler.sample(ids(1, 2), 1, PARAMS).result()


def test_a_cancelled_call_does_not_harm_its_neighbours(open_local: Any, tiny_model: str) -> None:
    sampler = open_local().create_sampling_client(base_model=tiny_model).result()

    async def race() -> Any:
        # Keep the device busy.
        sampler._engine.executor.submit(threading.Event().wait, 1.0)
        hurried, patient = sampler.sample(ids(1, 2), 1, PARAMS), sampler.sample(ids(3, 4), 1, PARAMS)
        with pytest.raises(TimeoutError):
            await hurried.result_async(timeout=0.1)
        return await patient

    assert asyncio.run(race()).sequences


def test_closing_answers_everybody_who_waits(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    sampler = service.create_sampling_client(base_model=tiny_model).result()
    service._executor.submit(threading.Event().wait, 0.5)
    waiting = [sampler.sample(ids(1, 2), 1, PARAMS) for _ in range(3)]
    service.close()
    for future in waiting:
        with pytest.raises(tinker.TinkerError, match="closed"):
            future.result(timeout=10)
    for _ in range(2):
        with pytest.raises(tinker.TinkerError, match="closed"):
            sampler.sample(ids(1, 2), 1, PARAMS)


def test_waiting_inside_a_loss_function_is_refused(client: Any) -> None:
    data = random_datums(2, 600)

    def nested(data: Any, logprobs: Any) -> Any:
        return client.forward(data, "cross_entropy").result()

    with pytest.raises(tinker.RequestFailedError, match="cannot be waited for"):
        client.forward_backward_custom(data, nested).result()


def test_clients_that_nobody_holds_are_forgotten(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    kept = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    data = random_datums(2, 600)
    for seed in range(3):
        passing = service.create_lora_training_client(tiny_model, rank=2, seed=seed).result()
        passing.forward_backward(data, "cross_entropy").result()
    del passing
    gc.collect()
    service._executor.submit(int).result()
    assert list(kept.engine.weights._specs) == [kept.model_id]
    assert kept.forward_backward(data, "cross_entropy").result()
    assert kept.optim_step(ADAM).result()


def test_a_client_that_is_collected_in_the_middle_of_a_submission_locks_nothing(
    open_local: Any, tiny_model: str
) -> None:
    service = open_local()
    kept = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    passing = service.create_lora_training_client(tiny_model, rank=2, seed=1).result()
    # A submission holds it, and it cannot be taken twice.
    with service._executor._pool._shutdown_lock:
        del passing
        gc.collect()
    service._executor.submit(int).result(timeout=30)
    assert list(kept.engine.weights._specs) == [kept.model_id]


def test_a_model_is_bare_again_after_its_last_client(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    base = service.create_sampling_client(base_model=tiny_model).result()
    before = base.compute_logprobs(ids(1, 2, 3)).result()
    data, losses = random_datums(2, 600), []
    for _ in range(2):
        passing = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
        passing.forward_backward(data, "cross_entropy")
        passing.optim_step(ADAM)
        losses.append(passing.forward(data, "cross_entropy").result().metrics["loss:sum"])
        del passing
        gc.collect()
        assert base.compute_logprobs(ids(1, 2, 3)).result() == before
    assert losses[0] == losses[1]


def test_thresholds_do_not_depend_on_the_company(client: Any) -> None:
    rng = np.random.default_rng(0)

    def datum(**extra: np.ndarray) -> types.Datum:
        inputs = {
            "target_tokens": rng.integers(0, 600, 9),
            "logprobs": rng.normal(-6, 1, 9).astype(np.float32),
            "advantages": np.ones(9, np.float32),
            **extra,
        }
        arrays = {name: types.TensorData.from_numpy(array) for name, array in inputs.items()}
        return types.Datum(ids(*rng.integers(0, 600, 9).tolist()), arrays)

    plain, own = datum(), datum(clip_high_threshold=np.full(9, 1e6, np.float32))

    def loss(*data: types.Datum) -> float:
        return client.forward(list(data), "ppo").result().metrics["loss:sum"]

    assert loss(plain, own) == pytest.approx(loss(plain) + loss(own), rel=1e-5)
