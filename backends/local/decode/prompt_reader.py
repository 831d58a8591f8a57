"""Forward passes over prompts that begin alike, of whose beginning the keys and values are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache

from backends.local.decode.growing_cache import ContinuedLayer, keys_and_values, whole
from backends.local.model import packed_attention
from backends.local.model.architecture_traits import (
    attention_alone,
    cache_argument,
    own_cache_in_every_layer,
    short_context,
    text_config,
)
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import Level
from backends.local.prefix_cache import Beginning, PrefixCache
from backends.planning.decode_plan import Prompt


class PromptReader:
    """Reads prompts behind beginnings that have been read before.

    Args:
        model: A causal language model in eval mode.
        device: Where the model is.
        prefixes: Beginnings of prompts that are at hand.

    Attributes:
        prepared_mask: Whether the attention takes a finished mask; a prompt goes on from a beginning only then.
        shares: Whether rows can attend to keys and values beside their own columns: where both are of one width, which
            they are not in multi-head latent attention.
        cache_argument: The name under which the model takes keys and values.
    """

    def __init__(self, model: CausalModel, device: torch.device, prefixes: PrefixCache) -> None:
        self._model, self._device, self._prefixes = model, device, prefixes
        self.cache_argument = cache_argument(getattr(model, "forward", model))
        plain = model.config._attn_implementation in ("sdpa", "eager", packed_attention.NAME)
        config = text_config(model)
        windows = getattr(config, "sliding_window", None) or getattr(config, "layer_types", None)
        self.prepared_mask = plain and not windows
        rows_attend = model.config._attn_implementation == packed_attention.NAME
        self.shares = self.prepared_mask and rows_attend and not getattr(config, "v_head_dim", None)

    @property
    def goes_on(self) -> bool:
        """Whether what a prompt begins with may be read by itself: keys and values of every layer are all of it."""
        model = self._model
        return (
            self.prepared_mask
            and attention_alone(model)
            and own_cache_in_every_layer(model)
            and short_context(model) is None
        )

    def find(self, prompt: Prompt, most: int) -> tuple[int, Beginning]:
        """The longest beginning of a prompt, of N tokens at most, that is at hand."""
        return self._prefixes.find(prompt, most) if self.prepared_mask else (0, [])

    def keep(self, beginning: Prompt) -> tuple[int, Beginning]:
        """Read a beginning, unless it is at hand, and keep it: how much of it there was, and its keys and values."""
        known, layers = self.find(beginning, len(beginning))
        if known == len(beginning):
            return known, layers
        cache, _ = self.read([beginning], layers, [len(beginning) - 1])
        self._prefixes.keep(beginning, whole(layers, keys_and_values(cache)))
        # What is kept, and no copy beside it.
        return known, self._prefixes.find(beginning, len(beginning))[1]

    def read(self, prompts: Sequence[Prompt], beginning: Beginning, first: Sequence[int]) -> tuple[Cache, Tensor]:
        """Keys and values of what follows the beginning, padded on the right, and logits ``[N, V]``, row by row.

        Args:
            prompts: Which all begin alike.
            beginning: The keys and values of what they begin with; none: nothing of them is at hand.
            first: Of each, the first position whose logits are wanted; those up to its end follow.
        """
        shared = beginning[0][0].shape[2] if beginning else 0
        ids = pad_sequence([torch.tensor(prompt[shared:]) for prompt in prompts], batch_first=True)  # [B, T]
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, start) in enumerate(zip(prompts, first, strict=True)):
            wanted[row, start - shared : len(prompt) - shared] = True
        cache: Cache = DynamicCache()
        more: dict[str, Any] = {}
        if shared:
            more["position_ids"] = torch.arange(shared, shared + ids.shape[1], device=self._device)[None]
        if shared and self.shares:
            rows = torch.arange(len(prompts), device=self._device)
            more["levels"] = [Level(rows, [len(prompts)], [[kept] for kept in beginning])]
            # A finished mask, which hides nothing, so that transformers makes none of T x T.
            more["attention_mask"] = beginning[0][0].new_zeros(1, 1, 1, 1)
        elif shared:
            cache = Cache(layers=[ContinuedLayer(kept) for kept in beginning])
            places = torch.arange(shared + ids.shape[1], device=self._device)
            hidden = places[None] > places[shared:, None]  # [T, shared + T]: causal
            more["attention_mask"] = beginning[0][0].new_zeros(1, 1, *hidden.shape).masked_fill_(hidden, -torch.inf)
        output = self._model(
            input_ids=ids.to(self._device),
            use_cache=True,
            logits_to_keep=wanted.to(self._device),
            **{self.cache_argument: cache},
            **more,
        )
        return cache, output.logits.float()
