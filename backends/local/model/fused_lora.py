"""Linear layers of one input with their LoRA adapters, as plain matrix products with hand-written backward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backends.local.model.frozen_products import FrozenLinear, product


class Projection(NamedTuple):
    """``x W^T + bias + scale (x A^T) B^T``; `a` and `b` are None without an adapter.

    Attributes:
        weight: Frozen weight W ``[out, in]``, float32 or bfloat16; the rest is float32.
        bias: Frozen bias ``[out]`` or None.
        a: LoRA's A ``[r, in]``.
        b: LoRA's B ``[out, r]``.
        scale: LoRA's scale.
    """

    weight: Tensor
    bias: Tensor | None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 0.0


def projection_of(layer: nn.Module) -> Projection | None:
    """The computation of a linear layer as a projection, or None if it is more than this module supports."""
    from peft.tuners.lora import Linear

    base = layer.base_layer if type(layer) is Linear else layer
    if not isinstance(base, nn.Linear) or base.weight.requires_grad:
        return None
    if type(base) is not FrozenLinear and (type(base) is not nn.Linear or base.weight.dtype != torch.float32):
        return None
    bare = Projection(base.weight, base.bias)
    if type(layer) is not Linear or layer.disable_adapters or layer.merged:
        return bare
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if not active:
        return bare
    name = active[0]
    has_dropout = layer.training and type(layer.lora_dropout[name]) is not nn.Identity
    if len(active) > 1 or name in layer.lora_variant or has_dropout:
        return None
    a, b = layer.lora_A[name], layer.lora_B[name]
    if a.weight.dtype != torch.float32 or b.bias is not None:
        return None
    return bare._replace(a=a.weight, b=b.weight, scale=layer.scaling[name])


class Projections:
    """Projections of one input; the matrices A of their adapters are multiplied as one, R being the sum of ranks."""

    def __init__(self, parts: Sequence[Projection]) -> None:
        self.parts = parts
        self._dtype = parts[0].weight.dtype
        stacked = [p.a for p in parts if p.a is not None]
        self._a = torch.cat(stacked) if stacked else None  # [R, in]

    @classmethod
    def of(cls, *layers: nn.Module) -> Projections | None:
        """The projections of linear layers of one input, or None if one is more than this module supports."""
        projections = [p for p in map(projection_of, layers) if p is not None]
        has_one_dtype = len({p.weight.dtype for p in projections}) == 1
        return cls(projections) if has_one_dtype and len(projections) == len(layers) else None

    def adapters(self) -> list[Tensor | None]:
        """A and B of each projection, in order."""
        return [matrix for p in self.parts for matrix in (p.a, p.b)]

    def apply(self, x: Tensor, plus: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """The outputs, each ``[T, out]``, and the low-rank activations ``[T, R]``, which the gradients need.

        Args:
            x: ``[T, in]``.
            plus: Summand of the output, ``[T, out]``; for a single projection.
        """
        inner = None if self._a is None else torch.mm(x, self._a.t())
        outputs = []
        x = x.to(self._dtype)
        for projection, z in zip(self.parts, self._split(inner), strict=True):
            summand = plus if plus is not None else projection.bias
            y = product(x, projection.weight.t(), summand)
            if plus is not None and projection.bias is not None:
                y.add_(projection.bias)
            if z is not None and projection.b is not None:
                y.addmm_(z, projection.b.t(), alpha=projection.scale)
            outputs.append(y)
        return outputs, inner

    def input_gradient(self, dys: Sequence[Tensor], d_inner: Tensor | None) -> Tensor:
        """The gradient of x ``[T, in]``.

        Args:
            dys: Gradients of the outputs, each ``[T, out]``.
            d_inner: The gradient of the low-rank activations, from `adapter_gradients`.
        """
        dx: Tensor | None = None
        for projection, dy in zip(self.parts, dys, strict=True):
            dx = product(dy.to(self._dtype), projection.weight, dx)
        assert dx is not None, "projections of an input are at least one"
        return dx if d_inner is None or self._a is None else dx.addmm_(d_inner, self._a)

    def adapter_gradients(
        self, dys: Sequence[Tensor], x: Tensor, inner: Tensor | None
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients of the low-rank activations ``[T, R]``, and of A and B of each projection as `adapters` has them.

        Args:
            dys: Gradients of the outputs, each ``[T, out]``.
            x: The input ``[T, in]``.
            inner: The low-rank activations.
        """
        if inner is None:
            return None, [None] * (2 * len(self.parts))
        d_inner = torch.empty_like(inner)
        dbs: list[Tensor | None] = []
        for projection, dy, z, dz in zip(self.parts, dys, self._split(inner), self._split(d_inner), strict=True):
            if z is None or dz is None or projection.b is None:
                dbs.append(None)
                continue
            dz.copy_(torch.mm(dy, projection.b).mul_(projection.scale))
            dbs.append(torch.mm(dy.t(), z).mul_(projection.scale))
        da = torch.mm(d_inner.t(), x)
        das = [None if part is None else part.t() for part in self._split(da.t())]
        return d_inner, [matrix for pair in zip(das, dbs, strict=True) for matrix in pair]

    def _split(self, inner: Tensor | None) -> Iterator[Tensor | None]:
        """The columns of ``inner [T, R]`` of each projection; None where there are none."""
        start = 0
        for projection in self.parts:
            if inner is None or projection.a is None:
                yield None
            else:
                yield inner[:, start : start + len(projection.a)]
                start += len(projection.a)
