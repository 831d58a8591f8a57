"""Autoregressive sampling of many sequences at once; they join and leave between two tokens.

The sequences share one key/value cache whose last column is the last token of every row, so that a step writes one
column and no row is ever shifted by itself. A row that has finished is given to the next prompt, or dropped. What
several rows begin with is held beside the cache, once (`backends.local.decode.shared_prefixes`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers.cache_utils import Cache

from backends.local.decode.growing_cache import (
    CacheShape,
    GrowingLayer,
    keys_and_values,
    whole,
)
from backends.local.decode.prompt_reader import PromptReader
from backends.local.decode.sequence import Extender, Request, Sampled
from backends.local.decode.shared_prefixes import Stem, in_levels
from backends.local.model.architecture_traits import text_config
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import KeysValues, Level
from backends.local.prefix_cache import Beginning, PrefixCache
from backends.local.resumable import Steps
from backends.planning.decode_plan import (
    SHARED,
    Prompt,
    Row,
    Span,
    free_columns,
    held_columns,
    longest_of,
    own_columns,
    plan_stems,
    shared_beginnings,
)
from backends.tokenizer import Tokenizer

# Free rows stay in the cache until no more than this share is alive: dropping them copies it.
COMPACT_AT = 0.75


@dataclass(eq=False, slots=True)
class _Row:
    """A row of the joint cache.

    Attributes:
        sampled: Its sequence.
        start: Its first column.
        stems: What its sequence begins with, which is in none of its columns.
    """

    sampled: Sampled
    start: int
    stems: tuple[Stem, ...]


class _Admission(NamedTuple):
    """How prompts that join are read: which beginnings of several first, and what is held once of each."""

    beginnings: list[Prompt]
    stems: dict[Prompt, tuple[Span, ...]]


class Decoder:
    """Sequences that are being decoded together.

    Each depends on its own seed alone, and on the others only through rounding: matrix products of another size add up
    in another order.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer, to find stop strings.
        device: Where the model is.
        prefill_tokens: Padded prompt tokens in one forward pass.
        prefixes: Beginnings of prompts that are at hand.
    """

    def __init__(
        self,
        model: CausalModel,
        tokenizer: Tokenizer,
        device: torch.device,
        prefill_tokens: int,
        prefixes: PrefixCache,
    ) -> None:
        self._model, self._device = model, device
        self._prefixes = prefixes
        self._extend = Extender(tokenizer).extend
        self._prefill_tokens = prefill_tokens
        self._reader = PromptReader(model, device, prefixes)
        self._layers = [GrowingLayer() for _ in range(text_config(model).num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._slots: list[_Row | None] = []
        # Columns filled.
        self._width = 0
        self._mask = torch.empty(0)  # [S, 1, 1, C], 0 or -inf
        self._levels: list[Level] = []

    @property
    def active(self) -> list[Sampled]:
        """The sequences that are not finished."""
        return [row.sampled for row in self._slots if row is not None]

    @torch.no_grad()
    def admit(self, requests: Sequence[Request]) -> Steps[list[Sampled]]:
        """Read the prompts, sample a token after each, and decode them from now on with the rest.

        Equal prompts are read once, and so are long beginnings that several share. A step is a forward pass. Returns
        the sequences in the order of the requests; some may be finished already.
        """
        prompts = Counter(tuple(request.prompt) for request in requests)
        plan = self._plan(prompts)
        at_hand = {prompt: self._find(prompt) for prompt in prompts}
        read = yield from self._read_beginnings(plan.beginnings, at_hand)
        groups: dict[Prompt, tuple[Beginning, list[Prompt]]] = {}
        for prompt in sorted(prompts, key=len, reverse=True):
            shared, layers = at_hand[prompt]
            groups.setdefault(prompt[:shared], (layers, []))[1].append(prompt)
        stems = {stem.span: stem for row in self._slots if row is not None for stem in row.stems}
        admitted: dict[int, Sampled] = {}
        for beginning, (layers, members) in groups.items():
            while members:
                count = max(1, self._prefill_tokens // (len(members[0]) - len(beginning)))
                batch, members = members[:count], members[count:]
                rows = {prompt: row for row, prompt in enumerate(batch)}
                cache, logits = self._reader.read(batch, layers, [len(prompt) - 1 for prompt in batch])
                mine = [(i, rows[tuple(r.prompt)]) for i, r in enumerate(requests) if tuple(r.prompt) in rows]
                sampled = [Sampled(requests[i], cached=read.get(batch[row], len(beginning))) for i, row in mine]
                self._extend(sampled, logits[torch.tensor([row for _, row in mine], device=self._device)])
                held = [self._held(prompt, plan.stems[prompt], stems, layers, cache, rows[prompt]) for prompt in batch]
                going_on = [(s, *held[row]) for s, (_, row) in zip(sampled, mine, strict=True) if not s.stop_reason]
                yield from self._place(going_on, cache)
                admitted |= {i: s for (i, _), s in zip(mine, sampled, strict=True)}
                if len(prompts) == 1 and len(batch[0]) >= SHARED and self._reader.prepared_mask:
                    # Its next turn may go on from it.
                    self._prefixes.keep(batch[0], whole(layers, keys_and_values(cache)))
                yield
        return [admitted[i] for i in range(len(requests))]

    def columns(self, requests: Sequence[Request]) -> int:
        """Columns of one row, in all layers, that keys and values take at the most from now on, if these join.

        What several rows begin with counts once. Beginnings that are kept for later calls have a limit of their own.
        """
        plan = self._plan(Counter(tuple(request.prompt) for request in requests))
        alive = [row for row in self._slots if row is not None]
        rows = [Row(self._width - row.start, row.sampled.request.max_tokens - len(row.sampled.tokens)) for row in alive]
        # The first token of an answer is sampled before the row has its columns.
        rows += [Row(own_columns(tuple(r.prompt), plan.stems[tuple(r.prompt)]), r.max_tokens - 1) for r in requests]
        standing = len(self._slots) * self._layers[0].key_buffer.shape[-2] if alive else 0
        held = {stem.span for row in alive for stem in row.stems}
        return max(standing + held_columns(plan.stems, (), held), held_columns(plan.stems, rows, held))

    def _plan(self, prompts: Mapping[Prompt, int]) -> _Admission:
        """How prompts, of each so many rows, would be read and held if they joined now."""
        if not self._reader.prepared_mask:
            return _Admission([], dict.fromkeys(prompts, ()))
        beginnings = shared_beginnings(list(prompts))
        begun = {p: max(self._prefixes.known(p, len(p) - 1)[0], longest_of(beginnings, p)) for p in prompts}
        held = {stem.span for row in self._slots if row is not None for stem in row.stems}
        return _Admission(
            beginnings, plan_stems(prompts, begun, held) if self._reader.shares else dict.fromkeys(prompts, ())
        )

    def _read_beginnings(
        self, beginnings: Sequence[Prompt], at_hand: dict[Prompt, tuple[int, Beginning]]
    ) -> Steps[dict[Prompt, int]]:
        """Read and keep what several prompts begin with.

        Args:
            beginnings: In the order in which they are to be read.
            at_hand: What of each prompt is, which comes to be more.

        Returns:
            Of the prompts for which it was read, how much of it they had before.
        """
        read: dict[Prompt, int] = {}
        for beginning in beginnings:
            length = len(beginning)
            members = [prompt for prompt in at_hand if prompt[:length] == beginning]
            known, layers = self._reader.keep(beginning)
            if known < length:
                read.setdefault(members[0], known)
                yield
            at_hand |= {prompt: (length, layers) for prompt in members if at_hand[prompt][0] < length}
        return read

    def _find(self, prompt: Prompt) -> tuple[int, Beginning]:
        """The longest beginning of a prompt that is at hand, less its last token: every prompt keeps one."""
        return self._reader.find(prompt, len(prompt) - 1)

    def _held(
        self,
        prompt: Prompt,
        spans: Sequence[Span],
        stems: dict[Span, Stem],
        beginning: Beginning,
        cache: Cache,
        row: int,
    ) -> tuple[tuple[Stem, ...], Beginning]:
        """The stems of the rows of a prompt that has been read, and what each has in its columns, if anything.

        Args:
            prompt: The prompt.
            spans: What is to be held once of it.
            stems: Those that there are, to which its own are added.
            beginning: Keys and values of its beginning, if it is at hand.
            cache: What was read of it and others.
            row: Where it is in the cache.
        """
        own = len(prompt) - _columns(beginning)
        # Copied, so that those read with it are not kept for its sake.
        following = [(k[row, None, :, :own].clone(), v[row, None, :, :own].clone()) for k, v in keys_and_values(cache)]
        begins = bool(spans) and spans[0].tokens != prompt
        rest = following if begins else whole(beginning, following)
        held = tuple(stems.setdefault(span, Stem(span, rest if span.tokens == prompt else beginning)) for span in spans)
        return held, [] if spans and spans[-1].tokens == prompt else rest

    def _place(self, sampled: Sequence[tuple[Sampled, tuple[Stem, ...], Beginning]], cache: Cache) -> Steps[None]:
        """Give each sequence a row of the joint cache.

        Args:
            sampled: The sequences, the stems of each and what it has in its columns.
            cache: What was read of their prompts.
        """
        if not sampled:
            return
        widest = max(_columns(layers) for _, _, layers in sampled)
        # Whoever finds nobody else begins with a cache of their own: in a wider one, sums round in another way.
        if not self.active or self._slots.count(None) < len(sampled) or widest > self._width:
            yield from self._rebuild([s for s, _, _ in sampled], widest, list(keys_and_values(cache)))
        free = [slot for slot, row in enumerate(self._slots) if row is None]
        for (s, stems, layers), slot in zip(sampled, free, strict=False):
            row = self._slots[slot] = _Row(s, self._width - _columns(layers), stems)
            for layer, (keys, values) in zip(self._layers, layers, strict=False):
                layer.key_buffer[slot, :, row.start : self._width] = keys[0]
                layer.value_buffer[slot, :, row.start : self._width] = values[0]
        self._arrange()

    def _rebuild(self, joining: Sequence[Sampled] = (), width: int = 0, like: Sequence[KeysValues] = ()) -> Steps[None]:
        """Drop free rows and unused columns; make rows for those that join, for `width` columns, and free columns.

        It copies all that there is, gigabytes of many long sequences, so each layer is a step. Layers without columns
        take their shapes from `like`, one for each.
        """
        kept = [slot for slot, row in enumerate(self._slots) if row is not None]
        rows = [row for row in self._slots if row is not None]
        first = min((row.start for row in rows), default=self._width)
        width = max(width, self._width - first)
        longest = max(s.request.max_tokens - len(s.tokens) for s in [*self.active, *joining])
        shape = CacheShape(len(kept) + len(joining), width, free_columns(width, longest))
        index = torch.tensor(kept, device=self._device, dtype=torch.long)
        for layer, example in itertools.zip_longest(self._layers, like):
            layer.rebuild(example, index, first, shape)
            yield
        for row in rows:
            row.start += width - self._width
        self._slots = [*rows, *([None] * len(joining))]
        self._width = width
        self._arrange()

    def _arrange(self) -> None:
        """Which columns and which stems every row sees."""
        starts = torch.tensor([row.start if row else 0 for row in self._slots])[:, None]
        columns = torch.arange(self._layers[0].key_buffer.shape[-2])[None]
        hidden = torch.zeros(len(self._slots), columns.shape[1], dtype=self._layers[0].key_buffer.dtype)
        self._mask = hidden.masked_fill_(columns < starts, -torch.inf)[:, None, None].to(self._device)
        self._levels = in_levels([row.stems if row else () for row in self._slots], self._device)

    def drop(self, sequences: Sequence[Sampled]) -> None:
        """Decode these no further."""
        if sequences:
            self._slots = [None if row is None or row.sampled in sequences else row for row in self._slots]

    @torch.no_grad()
    def step(self) -> Steps[list[Sampled]]:
        """Sample the next token of every sequence, in several steps where the cache grows; returns those finished."""
        alive = self.active
        if len(alive) <= COMPACT_AT * len(self._slots) or self._width == self._layers[0].key_buffer.shape[-2]:
            yield from self._rebuild()
        rows = [(slot, row.sampled) for slot, row in enumerate(self._slots) if row is not None]
        ids = torch.zeros(len(self._slots), 1, dtype=torch.long)  # [S, 1]
        places = torch.zeros_like(ids)
        for slot, s in rows:
            ids[slot], places[slot] = s.tokens[-1], len(s.request.prompt) + len(s.tokens) - 1
        self._width += 1
        mask = self._mask[..., : self._width]
        output = self._model(
            input_ids=ids.to(self._device),
            attention_mask=mask if self._reader.prepared_mask else (mask[:, 0, 0] == 0).long(),
            position_ids=places.to(self._device),
            use_cache=True,
            logits_to_keep=1,
            **{self._reader.cache_argument: self._cache},
            **({"levels": self._levels} if self._levels else {}),
        )
        logits = output.logits[:, -1].float()
        if len(alive) < len(self._slots):
            logits = logits[torch.tensor([slot for slot, _ in rows], device=self._device)]
        self._extend(alive, logits)
        self._slots = [None if row is None or row.sampled.stop_reason else row for row in self._slots]
        return [s for s in alive if s.stop_reason]


def _columns(layers: Beginning) -> int:
    return layers[0][0].shape[2] if layers else 0
