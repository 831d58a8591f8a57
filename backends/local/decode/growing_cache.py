"""The joint key/value cache of sequences decoded together: rows aligned at its last column, free columns behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from backends.local.model.architecture_traits import text_config
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import KeysValues


def columns_in_memory(model: CausalModel, dtype: torch.dtype) -> int:
    """Columns of one row that may be allocated: what half of the free main memory holds of numbers of this kind.

    The other half is for what is computed meanwhile, and for the two copies that a layer of the cache has while it
    grows. A system that has no more memory ends the process unasked; a GPU raises an error, which can be answered.
    """
    config = text_config(model)
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    numbers = 2 * config.num_hidden_layers * size * (getattr(config, "num_key_value_heads", None) or heads)
    return int(psutil.virtual_memory().available // 2 // (numbers * dtype.itemsize))


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
            filled = old[:, :, first : self.length]
            # To choose rows copies them once more, which a cache that only grows does without.
            new[: len(kept), :, width - columns : width] = filled if len(kept) == len(old) else filled[kept]
            buffers.append(new)
        if not buffers:
            assert like is not None
            self.lazy_initialization(*like)
            buffers = [x.new_zeros(slots, x.shape[1], width + room, x.shape[3]) for x in like]
        self.key_buffer, self.value_buffer = buffers
        self.length = width
        self.keys, self.values = self.key_buffer[:, :, :width], self.value_buffer[:, :, :width]


class ContinuedLayer(DynamicLayer):
    """One layer's keys and values of texts that all begin alike: those of the beginning once, theirs for each.

    For models whose attention takes no beginnings beside the rows (`backends.local.model.shared_attention`): they are
    laid side by side for as long as the layer computes. A batch of many rows behind a long beginning would otherwise
    hold it as often, in all layers at once.

    Args:
        beginning: Of what they begin with, ``[1, H, P, D]``.
    """

    def __init__(self, beginning: KeysValues) -> None:
        super().__init__()
        self._beginning = beginning

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take all that follows the beginning, at once, and return both."""
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states, value_states
        first, second = (
            torch.cat([old.expand(len(new), -1, -1, -1), new], dim=-2)
            for old, new in zip(self._beginning, (key_states, value_states), strict=True)
        )
        return first, second

    def get_seq_length(self) -> int:
        """Columns of the beginning, and of what follows it if that has been read."""
        return self._beginning[0].shape[-2] + super().get_seq_length()


def keys_and_values(cache: Cache) -> Iterator[KeysValues]:
    """Of each layer that has read something, ``[B, H, T, D]``; of a `ContinuedLayer` what follows the beginning."""
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        yield layer.keys, layer.values


def whole(beginning: Sequence[KeysValues], following: Iterable[KeysValues]) -> list[KeysValues]:
    """Keys and values of one text, given those of its beginning, if it has one, and of what follows."""
    if not beginning:
        return list(following)
    return [
        (torch.cat([keys, more_keys], dim=-2), torch.cat([values, more_values], dim=-2))
        for (keys, values), (more_keys, more_values) in zip(beginning, following, strict=True)
    ]
