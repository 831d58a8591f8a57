"""The joint key/value cache of sequences decoded together: rows aligned at its last column, free columns behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

# Of one layer, each ``[B, H, T, D]``.
KeysValues = tuple[Tensor, Tensor]
# Columns by which a cache grows, at least, and the share of its width by which it does.
BLOCK, GROWTH = 64, 4


def free_columns(width: int, longest: int) -> int:
    """Columns to allocate behind those that are filled: so many that copying them all is seldom, and none in vain.

    Args:
        width: Columns that are filled.
        longest: How many tokens may still be sampled of one sequence.
    """
    return min(longest, max(BLOCK, width // GROWTH))


class CacheShape(NamedTuple):
    """Rows, columns that are filled, and columns that are free behind them."""

    slots: int
    width: int
    room: int


class GrowingLayer(DynamicLayer):
    """One layer's keys and values ``[S, H, C, D]``: `length` columns filled, the rest free."""

    length = 0
    key_buffer: Tensor
    value_buffer: Tensor

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new columns and return all of them, as views."""
        start, self.length = self.length, self.length + key_states.shape[-2]
        self.key_buffer[:, :, start : self.length] = key_states
        self.value_buffer[:, :, start : self.length] = value_states
        self.keys, self.values = self.key_buffer[:, :, : self.length], self.value_buffer[:, :, : self.length]
        return self.keys, self.values

    def rebuild(self, like: KeysValues | None, kept: Tensor, first: int, shape: CacheShape) -> None:
        """Keep these rows from column `first` on, in a buffer of this shape, aligned at its last filled column.

        A layer without columns takes sizes and dtype from `like`; keys and values are not of one width in every model.
        """
        slots, width, room = shape
        buffers = []
        for old in (self.key_buffer, self.value_buffer) if self.is_initialized else ():
            new = old.new_zeros(slots, old.shape[1], width + room, old.shape[3])
            columns = self.length - first
            # To choose rows copies them once more, which a cache that only grows does without.
            rows = old if len(kept) == len(old) else old[kept]
            new[: len(kept), :, width - columns : width] = rows[:, :, first : self.length]
            buffers.append(new)
        if not buffers:
            assert like is not None
            self.lazy_initialization(*like)
            buffers = [x.new_zeros(slots, x.shape[1], width + room, x.shape[3]) for x in like]
        self.key_buffer, self.value_buffer = buffers
        self.length = width
        self.keys, self.values = self.key_buffer[:, :, :width], self.value_buffer[:, :, :width]


def keys_and_values(cache: DynamicCache) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each layer that has read something, ``[B, H, T, D]``."""
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        yield layer.keys, layer.values
