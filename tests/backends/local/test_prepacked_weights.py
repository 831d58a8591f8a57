"""Packed weights: what a model computes with them, adapters included, and that nothing of them stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tinker import types
from torch import Tensor
from transformers import AutoModelForCausalLM

from backends.local.model import prepacked_weights
from backends.local.model.frozen_products import freeze_linear_layers
from backends.local.model.fused_llama import fuse
from backends.local.model.prepacked_products import is_supported
from backends.local.model.prepacked_weights import attach_prepacked, detach_prepacked, prepack
from tests.support.datums import random_datums

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
IDS = torch.randint(0, 600, (3, 17), generator=torch.Generator().manual_seed(0))


def adapted(directory: str, modules: list[str], *, fused: bool, narrow: bool = False, **options: Any) -> Any:
    """A model with an adapter that is not zero."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).requires_grad_(False).eval()
    if narrow:
        freeze_linear_layers(model, torch.bfloat16)
    if fused:
        fuse(model)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=12, target_modules=modules, **options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    return model


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("modules", "options"),
    [(ALL, {}), (["q_proj", "up_proj"], {}), (ALL[7:], {}), (ALL, {"use_rslora": True}), (ALL, {"lora_dropout": 0.5})],
    ids=["all", "some of a group", "head", "rslora", "dropout"],
)
def test_same_logits(tiny_model: str, modules: list[str], options: dict[str, Any], fused: bool) -> None:
    model = adapted(tiny_model, modules, fused=fused, **options)
    before = logits(model)
    assert prepack(model)
    # What is packed does not depend on the adapters any more.
    with model.disable_adapter():
        torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)
    detach_prepacked(model)
    assert torch.equal(logits(model), before)


@pytest.mark.skipif(not is_supported(torch.bfloat16), reason="this processor has no packed bfloat16 products")
@pytest.mark.parametrize("fused", [True, False])
def test_a_small_adapter_on_bfloat16_weights_is_not_rounded_away(tiny_model: str, fused: bool) -> None:
    """Added into the weights, changes below half of bfloat16's step would be lost."""
    model = adapted(tiny_model, ALL[:7], fused=fused, narrow=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.02)
        with model.disable_adapter():
            bare = logits(model)
        wanted = logits(model) - bare
        assert prepack(model)
        found = logits(model)
    detach_prepacked(model)
    # The change that the adapter makes, next to the rounding of everything else.
    change = float(torch.nn.functional.cosine_similarity((found - bare).flatten(), wanted.flatten(), dim=0))
    assert change > 0.9 and float(wanted.abs().max()) > 0


def test_gradients_go_through_the_models_own_weights(tiny_model: str) -> None:
    model = adapted(tiny_model, ALL, fused=True)
    assert prepack(model)
    loss = model(input_ids=IDS, use_cache=False).logits.square().sum()
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    detach_prepacked(model)
    loss = model(input_ids=IDS, use_cache=False).logits.square().sum()
    expected = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))


def test_what_it_does_not_know_is_left_alone(tiny_model: str) -> None:
    model = adapted(tiny_model, ALL, fused=True, use_dora=True)
    before = logits(model)
    assert not prepack(model)
    assert torch.equal(logits(model), before)


def test_training_goes_on_bitwise_after_sampling_with_packed_weights(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.local.weights import lora

    packed: list[bool] = []
    monkeypatch.setattr(lora, "prepack", lambda model: packed.append(True) or prepack(model))
    prompt, params = types.ModelInput.from_ints([1, 2, 3]), types.SamplingParams(max_tokens=4, temperature=0)
    ends = []
    for sampling in (False, True):
        client = open_local().create_lora_training_client(tiny_model, rank=4, seed=5).result()
        losses = []
        for seed in range(3):
            losses.append(client.forward_backward(random_datums(5, 600, seed), "cross_entropy").result().metrics)
            client.optim_step(types.AdamParams(learning_rate=1e-2, eps=1e-8)).result()
            if sampling:
                sampler = client.save_weights_and_get_sampling_client().result()
                # Twice of the same weights: they are packed once.
                for _ in range(2):
                    sampler.sample(prompt, 1, params).result()
        ends.append((losses, client.engine.weights.state(client.model_id)))
    assert len(packed) == 3
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(ends[0][1][name], ends[1][1][name]) for name in ends[0][1])


@pytest.mark.parametrize("fused", [True, False])
def test_a_processor_without_such_products_samples_by_the_weights_themselves(
    tiny_model: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepacked_weights, "is_supported", lambda dtype: dtype == torch.float32)
    model = adapted(tiny_model, ALL[:7], fused=fused, narrow=True)
    before = logits(model)
    assert not prepack(model)
    assert torch.equal(logits(model), before)


def test_packed_weights_are_kept_for_the_next_turn(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as may be, whatever is asked in between; the answers are the same, to the bit, kept or packed anew."""
    from backends.local.weights import lora

    packed: list[bool] = []
    monkeypatch.setattr(lora, "prepack", lambda model: packed.append(True) or prepack(model))
    prompt, params = types.ModelInput.from_ints([1, 2, 3]), types.SamplingParams(max_tokens=6, temperature=0)
    found, room = {}, [True]
    for copies in (0, 2):
        client = open_local().create_lora_training_client(tiny_model, rank=4, seed=5).result()
        client.engine.weights.keep_prepacked(copies, lambda: room[0])
        samplers: list[Any] = []
        for seed in range(4):
            client.forward_backward(random_datums(5, 600, seed), "cross_entropy").result()
            client.optim_step(types.AdamParams(learning_rate=1e-2, eps=1e-8)).result()
            samplers.append(client.save_weights_and_get_sampling_client().result())
        packed.clear()
        answers = []
        for turn in range(6):
            sampler = samplers[turn % 2]
            sequence = sampler.sample(prompt, 1, params).result().sequences[0]
            answers.append((sequence.tokens, sequence.logprobs))
            client.forward(random_datums(2, 600), "cross_entropy").result()
        assert len(packed) == (6 if copies == 0 else 2)
        found[copies] = answers
    assert found[0] == found[2] and found[0][:2] == found[0][2:4]
    # Those that were asked least recently make room for others; nothing is kept where memory is short.
    for number, times in ((2, 1), (3, 2), (1, 2), (0, 3)):
        samplers[number].sample(prompt, 1, params).result()
        assert len(packed) == 2 + times, number
    room[0] = False
    client.forward(random_datums(2, 600), "cross_entropy").result()
    samplers[0].sample(prompt, 1, params).result()
    assert len(packed) == 6


def test_a_first_adapter_makes_what_was_packed_unfit(tiny_model: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).requires_grad_(False).eval()
    assert prepack(model)
    kept = detach_prepacked(model)
    adapter = get_peft_model(model, LoraConfig(r=4, target_modules=ALL)).eval()
    before = logits(adapter)
    assert not attach_prepacked(model, kept) and torch.equal(logits(adapter), before)
    adapter.unload()
    assert attach_prepacked(model, kept)
    assert [module for module, _ in detach_prepacked(model)] == [module for module, _ in kept]
