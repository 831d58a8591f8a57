"""One sequence that is sampled: what was asked, its tokens so far, how the next is chosen and when it is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from backends.tokenizer import Tokenizer

# Neighbouring tokens whose probabilities are added up together.
RUN = 128


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
    probabilities = logprobs.to(precise, copy=True).exp_()
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
    """The first place where the cumulative sum of ``probabilities [B, V]`` exceeds its share ``uniform [B, 1]``.

    Adding up one after the other is slow: sums of `RUN` neighbours find the run, the sums in it the place.
    """
    count = probabilities.shape[1]
    if count % RUN:
        probabilities = torch.nn.functional.pad(probabilities, (0, -count % RUN))
    runs = probabilities.unflatten(1, (-1, RUN))  # [B, V / RUN, RUN]
    sums = runs.sum(dim=-1).cumsum(dim=-1)
    wanted = uniform * sums[:, -1:]
    run = torch.searchsorted(sums, wanted, right=True).clamp(max=sums.shape[1] - 1)  # [B, 1]
    before = torch.where(run > 0, sums.gather(1, (run - 1).clamp(min=0)), 0.0)
    within = runs[torch.arange(len(runs), device=runs.device), run[:, 0]].cumsum(dim=-1) + before  # [B, RUN]
    place = torch.searchsorted(within, wanted, right=True).clamp(max=RUN - 1)
    return (run * RUN + place)[:, 0].clamp(max=count - 1)
