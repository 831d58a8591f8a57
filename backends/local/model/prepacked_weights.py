"""Packing the weights of a whole model while it is sampled from (`backends.local.model.prepacked_products`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backends.local.model.fused_llama import FusedLayer
from backends.local.model.fused_lora import projection_of
from backends.local.model.prepacked_products import PrepackedLayer, PrepackedProjections, offered

# Modules with what is in the way of their own weights.
Packed = list[tuple[nn.Module, Any]]


def pack(model: nn.Module) -> bool:
    """Pack the weights of a model, adapters as they are switched on now; they stay so until `unpack`.

    Passes without gradients then go by the packed weights, whatever becomes of the adapters. False, and nothing done,
    if some adapter is more than this module knows, or the processor has no such products.
    """
    packed: Packed = []
    for module in _to_pack(model):
        if isinstance(module, FusedLayer):
            layer = _pack_layer(module)
            if layer is None:
                return False
            packed.append((module, layer))
            continue
        projection = projection_of(module)
        if projection is None or not offered(projection.weight.dtype):
            return False
        packed.append((module, partial(_project, module, PrepackedProjections([projection]))))
    _attach(packed)
    return True


def _to_pack(model: nn.Module) -> list[nn.Module]:
    """The modules whose weights are packed, the outermost ones: layers, adapters, and linear layers besides."""
    from peft.tuners.lora import LoraLayer

    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not isinstance(module, FusedLayer | nn.Linear | LoraLayer):
            continue
        if not isinstance(module, FusedLayer | LoraLayer):
            projection = projection_of(module)
            if projection is None or not offered(projection.weight.dtype):
                continue
        found.append(module)
        inside.update(module.modules())
    return found


def _attach(packed: Packed) -> None:
    for module, weights in packed:
        if isinstance(module, FusedLayer):
            module.packed = weights
        else:
            # In the way of the class's own.
            module.__dict__["forward"] = weights


def unpack(model: nn.Module) -> Packed:
    """Let a model compute with its own weights again; returns those that were packed."""
    packed: Packed = []
    for module in model.modules():
        if isinstance(module, FusedLayer):
            packed += [(module, module.packed)] if module.packed is not None else []
            module.packed = None
        elif getattr(module.__dict__.get("forward"), "func", None) is _project:
            packed.append((module, module.__dict__.pop("forward")))
    return packed


def pack_again(model: nn.Module, packed: Packed) -> bool:
    """Put weights back that `unpack` returned; False, and nothing done, if the model has other modules since."""
    if [id(module) for module in _to_pack(model)] != [id(module) for module, _ in packed]:
        return False
    _attach(packed)
    return True


def _project(module: nn.Module, packed: PrepackedProjections, x: Tensor, **kwargs: Any) -> Tensor:
    if torch.is_grad_enabled():
        # Its class's own.
        y: Tensor = type(module).forward(module, x, **kwargs)
        return y
    return packed(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], sum(packed.widths))


def _pack_layer(layer: FusedLayer) -> PrepackedLayer | None:
    attention, mlp = layer.self_attn, layer.mlp
    groups = [
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.o_proj,),
        (mlp.gate_proj, mlp.up_proj),
        (mlp.down_proj,),
    ]
    described = [[projection_of(module) for module in group] for group in groups]
    if any(projection is None or not offered(projection.weight.dtype) for group in described for projection in group):
        return None
    return PrepackedLayer(*(PrepackedProjections([p for p in group if p is not None]) for group in described))
