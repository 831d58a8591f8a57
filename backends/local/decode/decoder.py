"""Autoregressive decoding of many sequences at once; they join and leave between two tokens.

The sequences share one batch cache whose last filled position is the last token of every row, so that a step appends
one position and no row is ever shifted by itself. A row that has finished is given to the next prompt, or dropped.
Prefixes that several rows share are stored beside the cache, once (`backends.local.decode.shared_prefixes`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from backends.local.decode.growing_cache import CacheShape, GrowingLayer, concat_kv, layer_kvs
from backends.local.decode.prompt_reader import PromptReader, kv_length
from backends.local.decode.sequence import GeneratedSequence, SequenceRequest, TokenSampler
from backends.local.decode.shared_prefixes import SharedPrefix, build_cascade
from backends.local.model.architecture_traits import text_config
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import CascadeLevel, LayerKV
from backends.local.prefix_cache import PrefixCache, PrefixKV
from backends.local.resumable import Resumable
from backends.planning.decode_plan import (
    MIN_PREFIX_TOKENS,
    PrefixSpan,
    Prompt,
    RowLength,
    find_shared_prefixes,
    free_positions,
    longest_prefix_length,
    peak_positions,
    plan_shared_prefixes,
    row_positions,
)
from backends.tokenizer import Tokenizer

# Free rows stay in the cache until at most this share of the rows is active: dropping them copies the cache.
COMPACT_AT = 0.75


class _NewRow(NamedTuple):
    """A sequence that joins the batch cache.

    Attributes:
        sequence: The sequence, with its first token.
        prefixes: Shared prefixes of its prompt.
        kv: Keys and values of the rest of its prompt, ``[1, H, T, D]`` of each layer; empty if there is no rest.
    """

    sequence: GeneratedSequence
    prefixes: tuple[SharedPrefix, ...]
    kv: PrefixKV


@dataclass(eq=False, slots=True)
class _Row:
    """A row of the batch cache.

    Attributes:
        sequence: Its sequence.
        start: Its first position in the cache.
        prefixes: Shared prefixes of its prompt, which are not in the row itself.
    """

    sequence: GeneratedSequence
    start: int
    prefixes: tuple[SharedPrefix, ...]


class _AdmissionPlan(NamedTuple):
    """How prompts that join are read: prefixes to prefill first, and the spans of each prompt that are shared."""

    prefixes: list[Prompt]
    spans: dict[Prompt, tuple[PrefixSpan, ...]]


class Decoder:
    """Sequences that are decoded together.

    Each depends on its own seed alone, and on the others only through rounding: matrix products of another size add up
    in another order.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer, to find stop strings.
        device: Where the model is.
        prefill_tokens: Padded prompt tokens in one forward pass.
        prefix_cache: Prefixes of prompts that have been read before.
    """

    def __init__(
        self,
        model: CausalModel,
        tokenizer: Tokenizer,
        device: torch.device,
        prefill_tokens: int,
        prefix_cache: PrefixCache,
    ) -> None:
        self._model, self._device = model, device
        self._prefix_cache = prefix_cache
        self._extend = TokenSampler(tokenizer).extend
        self._prefill_tokens = prefill_tokens
        self._reader = PromptReader(model, device, prefix_cache)
        self._layers = [GrowingLayer() for _ in range(text_config(model).num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        # The S rows of the cache; None: free.
        self._rows: list[_Row | None] = []
        # Positions of the cache that are filled.
        self._filled = 0
        self._mask = torch.empty(0)  # [S, 1, 1, C], 0 or -inf
        self._cascade: list[CascadeLevel] = []

    @property
    def active(self) -> list[GeneratedSequence]:
        """The sequences that are not finished."""
        return [row.sequence for row in self._active_rows()]

    def _active_rows(self) -> list[_Row]:
        return [row for row in self._rows if row is not None]

    @torch.no_grad()
    def admit(self, requests: Sequence[SequenceRequest]) -> Resumable[list[GeneratedSequence]]:
        """Read the prompts, sample a token after each, and decode them with the others from now on.

        Equal prompts are read once, and so are long prefixes that several share. A step is a forward pass. Returns the
        sequences in the order of the requests; some may be finished already.
        """
        prompts = Counter(tuple(request.prompt) for request in requests)
        plan = self._plan_admission(prompts)
        # Each prompt keeps its last token: its logits are wanted.
        cached = {prompt: self._reader.lookup(prompt, len(prompt) - 1) for prompt in prompts}
        cached_before = yield from self._read_prefixes(plan.prefixes, cached)
        shared = {prefix.span: prefix for row in self._active_rows() for prefix in row.prefixes}
        admitted: dict[int, GeneratedSequence] = {}
        for prefix, (prefix_kv, members) in _group_by_cached_prefix(cached).items():
            while members:
                count = max(1, self._prefill_tokens // (len(members[0]) - len(prefix)))
                batch, members = members[:count], members[count:]
                cache, logits = self._reader.read(batch, prefix_kv, [len(prompt) - 1 for prompt in batch])
                batch_rows = {prompt: row for row, prompt in enumerate(batch)}
                sources = {
                    i: row for i, r in enumerate(requests) if (row := batch_rows.get(tuple(r.prompt))) is not None
                }
                hits = [cached_before.get(prompt, len(prefix)) for prompt in batch]
                sequences = self._sample_first_tokens(requests, sources, logits, hits)
                row_parts = [
                    self._split_kv(prompt, plan.spans[prompt], shared, prefix_kv, cache, row)
                    for row, prompt in enumerate(batch)
                ]
                new_rows = [
                    _NewRow(sequence, *row_parts[sources[i]])
                    for i, sequence in sequences.items()
                    if not sequence.stop_reason
                ]
                yield from self._assign_rows(new_rows, cache)
                admitted |= sequences
                if len(prompts) == 1 and len(batch[0]) >= MIN_PREFIX_TOKENS and self._reader.takes_finished_mask:
                    # The next turn of its conversation may continue it.
                    self._prefix_cache.store(batch[0], concat_kv(prefix_kv, layer_kvs(cache)))
                yield
        return [admitted[i] for i in range(len(requests))]

    def peak_positions(self, requests: Sequence[SequenceRequest]) -> int:
        """Most cache positions, over all rows, from now on if these join; shared prefixes count once.

        Prefixes that are cached for later calls have a limit of their own.
        """
        plan = self._plan_admission(Counter(tuple(request.prompt) for request in requests))
        active = self._active_rows()
        lengths = [RowLength(self._filled - row.start, row.sequence.max_remaining) for row in active]
        # The first token of an answer is sampled before the row is in the cache.
        lengths += [
            RowLength(row_positions(tuple(r.prompt), plan.spans[tuple(r.prompt)]), r.max_tokens - 1) for r in requests
        ]
        allocated = len(self._rows) * self._layers[0].capacity if active else 0
        stored = {prefix.span for row in active for prefix in row.prefixes}
        # At first the cache as it is stands beside the new prefixes.
        return max(allocated + peak_positions(plan.spans, (), stored), peak_positions(plan.spans, lengths, stored))

    def _plan_admission(self, row_counts: Mapping[Prompt, int]) -> _AdmissionPlan:
        """How prompts, each with so many rows, would be read and stored if they joined now."""
        if not self._reader.takes_finished_mask:
            return _AdmissionPlan([], dict.fromkeys(row_counts, ()))
        prefixes = find_shared_prefixes(list(row_counts))
        cached_lengths = {
            prompt: max(self._prefix_cache.match(prompt, len(prompt) - 1)[0], longest_prefix_length(prefixes, prompt))
            for prompt in row_counts
        }
        stored = {prefix.span for row in self._active_rows() for prefix in row.prefixes}
        if not self._reader.takes_cascade:
            return _AdmissionPlan(prefixes, dict.fromkeys(row_counts, ()))
        return _AdmissionPlan(prefixes, plan_shared_prefixes(row_counts, cached_lengths, stored))

    def _read_prefixes(
        self, prefixes: Sequence[Prompt], cached: dict[Prompt, tuple[int, PrefixKV]]
    ) -> Resumable[dict[Prompt, int]]:
        """Read and cache prefixes that several prompts share.

        Args:
            prefixes: In the order in which they are to be read.
            cached: Length and keys and values of each prompt's cached prefix; replaced where it becomes longer.

        Returns:
            Of the prompts for which a prefix was read, how much of it was cached before.
        """
        cached_before: dict[Prompt, int] = {}
        for prefix in prefixes:
            length = len(prefix)
            members = [prompt for prompt in cached if prompt[:length] == prefix]
            known, kv = self._reader.cache_prefix(prefix)
            if known < length:
                cached_before.setdefault(members[0], known)
                yield
            cached |= {prompt: (length, kv) for prompt in members if cached[prompt][0] < length}
        return cached_before

    def _sample_first_tokens(
        self, requests: Sequence[SequenceRequest], sources: Mapping[int, int], logits: Tensor, hits: Sequence[int]
    ) -> dict[int, GeneratedSequence]:
        """The sequences of prompts that have been read, each with its first token, by index of their requests.

        Args:
            requests: All requests.
            sources: The prompt of each of these sequences: its row in the batch, by index of the request.
            logits: After each prompt of the batch, ``[B, V]``.
            hits: Tokens of each prompt of the batch that were cached.
        """
        sequences = [GeneratedSequence(requests[i], cached_tokens=hits[row]) for i, row in sources.items()]
        self._extend(sequences, logits[torch.tensor(list(sources.values()), device=self._device)])
        return dict(zip(sources, sequences, strict=True))

    def _split_kv(
        self,
        prompt: Prompt,
        spans: Sequence[PrefixSpan],
        shared: dict[PrefixSpan, SharedPrefix],
        prefix_kv: PrefixKV,
        cache: Cache,
        row: int,
    ) -> tuple[tuple[SharedPrefix, ...], PrefixKV]:
        """Split keys and values of a prompt into shared prefixes and those that each of its rows stores itself.

        Args:
            prompt: The prompt.
            spans: Its spans that are to be shared.
            shared: The shared prefixes that exist, to which new ones are added.
            prefix_kv: Keys and values of its cached prefix.
            cache: What was read of this prompt and others, padded on the right.
            row: The prompt's row in `cache`.
        """
        length = len(prompt) - kv_length(prefix_kv)
        # Copied, so that it does not keep the keys and values of the other prompts alive: L x 2 x [1, H, length, D]
        suffix_kv = [(k[row, None, :, :length].clone(), v[row, None, :, :length].clone()) for k, v in layer_kvs(cache)]
        shares_prefix = bool(spans) and spans[0].tokens != prompt
        rest_kv = suffix_kv if shares_prefix else concat_kv(prefix_kv, suffix_kv)
        prefixes = tuple(
            shared.setdefault(span, SharedPrefix(span, rest_kv if span.tokens == prompt else prefix_kv))
            for span in spans
        )
        return prefixes, [] if spans and spans[-1].tokens == prompt else rest_kv

    def _assign_rows(self, new_rows: Sequence[_NewRow], cache: Cache) -> Resumable[None]:
        """Give each sequence a row of the batch cache; an empty one takes its sizes from `cache`."""
        if not new_rows:
            return
        max_length = max(kv_length(new.kv) for new in new_rows)
        # When nothing else is decoded, begin with a new cache: in a wider one, sums would round differently.
        if not self._active_rows() or self._rows.count(None) < len(new_rows) or max_length > self._filled:
            yield from self._rebuild([new.sequence for new in new_rows], max_length, list(layer_kvs(cache)))
        free = [slot for slot, row in enumerate(self._rows) if row is None]
        for new, slot in zip(new_rows, free, strict=False):
            row = self._rows[slot] = _Row(new.sequence, self._filled - kv_length(new.kv), new.prefixes)
            for layer, (keys, values) in zip(self._layers, new.kv, strict=False):
                layer.key_buffer[slot, :, row.start : self._filled] = keys[0]
                layer.value_buffer[slot, :, row.start : self._filled] = values[0]
        self._update_attention()

    def _rebuild(
        self, joining: Sequence[GeneratedSequence] = (), min_filled: int = 0, like: Sequence[LayerKV] = ()
    ) -> Resumable[None]:
        """Drop free rows and unused positions, add rows for sequences that join, and free positions for new tokens.

        It copies the whole cache, gigabytes with many long sequences, so each layer is a step.

        Args:
            joining: Sequences that need a row.
            min_filled: Filled positions that their prompts need.
            like: Keys and values of each layer, from which an empty layer takes its sizes.
        """
        kept = [slot for slot, row in enumerate(self._rows) if row is not None]
        rows = self._active_rows()
        first = min((row.start for row in rows), default=self._filled)
        filled = max(min_filled, self._filled - first)
        max_remaining = max(sequence.max_remaining for sequence in [*self.active, *joining])
        shape = CacheShape(len(kept) + len(joining), filled, free_positions(filled, max_remaining))
        index = torch.tensor(kept, device=self._device, dtype=torch.long)
        for layer, example in itertools.zip_longest(self._layers, like):
            layer.rebuild(example, index, first, shape)
            yield
        for row in rows:
            row.start += filled - self._filled
        self._rows = [*rows, *([None] * len(joining))]
        self._filled = filled
        self._update_attention()

    def _update_attention(self) -> None:
        """Compute which cache positions and which shared prefixes every row attends to."""
        starts = torch.tensor([row.start if row else 0 for row in self._rows])[:, None]  # [S, 1]
        positions = torch.arange(self._layers[0].capacity)[None]  # [1, C]
        mask = torch.zeros(len(self._rows), positions.shape[1], dtype=self._layers[0].key_buffer.dtype)
        self._mask = mask.masked_fill_(positions < starts, -torch.inf)[:, None, None].to(self._device)
        self._cascade = build_cascade([row.prefixes if row else () for row in self._rows], self._device)

    def drop(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Stop decoding these sequences."""
        if sequences:
            self._rows = [None if row is None or row.sequence in sequences else row for row in self._rows]

    @torch.no_grad()
    def step(self) -> Resumable[list[GeneratedSequence]]:
        """Sample the next token of every sequence, in several steps where the cache grows; returns those finished."""
        sequences = self.active
        if len(sequences) <= COMPACT_AT * len(self._rows) or self._filled == self._layers[0].capacity:
            yield from self._rebuild()
        active_slots = [slot for slot, row in enumerate(self._rows) if row is not None]
        ids = torch.zeros(len(self._rows), 1, dtype=torch.long)  # [S, 1]
        position_ids = torch.zeros_like(ids)  # [S, 1]
        for slot, s in zip(active_slots, sequences, strict=True):
            ids[slot], position_ids[slot] = s.tokens[-1], len(s.request.prompt) + len(s.tokens) - 1
        self._filled += 1
        mask = self._mask[..., : self._filled]
        output = self._model(
            input_ids=ids.to(self._device),
            attention_mask=mask if self._reader.takes_finished_mask else (mask[:, 0, 0] == 0).long(),
            position_ids=position_ids.to(self._device),
            use_cache=True,
            logits_to_keep=1,
            **{self._reader.cache_argument: self._cache},
            **({"cascade": self._cascade} if self._cascade else {}),
        )
        logits = output.logits[:, -1].float()  # [S, V]
        if len(sequences) < len(self._rows):
            logits = logits[torch.tensor(active_slots, device=self._device)]
        self._extend(sequences, logits)
        self._rows = [None if row is None or row.sequence.stop_reason else row for row in self._rows]
        return [s for s in sequences if s.stop_reason]


def _group_by_cached_prefix(
    cached: Mapping[Prompt, tuple[int, PrefixKV]],
) -> dict[Prompt, tuple[PrefixKV, list[Prompt]]]:
    """The prompts that continue each cached prefix, longest first, with the prefix's keys and values."""
    groups: dict[Prompt, tuple[PrefixKV, list[Prompt]]] = {}
    for prompt in sorted(cached, key=len, reverse=True):
        length, kv = cached[prompt]
        groups.setdefault(prompt[:length], (kv, []))[1].append(prompt)
    return groups
