"""Autoregressive sampling of many sequences at once; they join and leave between two tokens.

The sequences share one key/value cache whose last column is the last token of every row, so that a step writes one
column and no row is ever shifted by itself. A row that has finished is given to the next prompt, or dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from backends.local.decode.growing_cache import (
    CacheShape,
    ContinuedLayer,
    GrowingLayer,
    KeysValues,
    free_columns,
    keys_and_values,
    whole,
)
from backends.local.decode.prefixes import shared_beginnings
from backends.local.model import packed_attention
from backends.local.model.causal import CausalModel
from backends.local.model.mixers import cache_argument, text_config
from backends.local.prefix_cache import SHARED, Beginning, PrefixCache, Prompt
from backends.local.turns import Steps
from backends.tokenizer import Tokenizer

# Free rows stay in the cache until no more than this share is alive: dropping them copies it.
COMPACT_AT = 0.75


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to sample.

    Attributes:
        prompt: Prompt ids, at least one.
        max_tokens: Most tokens to sample, at least one.
        temperature: 0 is greedy.
        top_k: Keep the k likeliest tokens; -1 keeps all.
        top_p: Keep the smallest set of tokens with at least this probability.
        seed: Seed of this sequence's own random stream.
        stop_tokens: Ids that end the sequence.
        stop_strings: Texts that end it.
    """

    prompt: list[int]
    max_tokens: int
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    seed: int = 0
    stop_tokens: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Sampled:
    """A sequence: the stop token, or the tokens that complete a stop string, are its last ones."""

    request: Request
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: str | None = None
    # Tokens of the prompt that were not read for it, as they were at hand.
    cached: int = 0
    stream: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.request.temperature > 0:
            self.stream = torch.Generator().manual_seed(self.request.seed)


class Extender:
    """Adds sampled tokens to sequences, and knows when a sequence is finished.

    Args:
        tokenizer: The model's tokenizer, to find stop strings.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, str] = {}

    def extend(self, sequences: list[Sampled], logits: Tensor) -> None:
        """Add a token to each sequence, from ``logits [B, V]``, and mark those that it finishes."""
        for s, token, logprob in zip(sequences, *choose(logits, sequences), strict=True):
            s.tokens.append(token)
            s.logprobs.append(logprob)
            if token in s.request.stop_tokens or self._completes(s.tokens, s.request.stop_strings):
                s.stop_reason = "stop"
            elif len(s.tokens) == s.request.max_tokens:
                s.stop_reason = "length"

    def _completes(self, tokens: list[int], stop_strings: Sequence[str]) -> bool:
        """Whether the last token completes a stop string."""
        possible = [text for text in stop_strings if self._may_end(tokens[-1], text)]
        if not possible:
            return False
        longest = max(len(text.encode()) for text in possible)
        # A token is at least a byte, so a stop string that the last token completes lies within these.
        tail = self._tokenizer.decode(tokens[-(longest + 4) :], skip_special_tokens=False)
        return any(text in tail for text in possible)

    def _may_end(self, token: int, text: str) -> bool:
        """False if the token's own text shows that it cannot complete `text`: most tokens, at no cost."""
        last = text[-1]
        # Tokenizers drop a leading space, and other characters span tokens.
        if last == " " or not last.isascii():
            return True
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode([token], skip_special_tokens=False)
        return last in self._pieces[token]


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
        self._cache_argument = cache_argument(getattr(model, "forward", model))
        self._layers = [GrowingLayer() for _ in range(text_config(model).num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._slots: list[Sampled | None] = []
        # First column of each row.
        self._starts: list[int] = []
        # Columns filled.
        self._width = 0
        self._mask = torch.empty(0)  # [S, 1, 1, C], 0 or -inf
        plain = model.config._attn_implementation in ("sdpa", "eager", packed_attention.NAME)
        config = text_config(model)
        windows = getattr(config, "sliding_window", None) or getattr(config, "layer_types", None)
        self._prepared_mask = plain and not windows

    @property
    def active(self) -> list[Sampled]:
        """The sequences that are not finished."""
        return [sampled for sampled in self._slots if sampled is not None]

    @torch.no_grad()
    def admit(self, requests: Sequence[Request]) -> Steps[list[Sampled]]:
        """Read the prompts, sample a token after each, and decode them from now on with the rest.

        Equal prompts are read once, and so are long beginnings that several share. A step is a forward pass. Returns
        the sequences in the order of the requests; some may be finished already.
        """
        prompts = list(dict.fromkeys(tuple(request.prompt) for request in requests))
        read = yield from self._read_beginnings(prompts)
        groups: dict[Prompt, tuple[Beginning, list[Prompt]]] = {}
        for prompt in sorted(prompts, key=len, reverse=True):
            shared, layers = self._find(prompt)
            groups.setdefault(prompt[:shared], (layers, []))[1].append(prompt)
        admitted: dict[int, Sampled] = {}
        for beginning, (layers, members) in groups.items():
            while members:
                count = max(1, self._prefill_tokens // (len(members[0]) - len(beginning)))
                batch, members = members[:count], members[count:]
                rows = {prompt: row for row, prompt in enumerate(batch)}
                cache, logits = self._prefill(batch, layers)
                mine = [(i, rows[tuple(r.prompt)]) for i, r in enumerate(requests) if tuple(r.prompt) in rows]
                sampled = [Sampled(requests[i], cached=read.get(batch[row], len(beginning))) for i, row in mine]
                self._extend(sampled, logits[torch.tensor([row for _, row in mine], device=self._device)])
                going_on = [(s, row) for s, (_, row) in zip(sampled, mine, strict=True) if not s.stop_reason]
                yield from self._place(going_on, layers, cache)
                admitted |= {i: s for (i, _), s in zip(mine, sampled, strict=True)}
                if len(prompts) == 1 and len(prompts[0]) >= SHARED and self._prepared_mask:
                    # Its next turn may go on from it.
                    self._prefixes.keep(prompts[0], whole(layers, cache))
                yield
        return [admitted[i] for i in range(len(requests))]

    def _read_beginnings(self, prompts: list[Prompt]) -> Steps[dict[Prompt, int]]:
        """Read and keep what several prompts begin with; returns of those it was read for what they had before."""
        read: dict[Prompt, int] = {}
        if not self._prepared_mask:
            return read
        for beginning in shared_beginnings(prompts):
            known, layers = self._prefixes.find(beginning, len(beginning))
            if known < len(beginning):
                cache, _ = self._prefill([beginning], layers)
                self._prefixes.keep(beginning, whole(layers, cache))
                reader = next(prompt for prompt in prompts if prompt[: len(beginning)] == beginning)
                read.setdefault(reader, known)
                yield
        return read

    def _find(self, prompt: Prompt) -> tuple[int, Beginning]:
        """The longest beginning of a prompt that is at hand, less its last token: every prompt keeps one."""
        return self._prefixes.find(prompt, len(prompt) - 1) if self._prepared_mask else (0, [])

    def _prefill(self, prompts: list[Prompt], beginning: Beginning) -> tuple[Cache, Tensor]:
        """Keys and values of what follows the beginning, padded on the right, and the logits ``[B, V]`` after each.

        Args:
            prompts: Which all begin alike.
            beginning: The keys and values of what they begin with; none: nothing of them is at hand.
        """
        shared = beginning[0][0].shape[2] if beginning else 0
        parts = [torch.tensor(prompt[shared:]) for prompt in prompts]
        ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)  # [B, T]
        last = torch.zeros_like(ids, dtype=torch.bool)
        last[torch.arange(len(parts)), torch.tensor([len(part) - 1 for part in parts])] = True
        cache: Cache = DynamicCache()
        more = {}
        if shared:
            cache = Cache(layers=[ContinuedLayer(kept) for kept in beginning])
            places = torch.arange(shared + ids.shape[1], device=self._device)
            hidden = places[None] > places[shared:, None]  # [T, shared + T]: causal
            mask = beginning[0][0].new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
            more = {"attention_mask": mask[None, None], "position_ids": places[None, shared:]}
        output = self._model(
            input_ids=ids.to(self._device),
            use_cache=True,
            logits_to_keep=last.to(self._device),
            **{self._cache_argument: cache},
            **more,
        )
        return cache, output.logits.float()

    def _place(self, sampled: list[tuple[Sampled, int]], beginning: Beginning, cache: Cache) -> Steps[None]:
        """Give each sequence a row of the joint cache, with the beginning and then its row of `cache` in it."""
        if not sampled:
            return
        widest = max(len(s.request.prompt) for s, _ in sampled)
        # Whoever finds nobody else begins with a cache of their own: in a wider one, sums round in another way.
        if not self.active or self._slots.count(None) < len(sampled) or widest > self._width:
            yield from self._rebuild([s for s, _ in sampled], widest, list(keys_and_values(cache)))
        free = [slot for slot, s in enumerate(self._slots) if s is None]
        for (s, row), slot in zip(sampled, free, strict=False):
            start = self._width - len(s.request.prompt)
            self._slots[slot], self._starts[slot] = s, start
            shared = 0
            if beginning:
                shared = beginning[0][0].shape[2]
                _write(self._layers, slot, start, [(keys[0], values[0]) for keys, values in beginning])
            own = len(s.request.prompt) - shared
            following = [(keys[row, :, :own], values[row, :, :own]) for keys, values in keys_and_values(cache)]
            _write(self._layers, slot, start + shared, following)
        self._make_mask()

    def _rebuild(self, joining: Sequence[Sampled] = (), width: int = 0, like: Sequence[KeysValues] = ()) -> Steps[None]:
        """Drop free rows and unused columns; make rows for those that join, for `width` columns, and free columns.

        It copies all that there is, gigabytes of many long sequences, so each layer is a step. Layers without columns
        take their shapes from `like`, one for each.
        """
        kept = [slot for slot, s in enumerate(self._slots) if s is not None]
        first = min((self._starts[slot] for slot in kept), default=self._width)
        width = max(width, self._width - first)
        longest = max(s.request.max_tokens - len(s.tokens) for s in [*self.active, *joining])
        shape = CacheShape(len(kept) + len(joining), width, free_columns(width, longest))
        index = torch.tensor(kept, device=self._device, dtype=torch.long)
        for layer, example in itertools.zip_longest(self._layers, like):
            layer.rebuild(example, index, first, shape)
            yield
        shift = width - self._width
        self._slots = [*(self._slots[slot] for slot in kept), *([None] * len(joining))]
        self._starts = [*(self._starts[slot] + shift for slot in kept), *([width] * len(joining))]
        self._width = width
        self._make_mask()

    def _make_mask(self) -> None:
        starts = torch.tensor(self._starts)[:, None]
        columns = torch.arange(self._layers[0].key_buffer.shape[-2])[None]
        hidden = torch.zeros(len(self._slots), columns.shape[1], dtype=self._layers[0].key_buffer.dtype)
        self._mask = hidden.masked_fill_(columns < starts, -torch.inf)[:, None, None].to(self._device)

    def drop(self, sequences: Sequence[Sampled]) -> None:
        """Decode these no further."""
        if sequences:
            self._slots = [None if s in sequences else s for s in self._slots]

    @torch.no_grad()
    def step(self) -> Steps[list[Sampled]]:
        """Sample the next token of every sequence, in several steps where the cache grows; returns those finished."""
        alive = self.active
        if len(alive) <= COMPACT_AT * len(self._slots) or self._width == self._layers[0].key_buffer.shape[-2]:
            yield from self._rebuild()
        ids = torch.tensor([s.tokens[-1] if s else 0 for s in self._slots])[:, None]  # [S, 1]
        places = torch.tensor([len(s.request.prompt) + len(s.tokens) - 1 if s else 0 for s in self._slots])[:, None]
        self._width += 1
        mask = self._mask[..., : self._width]
        output = self._model(
            input_ids=ids.to(self._device),
            attention_mask=mask if self._prepared_mask else (mask[:, 0, 0] == 0).long(),
            position_ids=places.to(self._device),
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_argument: self._cache},
        )
        logits = output.logits[:, -1].float()
        if len(alive) < len(self._slots):
            rows = [slot for slot, s in enumerate(self._slots) if s is not None]
            logits = logits[torch.tensor(rows, device=self._device)]
        self._extend(alive, logits)
        self._slots = [None if s is None or s.stop_reason else s for s in self._slots]
        return [s for s in alive if s.stop_reason]


def _write(layers: Sequence[GrowingLayer], slot: int, start: int, given: Sequence[KeysValues]) -> None:
    """Copy keys and values of one text, of each layer ``[H, T, D]``, to a slot's columns from `start` on."""
    for layer, (keys, values) in zip(layers, given, strict=True):
        columns = slice(start, start + keys.shape[1])
        layer.key_buffer[slot, :, columns], layer.value_buffer[slot, :, columns] = keys, values


def choose(logits: Tensor, sequences: Sequence[Sampled]) -> tuple[list[int], list[float]]:
    """The next token and its log-probability for every row of ``logits [B, V]``."""
    temperatures = torch.tensor([s.request.temperature or 1.0 for s in sequences], device=logits.device)
    chosen = logits.argmax(dim=-1)  # [B]
    if bool((temperatures != 1).any()):
        logits = logits / temperatures[:, None]
    logprobs = torch.log_softmax(logits, dim=-1)  # [B, V]
    drawing = [row for row, s in enumerate(sequences) if s.stream is not None]
    if drawing:
        index = torch.tensor(drawing, device=logits.device)
        chosen[index] = _draw(logprobs[index], [sequences[row] for row in drawing])
    return chosen.tolist(), logprobs.gather(1, chosen[:, None])[:, 0].tolist()


def _draw(logprobs: Tensor, sequences: Sequence[Sampled]) -> Tensor:
    """One token ``[B]`` from each row of ``logprobs [B, V]``, by the inverse of its cumulative distribution."""
    uniform = torch.stack([torch.rand((), generator=s.stream, dtype=torch.float64) for s in sequences])
    uniform = uniform.to(logprobs.device)[:, None]
    precise = torch.float32 if logprobs.device.type == "mps" else torch.float64
    probabilities = logprobs.to(precise).exp()
    drawn = _invert(probabilities, uniform.to(precise))
    for row, s in enumerate(sequences):
        if s.request.top_k > 0 or s.request.top_p < 1:
            order = torch.argsort(probabilities[row], descending=True, stable=True)
            if s.request.top_k > 0:
                order = order[: s.request.top_k]
            kept = probabilities[row][order]
            # Probability of the likelier tokens; the first is always kept.
            before = kept.cumsum(0) - kept
            kept = kept[before < s.request.top_p * kept.sum()] if s.request.top_p < 1 else kept
            drawn[row] = order[_invert(kept[None], uniform[row : row + 1].to(precise))[0]]
    return drawn


def _invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The first place where the cumulative sum of ``probabilities [B, V]`` exceeds its share ``uniform [B, 1]``."""
    sums = probabilities.cumsum(dim=-1)
    return torch.searchsorted(sums, uniform * sums[:, -1:], right=True)[:, 0].clamp(max=probabilities.shape[-1] - 1)
