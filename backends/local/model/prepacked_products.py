"""Matrix products with frozen weights that are prepacked by oneDNN, for decoding.

A step of decoding multiplies some tens of rows with every weight of the model. With weights in oneDNN's blocked layout,
prepacked once, such products run at twice the rate; and projections of one input are one product. In float32 an adapter
is added into the weights, which is exact to rounding. In bfloat16 that would round most of it away, so its A is
prepacked behind the weights' rows, and its B is multiplied separately, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from backends.local.model.fused_lora import Projection

# Rows of the input for which oneDNN chooses the layout; other numbers of rows are multiplied correctly, too.
LAYOUT_ROWS = 64


@cache
def is_supported(dtype: torch.dtype) -> bool:
    """Whether PyTorch was built with oneDNN and the processor has instructions for such products.

    Prepacking bfloat16 raises where it has none, as on processors with nothing above AVX2.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PrepackedProjections:
    """Linear layers of one input, with their adapters, as one product.

    Args:
        parts: The layers.

    Attributes:
        widths: Output features of each layer.
    """

    def __init__(self, parts: Sequence[Projection]) -> None:
        dtype = parts[0].weight.dtype
        self.widths = [len(p.weight) for p in parts]
        self._dtype, self._width = dtype, sum(self.widths)
        self._b: Tensor | None = None
        rows = [p.weight if dtype != torch.float32 else _merged(p) for p in parts]
        if dtype != torch.float32 and any(p.a is not None for p in parts):
            rows += [p.a.to(dtype) for p in parts if p.a is not None]
            self._b = _block_diagonal(parts)  # [R, out]
        biases = [p.bias for p in parts]
        self._bias = None if all(b is None for b in biases) else torch.cat([_bias_or_zeros(p) for p in parts])
        # Concatenating a single one would copy it.
        weight = rows[0] if len(rows) == 1 else torch.cat(rows)  # [sum of out (+ R), in]
        self._prepacked = torch.ops.mkldnn._reorder_linear_weight(weight, LAYOUT_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs of all layers, concatenated: float32 ``[T, sum of out]`` for ``x [T, in]``."""
        y = torch.ops.mkldnn._linear_pointwise(x.to(self._dtype), self._prepacked, None, "none", [], "")
        if self._dtype != torch.float32:
            y = y.float()
        if self._b is not None:
            y, inner = y[:, : self._width], y[:, self._width :]
            y = torch.addmm(y, inner, self._b)
        return y if self._bias is None else y + self._bias


def _merged(p: Projection) -> Tensor:
    return p.weight if p.a is None or p.b is None else torch.addmm(p.weight, p.b, p.a, alpha=p.scale)


def _bias_or_zeros(p: Projection) -> Tensor:
    return p.weight.new_zeros(len(p.weight), dtype=torch.float32) if p.bias is None else p.bias


def _block_diagonal(parts: Sequence[Projection]) -> Tensor:
    """``[R, sum of out]``: each layer's ``scale B^T`` as a block on the diagonal; without an adapter it has no rows."""
    blocks = [
        p.b.t() * p.scale if p.b is not None else p.weight.new_zeros(0, len(p.weight), dtype=torch.float32)
        for p in parts
    ]
    return torch.block_diag(*blocks)


class PrepackedLayer(NamedTuple):
    """The projections of a decoder layer, grouped by their input."""

    inputs: PrepackedProjections
    output: PrepackedProjections
    gate_up: PrepackedProjections
    down: PrepackedProjections
