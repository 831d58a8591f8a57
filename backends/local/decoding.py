"""Autoregressive sampling of a batch of prompts, with a key/value cache that does not copy itself at every token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

BLOCK = 64  # tokens by which the cache grows
COMPACT_AT = 0.75  # finished rows stay in the batch until no more than this share is alive: leaving copies the cache


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to sample.

    Attributes:
        prompt: Prompt ids, at least one.
        max_tokens: Most tokens to sample.
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


@dataclass(slots=True)
class Completion:
    """A sampled sequence: the stop token, or the tokens that complete a stop string, are its last ones."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: str = "length"


class GrowingLayer(DynamicLayer):
    """One layer's keys and values ``[B, H, T, D]`` in a buffer with room to spare."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the new positions and return all of them, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.length = 0
            self.key_buffer, self.value_buffer = key_states[:, :, :0], value_states[:, :, :0]
        start, self.length = self.length, self.length + key_states.shape[-2]
        if self.length > self.key_buffer.shape[-2]:
            self.key_buffer, self.value_buffer = (self._grown(b, start) for b in (self.key_buffer, self.value_buffer))
        self.key_buffer[:, :, start : self.length] = key_states
        self.value_buffer[:, :, start : self.length] = value_states
        return self._view()

    def _grown(self, buffer: Tensor, filled: int) -> Tensor:
        batch, heads, _, dim = buffer.shape
        larger = buffer.new_empty(batch, heads, self.length + BLOCK, dim)
        larger[:, :, :filled] = buffer[:, :, :filled]
        return larger

    def _view(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self.key_buffer[:, :, : self.length], self.value_buffer[:, :, : self.length]
        return self.keys, self.values

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch."""
        self.key_buffer, self.value_buffer = self.key_buffer[rows], self.value_buffer[rows]
        self._view()


@torch.no_grad()
def decode(
    model: Any,
    tokenizer: Any,
    requests: Sequence[Request],
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> list[Completion]:
    """Sample one completion for each request, all in one batch.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer, to find stop strings.
        requests: What to sample; the batch is left-padded to the longest prompt.
        device: Where the model is.
        check: Called at every token; may raise to stop.

    Returns:
        Completions in the order of the requests. Each depends on its own seed alone, and on the batch only through
        rounding.
    """
    completions = [Completion() for _ in requests]
    rows = [i for i, request in enumerate(requests) if request.max_tokens > 0]  # request of each row of the batch
    alive = set(rows)
    if not rows:
        return completions
    width = max(len(requests[i].prompt) for i in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for row, i in enumerate(rows):
        ids[row, width - len(requests[i].prompt) :] = torch.tensor(requests[i].prompt)
        mask[row, width - len(requests[i].prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    layers = [GrowingLayer() for _ in range(model.config.num_hidden_layers)]
    cache = Cache(layers=list(layers))
    streams = {i: torch.Generator().manual_seed(requests[i].seed) for i in rows if requests[i].temperature > 0}
    while True:
        check()
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen, logprobs = _choose(
            output.logits[:, -1].float(), [requests[i] for i in rows], [streams.get(i) for i in rows]
        )
        for row, i in enumerate(rows):
            if i in alive:
                completions[i].tokens.append(chosen[row])
                completions[i].logprobs.append(logprobs[row])
                if _stops(completions[i].tokens, requests[i], tokenizer):
                    completions[i].stop_reason = "stop"
                    alive.discard(i)
                elif len(completions[i].tokens) == requests[i].max_tokens:
                    alive.discard(i)
        if not alive:
            return completions
        ids = torch.tensor(chosen, device=device)[:, None]  # [B, 1]
        positions = positions[:, -1:] + 1
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        if len(alive) <= COMPACT_AT * len(rows):
            kept = [row for row, i in enumerate(rows) if i in alive]
            rows = [rows[row] for row in kept]
            index = torch.tensor(kept, device=device)
            ids, positions, mask = ids[index], positions[index], mask[index]
            for layer in layers:
                layer.select(index)


def _choose(
    logits: Tensor, requests: list[Request], streams: list[torch.Generator | None]
) -> tuple[list[int], list[float]]:
    """Next token and its log-probability for every row of ``logits [B, V]``."""
    greedy = logits.argmax(dim=-1)
    temperatures = torch.tensor([r.temperature or 1.0 for r in requests], device=logits.device)
    logprobs = torch.log_softmax(logits / temperatures[:, None], dim=-1)  # [B, V]
    chosen = greedy.tolist()
    for row, (request, stream) in enumerate(zip(requests, streams, strict=True)):
        if stream is not None:
            chosen[row] = _draw(logprobs[row], request, stream)
    picked = torch.tensor(chosen, device=logits.device)
    return chosen, logprobs.gather(1, picked[:, None])[:, 0].tolist()


def _draw(logprobs: Tensor, request: Request, stream: torch.Generator) -> int:
    """Draw from one row ``[V]`` after top-k and top-p (Holtzman et al., 2020)."""
    probabilities = logprobs.exp().cpu()
    order = torch.argsort(probabilities, descending=True, stable=True)
    if request.top_k > 0:
        order = order[: request.top_k]
    kept = probabilities[order]
    if request.top_p < 1:
        before = kept.cumsum(0) - kept  # probability of the likelier ones: the first token is always kept
        kept = kept[before < request.top_p * kept.sum()]
    return int(order[torch.multinomial(kept, 1, generator=stream)])


def _stops(tokens: list[int], request: Request, tokenizer: Any) -> bool:
    if tokens[-1] in request.stop_tokens:
        return True
    if not request.stop_strings:
        return False
    longest = max(len(text.encode()) for text in request.stop_strings)
    # A token is at least a byte, so a stop string that the last token completes lies within these.
    tail = tokenizer.decode(tokens[-(longest + 4) :], skip_special_tokens=False)
    return any(text in tail for text in request.stop_strings)
