"""The batch cache of sequences decoded together: rows aligned at the last filled position, free positions behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from backends.local.model.architecture_traits import text_config
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import LayerKV


def max_cache_positions(model: CausalModel, dtype: torch.dtype) -> int:
    """Positions, over all rows, whose keys and values fit into half of the free main memory.

    The other half is for activations, and for the two copies that a layer of the cache has while it grows. An operating
    system without memory kills the process unasked; a GPU raises an error, which can be handled.
    """
    config = text_config(model)
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    values_per_position = 2 * config.num_hidden_layers * head_dim * kv_heads
    return int(psutil.virtual_memory().available // 2 // (values_per_position * dtype.itemsize))


class CacheShape(NamedTuple):
    """The shape of the batch cache: number of rows, filled positions, and free positions behind them."""

    rows: int
    filled: int
    free: int


class GrowingLayer(DynamicLayer):
    """One layer's keys and values ``[S, H, C, D]``: the first `length` positions filled, the rest free."""

    length = 0
    key_buffer: Tensor
    value_buffer: Tensor

    @property
    def capacity(self) -> int:
        """Positions of a row, C, filled or free."""
        return self.key_buffer.shape[-2]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new positions and return all filled ones, as views."""
        start, self.length = self.length, self.length + key_states.shape[-2]
        self.key_buffer[:, :, start : self.length] = key_states
        self.value_buffer[:, :, start : self.length] = value_states
        self.keys, self.values = self.key_buffer[:, :, : self.length], self.value_buffer[:, :, : self.length]
        return self.keys, self.values

    def rebuild(self, like: LayerKV | None, rows: Tensor, first: int, shape: CacheShape) -> None:
        """Keep these rows from position `first` on, in buffers of another shape, aligned at the last filled position.

        Args:
            like: Keys and values from which an empty layer takes its sizes and dtype; they are not of one width in
                every model.
            rows: Indices of the rows to keep; they become the first rows.
            first: The first position to keep.
            shape: The new shape.
        """
        count, width, free = shape
        buffers = []
        for old in (self.key_buffer, self.value_buffer) if self.is_initialized else ():
            new = old.new_zeros(count, old.shape[1], width + free, old.shape[3])
            length = self.length - first
            filled = old[:, :, first : self.length]
            # Indexing copies the rows once more, which a cache that only grows does without.
            new[: len(rows), :, width - length : width] = filled if len(rows) == len(old) else filled[rows]
            buffers.append(new)
        if not buffers:
            assert like is not None
            self.lazy_initialization(*like)
            buffers = [x.new_zeros(count, x.shape[1], width + free, x.shape[3]) for x in like]
        self.key_buffer, self.value_buffer = buffers
        self.length = width
        self.keys, self.values = self.key_buffer[:, :, :width], self.value_buffer[:, :, :width]


class PrefixedLayer(DynamicLayer):
    """One layer's keys and values of prompts with one prefix: the prefix once, what follows for each.

    For models whose attention takes no prefixes beside the rows (`backends.local.model.shared_attention`): prefix and
    suffixes are concatenated only while the layer computes. Otherwise a batch of many rows after a long prefix would
    hold as many copies of it, in all layers at once.

    Args:
        prefix: Keys and values of the prefix, ``[1, H, P, D]``.
    """

    def __init__(self, prefix: LayerKV) -> None:
        super().__init__()
        self._prefix = prefix

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take all positions after the prefix, at once, and return both concatenated."""
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states, value_states
        keys, values = (
            torch.cat([prefix.expand(len(suffix), -1, -1, -1), suffix], dim=-2)
            for prefix, suffix in zip(self._prefix, (key_states, value_states), strict=True)
        )
        return keys, values

    def get_seq_length(self) -> int:
        """Positions of the prefix, and of what follows if that has been read."""
        return self._prefix[0].shape[-2] + super().get_seq_length()


def layer_kvs(cache: Cache) -> Iterator[LayerKV]:
    """Keys and values of each layer, ``[B, H, T, D]``; of a `PrefixedLayer`, those after the prefix."""
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        yield layer.keys, layer.values


def concat_kv(prefix: Sequence[LayerKV], suffix: Iterable[LayerKV]) -> list[LayerKV]:
    """Keys and values of a whole text from those of its prefix, which may be empty, and of the rest."""
    if not prefix:
        return list(suffix)
    return [
        (torch.cat([keys, more_keys], dim=-2), torch.cat([values, more_values], dim=-2))
        for (keys, values), (more_keys, more_values) in zip(prefix, suffix, strict=True)
    ]
