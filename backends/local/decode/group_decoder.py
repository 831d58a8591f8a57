"""Decoding of models that keep more state than keys and values of every layer: no row is ever padded.

A recurrent state would take in padding, so only prompts of one length are read together, and continue together with a
cache of the model's own kind. The more the lengths differ, the slower this is than `backends.local.decode.decoder`.
Long-rope models need it too, for sequences that grow beyond their short context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from backends.local.decode.decoder import Decoder
from backends.local.decode.sequence import GeneratedSequence, SequenceRequest, TokenSampler
from backends.local.model.architecture_traits import (
    attention_alone,
    cache_argument,
    own_cache_in_every_layer,
    short_context,
)
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import Resumable


@dataclass(eq=False)
class _Group:
    """Sequences of equal length, in the order of the rows of their cache."""

    cache: Any
    sequences: list[GeneratedSequence]


class GroupDecoder:
    """Sequences that are decoded in groups of one length; used like `Decoder`.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer, to find stop strings.
        device: Where the model is.
        prefill_tokens: Prompt tokens in one forward pass.
    """

    def __init__(self, model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int) -> None:
        self._model, self._device, self._prefill_tokens = model, device, prefill_tokens
        self._extend = TokenSampler(tokenizer).extend
        self._cache_argument = cache_argument(getattr(model, "forward", model))
        self._groups: list[_Group] = []
        self._short_context = short_context(model)

    @property
    def active(self) -> list[GeneratedSequence]:
        """The sequences that are not finished."""
        return [s for group in self._groups for s in group.sequences]

    @torch.no_grad()
    def admit(self, requests: Sequence[SequenceRequest]) -> Resumable[list[GeneratedSequence]]:
        """Read the prompts, sample a token after each, and decode them with the others from now on.

        A step is a forward pass. Returns the sequences in the order of the requests; some may be finished already.
        """
        sequences = [GeneratedSequence(request) for request in requests]
        by_length: dict[int, list[GeneratedSequence]] = {}
        for s in sequences:
            by_length.setdefault(len(s.request.prompt), []).append(s)
        for length, members in sorted(by_length.items(), reverse=True):
            count = max(1, self._prefill_tokens // length)
            for start in range(0, len(members), count):
                group = _Group(DynamicCache(config=self._model.config), members[start : start + count])
                self._forward(group, [s.request.prompt for s in group.sequences])
                self._groups.append(group)
                yield
        self._remove_ended()
        return sequences

    @torch.no_grad()
    def step(self) -> Resumable[list[GeneratedSequence]]:
        """Sample the next token of every sequence, each group in a separate step; returns those finished."""
        sequences = self.active
        groups: list[_Group] = []
        for group in self._groups:
            for part, tokens in self._next_inputs(group):
                self._forward(part, tokens)
                groups.append(part)
                yield
        self._groups = groups
        self._remove_ended()
        return [s for s in sequences if s.stop_reason]

    def _next_inputs(self, group: _Group) -> Iterator[tuple[_Group, list[list[int]]]]:
        """The group with the last token of every sequence; or the groups that it is split into, with all their tokens.

        Beyond a long-rope model's short context the long factors apply, also to the keys that were rotated by the
        short ones: everything is read again, by as many rows as fit into a forward pass.
        """
        first = group.sequences[0]
        length = len(first.request.prompt) + len(first.tokens)
        if length - 1 != self._short_context:
            yield group, [[s.tokens[-1]] for s in group.sequences]
            return
        count = max(1, self._prefill_tokens // length)
        for start in range(0, len(group.sequences), count):
            part = _Group(DynamicCache(config=self._model.config), group.sequences[start : start + count])
            yield part, [[*s.request.prompt, *s.tokens] for s in part.sequences]

    def peak_positions(self, requests: Sequence[SequenceRequest]) -> int:
        """See `Decoder.peak_positions`; every row keeps its whole sequence."""
        return sum(len(r.prompt) + r.max_tokens for r in (*(s.request for s in self.active), *requests))

    def drop(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Stop decoding these sequences."""
        self._remove_ended(sequences)

    def _forward(self, group: _Group, tokens: list[list[int]]) -> None:
        """Read the next tokens ``[B, T]`` of a group and sample one after them."""
        ids = torch.tensor(tokens, device=self._device)
        output = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self._cache_argument: group.cache})
        self._extend(group.sequences, output.logits[:, -1].float())

    def _remove_ended(self, dropped: Sequence[GeneratedSequence] = ()) -> None:
        """Take finished and dropped sequences out of their groups."""
        for group in self._groups:
            kept = [row for row, s in enumerate(group.sequences) if not s.stop_reason and s not in dropped]
            if kept and len(kept) < len(group.sequences):
                group.cache.reorder_cache(torch.tensor(kept, device=self._device))
            group.sequences = [group.sequences[row] for row in kept]
        self._groups = [group for group in self._groups if group.sequences]


def can_pad(model: Any) -> bool:
    """Whether sequences of different lengths can be decoded together, in one cache."""
    return attention_alone(model) and own_cache_in_every_layer(model)


class LongRopeDecoder:
    """Sequences of a long-rope model: together if they stay within its short context, else in groups of one length.

    Used like `Decoder`, and constructed with the same arguments.
    """

    def __init__(
        self, model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int, prefix_cache: PrefixCache
    ) -> None:
        self._short_context = short_context(model) or 0
        self._short = Decoder(model, tokenizer, device, prefill_tokens, prefix_cache)
        self._long = GroupDecoder(model, tokenizer, device, prefill_tokens)

    @property
    def active(self) -> list[GeneratedSequence]:
        """The sequences that are not finished."""
        return [*self._short.active, *self._long.active]

    def admit(self, requests: Sequence[SequenceRequest]) -> Resumable[list[GeneratedSequence]]:
        """See `Decoder.admit`."""
        short = self._are_short(requests)
        admitted: dict[bool, Iterator[GeneratedSequence]] = {}
        for side, decoder in ((True, self._short), (False, self._long)):
            part = [request for request, is_short in zip(requests, short, strict=True) if is_short == side]
            admitted[side] = iter((yield from decoder.admit(part)) if part else [])
        return [next(admitted[side]) for side in short]

    def step(self) -> Resumable[list[GeneratedSequence]]:
        """See `Decoder.step`."""
        decoders = [decoder for decoder in (self._short, self._long) if decoder.active]
        finished: list[GeneratedSequence] = []
        for decoder in decoders:
            finished += yield from decoder.step()
        return finished

    def _are_short(self, requests: Sequence[SequenceRequest]) -> list[bool]:
        return [len(request.prompt) + request.max_tokens <= self._short_context for request in requests]

    def peak_positions(self, requests: Sequence[SequenceRequest]) -> int:
        """See `Decoder.peak_positions`."""
        short = self._are_short(requests)
        return sum(
            decoder.peak_positions(
                [request for request, is_short in zip(requests, short, strict=True) if is_short == side]
            )
            for side, decoder in ((True, self._short), (False, self._long))
        )

    def drop(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Stop decoding these sequences."""
        self._short.drop(sequences)
        self._long.drop(sequences)


AnyDecoder = Decoder | GroupDecoder | LongRopeDecoder


def make_decoder(
    model: Any, tokenizer: Any, device: torch.device, prefill_tokens: int, prefix_cache: PrefixCache
) -> AnyDecoder:
    """The fastest decoder that is correct for a model; the arguments are those of `Decoder`."""
    if not can_pad(model):
        return GroupDecoder(model, tokenizer, device, prefill_tokens)
    decoder = LongRopeDecoder if short_context(model) else Decoder
    return decoder(model, tokenizer, device, prefill_tokens, prefix_cache)
