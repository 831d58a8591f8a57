"""The optimiser against PyTorch's own AdamW, with hyperparameters that change from step to step."""

from __future__ import annotations

import pytest
import torch
from tinker import types

from backends.local.step.optim import Optimizer
from backends.options import LocalOptions

STEPS = [
    types.AdamParams(learning_rate=1e-2),
    types.AdamParams(learning_rate=3e-3, beta1=0.8, beta2=0.99, eps=1e-8),
    types.AdamParams(learning_rate=2e-2, weight_decay=0.3),
    types.AdamParams(learning_rate=1e-2, grad_clip_norm=0.7),
    types.AdamParams(learning_rate=1e-2, beta1=0.0, grad_clip_norm=1e9),
]


def test_every_hyperparameter_is_that_of_its_step() -> None:
    torch.manual_seed(0)
    start = {"a": torch.randn(5, 3), "b": torch.randn(7)}
    ours = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in start.items()}
    theirs = [torch.nn.Parameter(tensor.clone()) for tensor in start.values()]
    optimizer, plain = Optimizer(ours, LocalOptions()), torch.optim.AdamW(theirs)
    for params in STEPS:
        gradients = [torch.randn_like(p) for p in theirs]
        norm = optimizer.step([g.clone() for g in gradients], params)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        limit = params.grad_clip_norm or float("inf")
        assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, limit)), rel=1e-5)
        plain.param_groups[0].update(
            lr=params.learning_rate,
            betas=(params.beta1, params.beta2),
            eps=params.eps,
            weight_decay=params.weight_decay,
        )
        plain.step()
        for parameter, expected in zip(ours.values(), theirs, strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-6)


def test_state_does_not_depend_on_the_grouping() -> None:
    """A checkpoint without LoRA+ goes on with it: every parameter keeps its own moments."""
    torch.manual_seed(0)
    names = ("x.lora_A.weight", "x.lora_B.weight", "y.lora_A.weight", "y.lora_B.weight")
    shapes = [(2, 3), (4, 2), (2, 5), (6, 2)]
    made = [{n: torch.nn.Parameter(torch.ones(s)) for n, s in zip(names, shapes, strict=True)} for _ in range(2)]
    plain, plus = Optimizer(made[0], LocalOptions()), Optimizer(made[1], LocalOptions(lora_plus_ratio=4))
    plain.step([torch.randn(s) for s in shapes], types.AdamParams())
    saved = plain.state()
    plus.load_state(saved)
    again = plus.state()
    assert again.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(again[name], tensor), name
