"""The fused forward and backward passes against transformers' and PEFT's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from backends.local.model import fused_llama, fused_lora
from backends.local.step import forward_backward
from tests.support.datums import random_datums

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
IDS = torch.randint(0, 600, (3, 17), generator=torch.Generator().manual_seed(0))


def adapted(directory: str, modules: list[str], **options: Any) -> Any:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).requires_grad_(False)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=12, target_modules=modules, **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    return model


def logits_and_gradients(model: Any, **inputs: Any) -> tuple[Tensor, list[Tensor]]:
    logits = model(input_ids=IDS, use_cache=False, **inputs).logits
    parameters = [p for p in model.parameters() if p.requires_grad]
    return logits.detach(), list(torch.autograd.grad(logits.square().sum(), parameters))


@pytest.mark.parametrize(
    ("modules", "options"),
    [
        (ALL, {}),
        (ALL[:4], {}),
        (ALL[4:7], {}),
        (ALL[7:], {}),
        (["q_proj", "up_proj"], {}),
        (ALL, {"use_dora": True}),
        (ALL, {"use_rslora": True}),
    ],
    ids=["all", "attention", "mlp", "head", "some of a group", "dora", "rslora"],
)
def test_same_logits_and_gradients(tiny_model: str, modules: list[str], options: dict[str, Any]) -> None:
    plain, ours = adapted(tiny_model, modules, **options), adapted(tiny_model, modules, **options)
    fused_llama.fuse(ours)
    expected, found = logits_and_gradients(plain), logits_and_gradients(ours)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    for ours_, plain_ in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(ours_, plain_, rtol=1e-3, atol=1e-3 * float(plain_.abs().max()))


def test_a_mask_and_other_adapters_are_heeded(tiny_model: str) -> None:
    mask = torch.ones_like(IDS)
    mask[0, :9] = 0
    outputs = []
    for fuse in (False, True):
        model = adapted(tiny_model, ALL)
        model.add_adapter("other", LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
        if fuse:
            fused_llama.fuse(model)
        with torch.no_grad():
            found = [model(input_ids=IDS, attention_mask=mask).logits[:, 10:]]
            torch.manual_seed(0)
            for parameter in (p for n, p in model.named_parameters() if ".other." in n):
                parameter.normal_()
            model.set_adapter("other")
            found.append(model(input_ids=IDS).logits)
            with model.disable_adapter():
                found.append(model(input_ids=IDS).logits)
        outputs.append(torch.cat([x.flatten() for x in found]))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)


def test_fewer_tensors_are_saved(tiny_model: str) -> None:
    """What a training step keeps for its backward pass, in bytes, without the weights."""
    sizes = []
    for fuse in (False, True):
        model = adapted(tiny_model, ALL)
        if fuse:
            fused_llama.fuse(model)
        weights = {p.data_ptr() for p in model.parameters()}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, weights: set[int] = weights, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.base_model.model.model(input_ids=IDS, use_cache=False)
        sizes.append(sum(kept.values()))
    assert sizes[1] < 0.8 * sizes[0]


def test_recomputed_layers_are_computed_twice(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fused_lora.Projections.apply, []
    monkeypatch.setattr(
        fused_lora.Projections, "apply", lambda self, x, plus=None: calls.append(len(x)) or real(self, x, plus)
    )
    counted = []
    for recompute in ("off", "on"):
        client = open_local(gradient_checkpointing=recompute).create_lora_training_client(tiny_model, rank=4).result()
        calls.clear()
        client.forward_backward(random_datums(3, 600), "cross_entropy").result()
        counted.append(len(calls))
    assert counted[0] > 0 and counted[1] == 2 * counted[0]


@pytest.mark.parametrize("shared", [False, True])
def test_log_probabilities_turn_logits_into_their_gradient(shared: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(150, 90, dtype=torch.float64, requires_grad=True)
    # Some logits are of several positions, some of none.
    rows = torch.randint(0, 150, (200,)) if shared else None
    targets = torch.randint(0, 90, (200 if shared else 150, 3))
    # The same target stands twice at one position.
    targets[:, 1] = targets[:, 0]
    weights = torch.randn(targets.shape, dtype=torch.float64)
    every = torch.log_softmax(logits, -1)
    expected = (every if rows is None else every[rows]).gather(1, targets)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), logits)
    copy = logits * 1.0
    found = forward_backward._TargetLogprobs.apply(copy, targets, rows)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    torch.testing.assert_close(gradient, wanted)
