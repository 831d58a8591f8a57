"""Attention of rows to beginnings that they have in common and that are held once, and to what follows in each row.

All queries of the rows that share a beginning meet its keys in one product, where each row with a copy of its own would
read that copy for one query. What a row makes of its own keys and of the beginnings is put together by log-sum-exp,
which is exact (Juravsky et al., 2024, "Hydragen").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Of one layer, each ``[B, H, T, D]``.
KeysValues = tuple[Tensor, Tensor]


class Level(NamedTuple):
    """Beginnings of which a row of the batch attends to one at most.

    Attributes:
        rows: The rows ``[M]`` that attend to one, those of the same one next to each other.
        counts: How many rows each beginning has, together M.
        layers: Of each layer the keys and values of each beginning, ``[1, H, P, D]``.
    """

    rows: Tensor
    counts: list[int]
    layers: list[list[KeysValues]]

    def attend(self, query: Tensor, layer: int, scale: float) -> tuple[Tensor, Tensor]:
        """What the beginnings alone make of ``query [B, H, T, D]``: ``[M, H, T, D]`` and log-sum-exps ``[M, H, T]``."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        length = query.shape[2]
        joined = query.index_select(0, self.rows).transpose(0, 1).flatten(1, 2)[None]  # [1, H, M x T, D]
        parts = [
            kernel(queries, keys, values, 0.0, False, scale=scale)
            for queries, (keys, values) in zip(
                joined.split([count * length for count in self.counts], dim=2), self.layers[layer], strict=True
            )
        ]
        mixed, sums = (torch.cat(found, dim=2)[0].unflatten(1, (-1, length)) for found in zip(*parts, strict=True))
        return mixed.transpose(0, 1), sums.transpose(0, 1)


def attend_beside(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, levels: Sequence[Level], layer: int, scale: float
) -> Tensor:
    """Attention ``[B, T, H, D]`` of rows to themselves and to beginnings.

    Args:
        query: ``[B, H, T, D]``: several new tokens, causal among themselves, or one.
        key: Of the rows alone, ``[B, K, L, D]`` with K a divisor of H; L is T where T is not 1.
        value: Like `key`, of the same width.
        mask: Which of its columns a single token sees, ``[B, 1, 1, L]``, 0 or -inf; one at least.
        levels: The beginnings.
        layer: Which layer this is.
        scale: Of the products of queries and keys.
    """
    batch, heads, length, size = query.shape
    if length == 1:
        # The heads that read one head of keys are as good as so many tokens: one product instead of several.
        query = query.reshape(batch, key.shape[1], -1, size)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    visible = mask if length == 1 else None
    mixed, total = kernel(query, key, value, 0.0, length > 1, attn_mask=visible, scale=scale)
    for level in levels:
        part, sums = level.attend(query, layer, scale)
        so_far = total.index_select(0, level.rows)
        share = torch.sigmoid(sums - so_far).unsqueeze(-1).to(part.dtype)
        mixed.index_copy_(0, level.rows, mixed.index_select(0, level.rows).lerp_(part, share))
        total.index_copy_(0, level.rows, torch.logaddexp(so_far, sums))
    return mixed.reshape(batch, heads, length, size).transpose(1, 2).contiguous()
