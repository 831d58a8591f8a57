"""Llama's decoder layer with few passes over memory: transformers' and PEFT's arithmetic, hand-written backward passes.

On a CPU the elementwise operations between the matrix products of a small model take a third of a training step: each
reads and writes whole activations, and saves them for the backward pass. Here

- a layer saves its input, the input of its second half, query, key, value, the output of attention, gate and up; the
  normalised inputs and SwiGLU's product are recomputed in the backward pass;
- residuals and LoRA's low-rank products are added by the matrix products themselves.

`fuse` turns Llama's layers into fused ones. They fall back to transformers' own forward pass for what they do not
cover: quantised weights, models in half precision, LoRA variants, dropout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaRMSNorm,
    eager_attention_forward,
)

from backends.local.model.architecture_traits import cache_argument
from backends.local.model.fused_lora import Projections
from backends.local.model.prepacked_products import PrepackedLayer

# What transformers calls the keys and values of earlier positions.
CACHE = cache_argument(LlamaDecoderLayer.forward)


class _AttentionInputs(torch.autograd.Function):
    """Query, key and value ``[T, heads x D]`` of ``x [T, H]``: RMSNorm, projections, rotary embedding."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, norm: LlamaRMSNorm, projections: Projections, *adapters: Tensor
    ) -> tuple[Tensor, ...]:
        inverse = _inverse_rms(x, norm)
        (query, key, value), inner = projections.apply(_scale_rows(x, inverse, norm))
        ctx.norm, ctx.projections = norm, projections
        ctx.save_for_backward(x, inverse, inner, cos, sin)
        return _rotate(query, cos, sin), _rotate(key, cos, sin), value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, inner, cos, sin = ctx.saved_tensors
        dys = [_rotate(dq, cos, -sin), _rotate(dk, cos, -sin), dv]
        d_inner, adapters = ctx.projections.adapter_gradients(dys, _scale_rows(x, inverse, ctx.norm), inner)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _norm_gradient(ctx.projections.input_gradient(dys, d_inner), x, inverse, ctx.norm)
        return dx, None, None, None, None, *adapters


class _AttentionOutput(torch.autograd.Function):
    """The residual ``[T, H]`` plus the output projection of the attention output ``[T, heads x D]``."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, attended: Tensor, projection: Projections, *adapters: Tensor) -> Tensor:
        (y,), inner = projection.apply(attended, plus=residual)
        ctx.projection = projection
        ctx.save_for_backward(attended, inner)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        attended, inner = ctx.saved_tensors
        d_inner, adapters = ctx.projection.adapter_gradients([dy], attended, inner)
        return dy, ctx.projection.input_gradient([dy], d_inner), None, *adapters


class _Mlp(torch.autograd.Function):
    """``x + down(silu(gate(n)) * up(n))`` of ``x [T, H]``, where n is its RMSNorm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: LlamaRMSNorm, gate_up: Projections, down: Projections, *adapters: Tensor
    ) -> Tensor:
        inverse = _inverse_rms(x, norm)
        (gate, up), inner = gate_up.apply(_scale_rows(x, inverse, norm))
        (y,), down_inner = down.apply(nn.functional.silu(gate).mul_(up), plus=x)
        ctx.norm, ctx.gate_up, ctx.down = norm, gate_up, down
        ctx.save_for_backward(x, inverse, gate, up, inner, down_inner)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, gate, up, inner, down_inner = ctx.saved_tensors
        activated = nn.functional.silu(gate)
        product = activated * up
        d_inner, down_grads = ctx.down.adapter_gradients([dy], product, down_inner)
        d = ctx.down.input_gradient([dy], d_inner)
        dys = [torch.ops.aten.silu_backward(torch.mul(d, up, out=product), gate), activated.mul_(d)]
        d_inner, gate_up_grads = ctx.gate_up.adapter_gradients(dys, _scale_rows(x, inverse, ctx.norm), inner)
        dx = _norm_gradient(ctx.gate_up.input_gradient(dys, d_inner), x, inverse, ctx.norm)
        return dx.add_(dy), None, None, None, *gate_up_grads, *down_grads


def _inverse_rms(x: Tensor, norm: LlamaRMSNorm) -> Tensor:
    """The reciprocal root mean square of each row, ``[T, 1]``."""
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norms.square_().div_(x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()


def _scale_rows(x: Tensor, inverse: Tensor, norm: LlamaRMSNorm) -> Tensor:
    """RMSNorm of ``x [T, H]``, given the reciprocal root mean squares."""
    return torch.mul(x, inverse).mul_(norm.weight)


def _norm_gradient(d: Tensor, x: Tensor, inverse: Tensor, norm: LlamaRMSNorm) -> Tensor:
    """The gradient of RMSNorm's input ``[T, H]`` from that of its output `d`, in place."""
    d.mul_(norm.weight)
    along = torch.linalg.vecdot(d, x).unsqueeze(-1).mul_(inverse.square()).div_(-x.shape[-1])  # [T, 1]
    return d.addcmul_(x, along).mul_(inverse)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of ``[T, heads x D]`` by angles ``[T, 1, D/2]`` (Su et al., 2021)."""
    first, second = x.view(len(x), -1, 2, cos.shape[-1]).unbind(2)  # [T, heads, D/2]
    rotated = torch.empty_like(x)
    out_first, out_second = rotated.view(len(x), -1, 2, cos.shape[-1]).unbind(2)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)
    return rotated


class FusedLayer(LlamaDecoderLayer):
    """A fused decoder layer; as a subclass it supports activation checkpointing and sharding as transformers' does.

    Attributes:
        prepacked: Weights to use in forward passes without gradients; None: the layer's own.
    """

    prepacked: PrepackedLayer | None = None

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """The next hidden states ``[B, T, H]``."""
        cache: Cache | None = kwargs.pop(CACHE, None)
        if self.prepacked is not None and not torch.is_grad_enabled():
            return self._forward_prepacked(
                self.prepacked, hidden_states, position_embeddings, attention_mask, cache, **kwargs
            )
        attention, mlp, norms = self.self_attn, self.mlp, (self.input_layernorm, self.post_attention_layernorm)
        inputs = Projections.of(attention.q_proj, attention.k_proj, attention.v_proj)
        output, down = Projections.of(attention.o_proj), Projections.of(mlp.down_proj)
        gate_up = Projections.of(mlp.gate_proj, mlp.up_proj)
        frozen = not any(norm.weight.requires_grad for norm in norms)
        if not (inputs and output and gate_up and down and frozen and hidden_states.dtype == torch.float32):
            return super().forward(
                hidden_states,
                attention_mask=attention_mask,
                position_embeddings=position_embeddings,
                **(kwargs | {CACHE: cache}),
            )
        batch, length, width = hidden_states.shape
        x = hidden_states.reshape(-1, width)
        cos, sin = _angles(position_embeddings, batch)
        query, key, value = (
            y.view(batch, length, -1, attention.head_dim).transpose(1, 2)
            for y in _AttentionInputs.apply(x, cos, sin, norms[0], inputs, *inputs.adapters())
        )  # [B, heads, T, D]
        if cache is not None:
            key, value = cache.update(key, value, attention.layer_idx)
        attended = _attend(attention, query, key, value, attention_mask, **kwargs).reshape(len(x), -1)
        x = _AttentionOutput.apply(x, attended, output, *output.adapters())
        x = _Mlp.apply(x, norms[1], gate_up, down, *gate_up.adapters(), *down.adapters())
        return x.view(hidden_states.shape)

    def _forward_prepacked(
        self,
        weights: PrepackedLayer,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: Cache | None,
        **kwargs: Any,
    ) -> Tensor:
        """The next hidden states ``[B, T, H]`` with prepacked weights, without saving anything for a backward pass."""
        attention, norms = self.self_attn, (self.input_layernorm, self.post_attention_layernorm)
        batch, length, width = hidden_states.shape
        x = hidden_states.reshape(-1, width)
        *rotated_widths, value_width = weights.inputs.widths
        query_key, value = weights.inputs(_norm(x, norms[0])).split([sum(rotated_widths), value_width], dim=1)
        query, key = _rotate(query_key, *_angles(position_embeddings, batch)).split(rotated_widths, dim=1)
        query, key, value = (
            y.reshape(batch, length, -1, attention.head_dim).transpose(1, 2) for y in (query, key, value)
        )
        if cache is not None:
            key, value = cache.update(key, value, attention.layer_idx)
        x = weights.output(_attend(attention, query, key, value, mask, **kwargs).reshape(len(x), -1)).add_(x)
        gate, up = weights.gate_up(_norm(x, norms[1])).split(weights.gate_up.widths, dim=1)
        return weights.down(nn.functional.silu(gate).mul_(up)).add_(x).view(hidden_states.shape)


def _angles(tables: tuple[Tensor, Tensor], batch: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine ``[T, 1, D/2]`` for all rows, from transformers' tables, whose second half repeats the first."""
    half = tables[0].shape[-1] // 2
    cos, sin = (t[..., :half].expand(batch, -1, -1).reshape(-1, 1, half) for t in tables)
    return cos, sin


def _norm(x: Tensor, norm: LlamaRMSNorm) -> Tensor:
    return nn.functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _attend(
    layer: LlamaAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> Tensor:
    """The attention output ``[B, T, heads, D]``, by the implementation that the model is set to use."""
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(layer.config._attn_implementation, eager_attention_forward)
    dropout = layer.attention_dropout if layer.training else 0.0
    output: Tensor = attend(layer, query, key, value, mask, dropout=dropout, scaling=layer.scaling, **kwargs)[0]
    return output


def fuse(model: nn.Module) -> None:
    """Replace the layers of `model` that are Llama's by fused ones, in place."""
    for module in model.modules():
        if type(module) is LlamaDecoderLayer and module.mlp.config.hidden_act == "silu":
            module.__class__ = FusedLayer
