"""Sampling of models that keep more than keys and values of every layer: no row is ever padded.

A state that runs along the sequence takes padding into it, so only prompts of one length are read together, and go on
together with a cache of the model's own kind. That is slower than `backends.local.decode.decoder` by as much as the
lengths differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from backends.local.decode.decoder import Decoder, Extender, Request, Sampled
from backends.local.model.mixers import attention_alone, cache_argument, own_cache_in_every_layer


@dataclass(eq=False)
class _Group:
    """Sequences whose prompts are equally long, in the order of the rows of their cache."""

    cache: Any
    rows: list[Sampled]


class GroupDecoder:
    """Sequences that are being decoded, in groups of one length; used like `Decoder`.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer, to find stop strings.
        device: Where the model is.
        prefill_tokens: Prompt tokens in one forward pass.
    """

    def __init__(self, model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int) -> None:
        self._model, self._device, self._prefill_tokens = model, device, prefill_tokens
        self._extend = Extender(tokenizer).extend
        self._cache_argument = cache_argument(getattr(model, "forward", model))
        self._groups: list[_Group] = []

    @torch.no_grad()
    def admit(self, requests: Sequence[Request]) -> list[Sampled]:
        """Read the prompts, sample a token after each, and decode them from now on with the rest.

        Returns the sequences in the order of the requests; some may be finished already.
        """
        sampled = [Sampled(request) for request in requests]
        by_length: dict[int, list[Sampled]] = {}
        for s in sampled:
            by_length.setdefault(len(s.request.prompt), []).append(s)
        for length, rows in sorted(by_length.items(), reverse=True):
            count = max(1, self._prefill_tokens // length)
            for start in range(0, len(rows), count):
                group = _Group(DynamicCache(config=self._model.config), rows[start : start + count])
                self._forward(group, [s.request.prompt for s in group.rows])
                self._groups.append(group)
        self._shrink()
        return sampled

    @torch.no_grad()
    def step(self) -> list[Sampled]:
        """Sample the next token of every sequence; returns those that this finished."""
        alive = [s for group in self._groups for s in group.rows]
        for group in self._groups:
            self._forward(group, [[s.tokens[-1]] for s in group.rows])
        self._shrink()
        return [s for s in alive if s.stop_reason]

    def drop(self, sequences: Sequence[Sampled]) -> None:
        """Decode these no further."""
        self._shrink(sequences)

    def _forward(self, group: _Group, tokens: list[list[int]]) -> None:
        """Read the next tokens ``[B, T]`` of a group and sample one after them."""
        ids = torch.tensor(tokens, device=self._device)
        output = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self._cache_argument: group.cache})
        self._extend(group.rows, output.logits[:, -1].float())

    def _shrink(self, dropped: Sequence[Sampled] = ()) -> None:
        """Take finished and dropped sequences out of their groups."""
        for group in self._groups:
            kept = [row for row, s in enumerate(group.rows) if not s.stop_reason and s not in dropped]
            if kept and len(kept) < len(group.rows):
                group.cache.reorder_cache(torch.tensor(kept, device=self._device))
            group.rows = [group.rows[row] for row in kept]
        self._groups = [group for group in self._groups if group.rows]


def decodes_jointly(model: Any) -> bool:
    """Whether sequences of unlike lengths are decoded together, in one cache."""
    return attention_alone(model) and own_cache_in_every_layer(model)


def make_decoder(model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int) -> Decoder | GroupDecoder:
    """The fastest decoder that is right for a model; the arguments are those of `Decoder`."""
    return (Decoder if decodes_jointly(model) else GroupDecoder)(model, tokenizer, device, prefill_tokens)
