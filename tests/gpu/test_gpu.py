"""What only a GPU can show: NF4 kernels, autocast, flash attention, paged optimisers, real out-of-memory errors.

References are the same calls in float32 on the CPU, with the tolerance of the format that is compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tinker import types

from tests.support.datums import cross_entropy_datum, random_datums

pytestmark = pytest.mark.gpu

DATA = random_datums(8, 600)
ADAM = types.AdamParams(learning_rate=1e-2, eps=1e-8)


def train(service: Any, model: str, steps: int = 3) -> tuple[list[float], Any]:
    client = service.create_lora_training_client(model, rank=4, seed=5).result()
    losses = []
    for _ in range(steps):
        output = client.forward_backward(DATA, "cross_entropy")
        client.optim_step(ADAM).result()
        losses.append(output.result().metrics["loss:sum"])
    return losses, client


@pytest.fixture
def expected(open_local: Any, tiny_model: str) -> list[float]:
    return train(open_local(dtype="float32"), tiny_model)[0]


def test_float32_trains_as_on_the_cpu(open_gpu: Any, tiny_model: str, expected: list[float]) -> None:
    assert train(open_gpu(dtype="float32"), tiny_model)[0] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-4), ("bfloat16", 3e-2)])
def test_shared_beginnings_change_nothing(open_gpu: Any, tiny_model: str, dtype: str, close: float) -> None:
    """By one mask over all tokens; there is no automatic choice of it on a GPU."""
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 600, 60)
    data = [
        cross_entropy_datum(np.concatenate([prompt, rng.integers(0, 600, n)]), np.r_[np.zeros(55), np.ones(n + 4)])
        for n in (3, 20, 9)
    ]
    found = []
    for shared in (True, False, "auto"):
        client = open_gpu(dtype=dtype, share_prefixes=shared).create_lora_training_client(tiny_model, rank=4).result()
        assert client.engine.base.sharing is (shared is True)
        found.append(client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
    assert found[0] == pytest.approx(found[1], rel=close)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_follows_float32(open_gpu: Any, tiny_model: str, expected: list[float], dtype: str) -> None:
    losses, client = train(open_gpu(dtype=dtype), tiny_model)
    assert losses == pytest.approx(expected, rel=3e-2)
    assert all(p.dtype == torch.float32 for p in client.engine.weights.parameters(client.model_id).values())


def test_nf4_equals_its_dequantised_weights(open_gpu: Any, open_local: Any, tiny_model: str) -> None:
    """The quantised base on the GPU against the same weights, dequantised, in plain float32."""
    pytest.importorskip("bitsandbytes")
    import bitsandbytes as bnb
    from transformers import AutoModelForCausalLM

    service = open_gpu(quantization="nf4", dtype="bfloat16")
    client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    found = client.forward(DATA, "cross_entropy").result().metrics["loss:sum"]
    reference = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    quantised = {
        name.removesuffix(".base_layer"): module
        for name, module in client.engine.base.model.named_modules()
        if isinstance(module, bnb.nn.Linear4bit)
    }
    assert quantised
    with torch.no_grad():
        for name, module in quantised.items():
            weight: Any = module.weight
            full = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
            reference.get_submodule(name).weight.copy_(full.float())
        total = 0.0
        for datum in DATA:
            logits = reference(torch.tensor([datum.model_input.to_ints()])).logits[0]
            targets = datum.loss_fn_inputs["target_tokens"].to_torch().long()
            lp = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
            total -= float((lp * datum.loss_fn_inputs["weights"].to_torch()).sum())
    assert found == pytest.approx(total, rel=2e-2)


def test_nf4_trains(open_gpu: Any, tiny_model: str) -> None:
    pytest.importorskip("bitsandbytes")
    losses, _ = train(open_gpu(quantization="nf4", dtype="bfloat16"), tiny_model, steps=8)
    assert losses[-1] < losses[0]


def test_flash_attention_equals_sdpa(open_gpu: Any, tiny_model: str) -> None:
    pytest.importorskip("flash_attn")
    losses = [
        train(open_gpu(dtype="bfloat16", attention=attention), tiny_model)[0]
        for attention in ("sdpa", "flash_attention_2")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_paged_optimiser_trains_and_goes_on(open_gpu: Any, tiny_model: str) -> None:
    """Of a rank at which the moments are in 8 bits (from 4,096 numbers on) and some are paged (from 100,000 on)."""
    pytest.importorskip("bitsandbytes")
    service = open_gpu(dtype="bfloat16", optimizer="paged_adamw_8bit")
    client = service.create_lora_training_client(tiny_model, rank=256, seed=5).result()

    def step(trained: Any) -> float:
        output = trained.forward_backward(DATA, "cross_entropy")
        trained.optim_step(types.AdamParams(learning_rate=1e-3, eps=1e-8)).result()
        return output.result().metrics["loss:sum"]

    losses = [step(client) for _ in range(4)]
    moments = [state["state1"] for state in client._state._optimizer._adamw.state.values()]
    assert any(getattr(moment, "is_paged", False) for moment in moments)
    assert any(moment.dtype == torch.uint8 for moment in moments)
    path = client.save_state("half").result().path
    losses += [step(client) for _ in range(4)]
    assert losses[-1] < losses[0]
    again = open_gpu(dtype="bfloat16", optimizer="paged_adamw_8bit")
    resumed = again.create_training_client_from_state_with_optimizer(path).result()
    assert [step(resumed) for _ in range(4)] == pytest.approx(losses[4:], rel=1e-2)


def test_decoding_equals_the_cpu(open_gpu: Any, open_local: Any, tiny_model: str) -> None:
    params = types.SamplingParams(max_tokens=16, temperature=0, stop=[])
    answers = []
    for service in (open_gpu(dtype="float32"), open_local(dtype="float32")):
        sampler = service.create_sampling_client(base_model=tiny_model).result()
        futures = [sampler.sample(types.ModelInput.from_ints(list(range(5, 5 + n))), 1, params) for n in (3, 40, 11)]
        answers.append([future.result().sequences[0].tokens for future in futures])
    assert answers[0] == answers[1]


def test_out_of_memory_halves_the_micro_batch(open_gpu: Any, tiny_model: str) -> None:
    """A real one: the process may take half of what the whole batch needs at once."""
    # Hundreds of megabytes, many of the allocator's segments.
    data = random_datums(64, 600, longest=500)
    service = open_gpu(dtype="float32", micro_batch_tokens=1_000_000)
    client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    # The first step lets cuBLAS take its workspace and Adam its moments.
    client.forward_backward(data[:1], "cross_entropy").result()
    client.optim_step(types.AdamParams(learning_rate=0.0)).result()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    whole = client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"]
    norm = client.optim_step(types.AdamParams(learning_rate=0.0)).result().metrics["grad_norm:mean"]
    total, peak = torch.cuda.get_device_properties(0).total_memory, torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction((before + (peak - before) / 2) / total)
        parts = client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    # It did not fit at once.
    assert client.engine.micro_batch_tokens < 64 * 500
    assert parts == pytest.approx(whole, rel=1e-4)
    step = client.optim_step(types.AdamParams(learning_rate=0.0)).result()
    assert step.metrics["grad_norm:mean"] == pytest.approx(norm, rel=1e-3)


def test_smaller_micro_batches_take_less_memory(open_gpu: Any, tiny_model: str) -> None:
    data, taken = random_datums(64, 600, longest=500), []
    for tokens in (1_000_000, 1_000):
        service = open_gpu(dtype="float32", micro_batch_tokens=tokens)
        client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
        client.forward_backward(data[:1], "cross_entropy").result()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        client.forward_backward(data, "cross_entropy").result()
        taken.append(torch.cuda.max_memory_allocated() - before)
        service.close()
        del client
    assert taken[1] < 0.3 * taken[0]


def test_recomputation_takes_less_memory_and_gives_the_same(open_gpu: Any, tiny_model: str) -> None:
    data, taken, losses = random_datums(64, 600, longest=500), [], []
    for recompute in ("off", "on"):
        service = open_gpu(dtype="bfloat16", micro_batch_tokens=1_000_000, gradient_checkpointing=recompute)
        client = service.create_lora_training_client(tiny_model, rank=4, seed=5, train_unembed=False).result()
        client.forward_backward(data[:1], "cross_entropy").result()
        client.optim_step(ADAM).result()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        losses.append(client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
        taken.append(torch.cuda.max_memory_allocated() - before)
        service.close()
        del client
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert taken[1] < taken[0]


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_whole_life_of_a_client(open_gpu: Any, tiny_model: str, quantization: str) -> None:
    """Trained, sampled, off the device and back, saved, restored: the same numbers as without all that."""
    if quantization != "none":
        pytest.importorskip("bitsandbytes")
    params = types.SamplingParams(max_tokens=12, temperature=1.0, seed=3, top_p=0.9, stop=[])

    def step(client: Any) -> float:
        output = client.forward_backward(DATA, "cross_entropy")
        client.optim_step(ADAM).result()
        return output.result().metrics["loss:sum"]

    straight, _ = train(open_gpu(dtype="bfloat16", quantization=quantization), tiny_model, steps=5)
    service = open_gpu(dtype="bfloat16", quantization=quantization)
    client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    other = service.create_lora_training_client(tiny_model, rank=8, seed=6).result()
    losses = []
    for turn in range(3):
        losses.append(step(client))
        step(other)
        sampler = client.save_weights_and_get_sampling_client().result()
        asked = sampler.sample(types.ModelInput.from_ints([5, 6, 7]), 2, params, True, 2, 2).result()
        assert [len(sequence.tokens) for sequence in asked.sequences] == [12, 12]
        if turn == 1:
            client.attach_state(client.detach_state().result()).result()
    path = client.save_state("third").result().path
    again = open_gpu(dtype="bfloat16", quantization=quantization)
    resumed = again.create_training_client_from_state_with_optimizer(path).result()
    losses += [step(resumed), step(resumed)]
    assert losses == pytest.approx(straight, rel=1e-3)


@pytest.mark.parametrize("options", [{"neftune_alpha": 5.0}, {"lora_dropout": 0.1}, {"dora": True}])
def test_options_run_on_the_gpu(open_gpu: Any, tiny_model: str, options: dict[str, Any]) -> None:
    losses, _ = train(open_gpu(dtype="bfloat16", **options), tiny_model, steps=8)
    assert losses[-1] < losses[0]


def test_the_second_gpu_is_as_good(open_gpu: Any, tiny_model: str, expected: list[float]) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    losses, client = train(open_gpu(dtype="float32", device="cuda:1"), tiny_model)
    assert losses == pytest.approx(expected, rel=2e-3)
    assert {p.device for p in client.engine.base.model.parameters()} == {torch.device("cuda:1")}
