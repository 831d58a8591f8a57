"""Prepacking the weights of a whole model while it is sampled from (`backends.local.model.prepacked_products`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backends.local.model.fused_llama import FusedLayer
from backends.local.model.fused_lora import projection_of
from backends.local.model.prepacked_products import PrepackedLayer, PrepackedProjections, is_supported

# Modules, each with what replaces its own weights: a `PrepackedLayer`, or a forward function.
PrepackedModules = list[tuple[nn.Module, Any]]


def prepack(model: nn.Module) -> bool:
    """Prepack the weights of a model with its active adapters; they stay so until `detach_prepacked`.

    Forward passes without gradients then use the prepacked weights, whatever becomes of the adapters. False, and
    nothing changed, if some adapter is more than this module knows, or the processor has no such products.
    """
    prepacked: PrepackedModules = []
    for module in _outermost_modules(model):
        if isinstance(module, FusedLayer):
            layer = _prepack_layer(module)
            if layer is None:
                return False
            prepacked.append((module, layer))
            continue
        projection = projection_of(module)
        if projection is None or not is_supported(projection.weight.dtype):
            return False
        prepacked.append((module, partial(_project, module, PrepackedProjections([projection]))))
    _attach(prepacked)
    return True


def _outermost_modules(model: nn.Module) -> list[nn.Module]:
    """The modules to prepack, without those inside of others: fused layers, adapters, other linear layers."""
    from peft.tuners.lora import LoraLayer

    outermost: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not isinstance(module, FusedLayer | nn.Linear | LoraLayer):
            continue
        if not isinstance(module, FusedLayer | LoraLayer):
            projection = projection_of(module)
            if projection is None or not is_supported(projection.weight.dtype):
                continue
        outermost.append(module)
        inside.update(module.modules())
    return outermost


def _attach(prepacked: PrepackedModules) -> None:
    for module, weights in prepacked:
        if isinstance(module, FusedLayer):
            module.prepacked = weights
        else:
            # Shadows the forward method of the class.
            module.__dict__["forward"] = weights


def detach_prepacked(model: nn.Module) -> PrepackedModules:
    """Let a model compute with its own weights again; returns the prepacked ones."""
    prepacked: PrepackedModules = []
    for module in model.modules():
        if isinstance(module, FusedLayer):
            prepacked += [(module, module.prepacked)] if module.prepacked is not None else []
            module.prepacked = None
        elif getattr(module.__dict__.get("forward"), "func", None) is _project:
            prepacked.append((module, module.__dict__.pop("forward")))
    return prepacked


def attach_prepacked(model: nn.Module, prepacked: PrepackedModules) -> bool:
    """Use weights again that `detach_prepacked` returned; False, and nothing changed, if the modules are others now."""
    if [id(module) for module in _outermost_modules(model)] != [id(module) for module, _ in prepacked]:
        return False
    _attach(prepacked)
    return True


def _project(module: nn.Module, prepacked: PrepackedProjections, x: Tensor, **kwargs: Any) -> Tensor:
    if torch.is_grad_enabled():
        y: Tensor = type(module).forward(module, x, **kwargs)
        return y
    return prepacked(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], sum(prepacked.widths))


def _prepack_layer(layer: FusedLayer) -> PrepackedLayer | None:
    attention, mlp = layer.self_attn, layer.mlp
    groups = [
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.o_proj,),
        (mlp.gate_proj, mlp.up_proj),
        (mlp.down_proj,),
    ]
    projections = [[projection_of(module) for module in group] for group in groups]
    if any(p is None or not is_supported(p.weight.dtype) for group in projections for p in group):
        return None
    return PrepackedLayer(*(PrepackedProjections([p for p in group if p is not None]) for group in projections))
