"""Sampling of models that keep more than keys and values of every layer: no row is ever padded.

A state that runs along the sequence takes padding into it, so only prompts of one length are read together, and go on
together with a cache of the model's own kind. That is slower than `backends.local.decode.decoder` by as much as the
lengths differ. Long-rope models need it too, for sequences that come to lie beyond their first context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from backends.local.decode.decoder import Decoder
from backends.local.decode.sequence import Extender, Request, Sampled
from backends.local.model.architecture_traits import (
    attention_alone,
    cache_argument,
    own_cache_in_every_layer,
    short_context,
)
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import Steps


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
        self._short_context = short_context(model)

    @property
    def active(self) -> list[Sampled]:
        """The sequences that are not finished."""
        return [s for group in self._groups for s in group.rows]

    @torch.no_grad()
    def admit(self, requests: Sequence[Request]) -> Steps[list[Sampled]]:
        """Read the prompts, sample a token after each, and decode them from now on with the rest.

        A step is a forward pass. Returns the sequences in the order of the requests; some may be finished already.
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
                yield
        self._shrink()
        return sampled

    @torch.no_grad()
    def step(self) -> Steps[list[Sampled]]:
        """Sample the next token of every sequence, each group in a separate step; returns those finished."""
        alive = self.active
        groups: list[_Group] = []
        for group in self._groups:
            for part, tokens in self._continued(group):
                self._forward(part, tokens)
                groups.append(part)
                yield
        self._groups = groups
        self._shrink()
        return [s for s in alive if s.stop_reason]

    def _continued(self, group: _Group) -> Iterator[tuple[_Group, list[list[int]]]]:
        """The groups that a group goes on as, with what each reads next: itself, with the last token of every row.

        Where a long-rope model's first context ends, the long factors hold from there on, also for the keys that were
        turned by the short ones: all is read anew, by as many rows as fit into a forward pass.
        """
        first = group.rows[0]
        read = len(first.request.prompt) + len(first.tokens)
        if read - 1 != self._short_context:
            yield group, [[s.tokens[-1]] for s in group.rows]
            return
        count = max(1, self._prefill_tokens // read)
        for start in range(0, len(group.rows), count):
            part = _Group(DynamicCache(config=self._model.config), group.rows[start : start + count])
            yield part, [[*s.request.prompt, *s.tokens] for s in part.rows]

    def columns(self, requests: Sequence[Request]) -> int:
        """See `Decoder.columns`; every row keeps its whole sequence."""
        return sum(len(r.prompt) + r.max_tokens for r in (*(s.request for s in self.active), *requests))

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


class LongRopeDecoder:
    """Sequences of a long-rope model: together if they stay within its first context, else in groups of one length.

    Used like `Decoder`, and made with the same arguments.
    """

    def __init__(
        self, model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int, prefixes: PrefixCache
    ) -> None:
        self._short_context = short_context(model) or 0
        self._short = Decoder(model, tokenizer, device, prefill_tokens, prefixes)
        self._long = GroupDecoder(model, tokenizer, device, prefill_tokens)

    @property
    def active(self) -> list[Sampled]:
        """The sequences that are not finished."""
        return [*self._short.active, *self._long.active]

    def admit(self, requests: Sequence[Request]) -> Steps[list[Sampled]]:
        """See `Decoder.admit`."""
        short = self._are_short(requests)
        parts: dict[bool, Iterator[Sampled]] = {}
        for side, decoder in ((True, self._short), (False, self._long)):
            own = [request for request, is_short in zip(requests, short, strict=True) if is_short == side]
            parts[side] = iter((yield from decoder.admit(own)) if own else [])
        return [next(parts[side]) for side in short]

    def step(self) -> Steps[list[Sampled]]:
        """See `Decoder.step`."""
        decoders = [decoder for decoder in (self._short, self._long) if decoder.active]
        finished: list[Sampled] = []
        for decoder in decoders:
            finished += yield from decoder.step()
        return finished

    def _are_short(self, requests: Sequence[Request]) -> list[bool]:
        return [len(request.prompt) + request.max_tokens <= self._short_context for request in requests]

    def columns(self, requests: Sequence[Request]) -> int:
        """See `Decoder.columns`."""
        short = self._are_short(requests)
        return sum(
            decoder.columns([request for request, is_short in zip(requests, short, strict=True) if is_short == side])
            for side, decoder in ((True, self._short), (False, self._long))
        )

    def drop(self, sequences: Sequence[Sampled]) -> None:
        """Decode these no further."""
        self._short.drop(sequences)
        self._long.drop(sequences)


AnyDecoder = Decoder | GroupDecoder | LongRopeDecoder


def make_decoder(
    model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int, prefixes: PrefixCache
) -> AnyDecoder:
    """The fastest decoder that is right for a model; the arguments are those of `Decoder`."""
    if not decodes_jointly(model):
        return GroupDecoder(model, tokenizer, device, prefill_tokens)
    kind = LongRopeDecoder if short_context(model) else Decoder
    return kind(model, tokenizer, device, prefill_tokens, prefixes)
