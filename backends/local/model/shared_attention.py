"""Cascade attention: rows attend to prefixes that are stored once for several of them, and to their own positions.

All queries of the rows that share a prefix meet its keys in one product, where each row with a copy of its own would
read that copy for one query. The outputs over a row's own keys and over its prefixes are merged by their log-sum-exps,
which is exact (Juravsky et al., 2024, "Hydragen").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Keys and values of one layer, each [B, H, T, D].
LayerKV = tuple[Tensor, Tensor]


class CascadeLevel(NamedTuple):
    """Prefixes of which each row of the batch attends to at most one.

    Attributes:
        rows: Rows ``[M]`` that attend to one, those of the same prefix next to each other.
        counts: Number of rows of each prefix, M in sum.
        layers: For each layer, the keys and values of each prefix, ``[1, H, P, D]``.
    """

    rows: Tensor
    counts: list[int]
    layers: list[list[LayerKV]]

    def attend(self, query: Tensor, layer: int, scale: float) -> tuple[Tensor, Tensor]:
        """Attention of ``query [B, H, T, D]`` to the prefixes alone: ``[M, H, T, D]``, log-sum-exps ``[M, H, T]``."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        length = query.shape[2]
        joined = query.index_select(0, self.rows).transpose(0, 1).flatten(1, 2)[None]  # [1, H, M x T, D]
        parts = [
            kernel(queries, keys, values, 0.0, False, scale=scale)
            for queries, (keys, values) in zip(
                joined.split([count * length for count in self.counts], dim=2), self.layers[layer], strict=True
            )
        ]
        output, log_sums = (torch.cat(part, dim=2)[0].unflatten(1, (-1, length)) for part in zip(*parts, strict=True))
        return output.transpose(0, 1), log_sums.transpose(0, 1)


def cascade_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    levels: Sequence[CascadeLevel],
    layer: int,
    scale: float,
) -> Tensor:
    """Attention ``[B, T, H, D]`` of rows to their own positions and to shared prefixes.

    Args:
        query: ``[B, H, T, D]``: several new tokens, causal among themselves, or one.
        key: The rows' own keys, ``[B, K, L, D]`` with K a divisor of H; L is T where T is not 1.
        value: The rows' own values, of the shape of `key`.
        mask: Own positions that a single token attends to, ``[B, 1, 1, L]``, 0 or -inf; at least one is 0.
        levels: The shared prefixes.
        layer: Index of the layer.
        scale: Factor of the products of queries and keys.
    """
    batch, heads, length, size = query.shape
    if length == 1:
        # Query heads that share a key head are computed like so many tokens: one product instead of several.
        query = query.reshape(batch, key.shape[1], -1, size)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    visible = mask if length == 1 else None
    output, log_sums = kernel(query, key, value, 0.0, length > 1, attn_mask=visible, scale=scale)
    for level in levels:
        prefix_output, prefix_log_sums = level.attend(query, layer, scale)
        so_far = log_sums.index_select(0, level.rows)
        weight = torch.sigmoid(prefix_log_sums - so_far).unsqueeze(-1).to(prefix_output.dtype)
        output.index_copy_(0, level.rows, output.index_select(0, level.rows).lerp_(prefix_output, weight))
        log_sums.index_copy_(0, level.rows, torch.logaddexp(so_far, prefix_log_sums))
    return output.reshape(batch, heads, length, size).transpose(1, 2).contiguous()
