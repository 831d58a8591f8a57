"""Prefill: forward passes over prompts with a common prefix whose keys and values are cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache

from backends.local.decode.growing_cache import PrefixedLayer, concat_kv, layer_kvs
from backends.local.model import packed_attention
from backends.local.model.architecture_traits import (
    attention_alone,
    cache_argument,
    own_cache_in_every_layer,
    short_context,
    text_config,
)
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import CascadeLevel
from backends.local.prefix_cache import PrefixCache, PrefixKV
from backends.planning.decode_plan import Prompt


class PromptReader:
    """Reads prompts that continue cached prefixes.

    Args:
        model: A causal language model in eval mode.
        device: Where the model is.
        prefix_cache: Prefixes that have been read before.

    Attributes:
        takes_finished_mask: Whether the attention takes a finished mask ``[B, 1, T, L]``; only then can a prompt
            continue a cached prefix.
        takes_cascade: Whether rows can attend to keys and values outside of their cache. These need keys and values of
            one width, which multi-head latent attention does not have.
        cache_argument: The name under which the model takes keys and values.
    """

    def __init__(self, model: CausalModel, device: torch.device, prefix_cache: PrefixCache) -> None:
        self._model, self._device, self._prefix_cache = model, device, prefix_cache
        self.cache_argument = cache_argument(getattr(model, "forward", model))
        attention = model.config._attn_implementation
        config = text_config(model)
        windows = getattr(config, "sliding_window", None) or getattr(config, "layer_types", None)
        self.takes_finished_mask = attention in ("sdpa", "eager", packed_attention.NAME) and not windows
        one_width = not getattr(config, "v_head_dim", None)
        self.takes_cascade = self.takes_finished_mask and attention == packed_attention.NAME and one_width

    @property
    def can_read_prefixes(self) -> bool:
        """Whether a prefix may be read by itself: keys and values of every layer are all the state that it leaves."""
        model = self._model
        return (
            self.takes_finished_mask
            and attention_alone(model)
            and own_cache_in_every_layer(model)
            and short_context(model) is None
        )

    def lookup(self, prompt: Prompt, max_length: int) -> tuple[int, PrefixKV]:
        """Length, keys and values of the longest cached prefix of a prompt."""
        return self._prefix_cache.lookup(prompt, max_length) if self.takes_finished_mask else (0, [])

    def cache_prefix(self, prefix: Prompt) -> tuple[int, PrefixKV]:
        """Read and cache a prefix, unless it is cached: how much of it was, and all its keys and values."""
        cached, kv = self.lookup(prefix, len(prefix))
        if cached == len(prefix):
            return cached, kv
        cache, _ = self.read([prefix], kv, [len(prefix) - 1])
        self._prefix_cache.store(prefix, concat_kv(kv, layer_kvs(cache)))
        # Use the cached tensors, so that there is no second copy.
        return cached, self._prefix_cache.lookup(prefix, len(prefix))[1]

    def read(self, prompts: Sequence[Prompt], prefix_kv: PrefixKV, first_logits: Sequence[int]) -> tuple[Cache, Tensor]:
        """Read prompts that all begin with one prefix.

        Args:
            prompts: The prompts, prefix included.
            prefix_kv: Keys and values of their prefix; empty if none of it is cached.
            first_logits: Of each prompt, the first position whose logits are wanted; those up to its end follow.

        Returns:
            Keys and values of what follows the prefix, padded on the right, and the wanted logits ``[N, V]``, prompt
            by prompt.
        """
        prefix_length = kv_length(prefix_kv)
        ids = pad_sequence([torch.tensor(prompt[prefix_length:]) for prompt in prompts], batch_first=True)  # [B, T]
        keep = torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, start) in enumerate(zip(prompts, first_logits, strict=True)):
            keep[row, start - prefix_length : len(prompt) - prefix_length] = True
        cache: Cache = DynamicCache()
        prefix_inputs: dict[str, Any] = {}
        if prefix_kv:
            end = prefix_length + ids.shape[1]
            prefix_inputs["position_ids"] = torch.arange(prefix_length, end, device=self._device)[None]  # [1, T]
            if self.takes_cascade:
                rows = torch.arange(len(prompts), device=self._device)
                prefix_inputs["cascade"] = [CascadeLevel(rows, [len(prompts)], [[kv] for kv in prefix_kv])]
                # A finished mask, which hides nothing, so that transformers builds none of T x T.
                prefix_inputs["attention_mask"] = prefix_kv[0][0].new_zeros(1, 1, 1, 1)
            else:
                cache = Cache(layers=[PrefixedLayer(kv) for kv in prefix_kv])
                positions = torch.arange(end, device=self._device)
                hidden = positions[None] > positions[prefix_length:, None]  # [T, P + T]: causal
                mask = prefix_kv[0][0].new_zeros(1, 1, *hidden.shape)
                prefix_inputs["attention_mask"] = mask.masked_fill_(hidden, -torch.inf)
        output = self._model(
            input_ids=ids.to(self._device),
            use_cache=True,
            logits_to_keep=keep.to(self._device),
            **{self.cache_argument: cache},
            **prefix_inputs,
        )
        return cache, output.logits.float()


def kv_length(kv: PrefixKV) -> int:
    """Number of positions of keys and values; 0 if there are none."""
    return kv[0][0].shape[2] if kv else 0
