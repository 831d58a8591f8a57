"""One sequence that is generated: its request, its tokens so far, how the next is sampled and when it is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from backends.tokenizer import Tokenizer

# Neighbouring token ids whose probabilities are added up first: a cumulative sum over a whole vocabulary is slow.
CDF_BLOCK = 128


@dataclass(frozen=True, slots=True)
class SequenceRequest:
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
class GeneratedSequence:
    """A sequence that is being generated, or is finished.

    Attributes:
        request: What to sample.
        tokens: Tokens so far; the stop token, or the tokens that complete a stop string, are the last ones.
        logprobs: Their log-probabilities.
        stop_reason: ``stop`` or ``length``; None until the sequence is finished.
        cached_tokens: Prompt tokens that were not read for it, as their keys and values were cached.
        generator: Its random stream; None of a greedy sequence.
    """

    request: SequenceRequest
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: str | None = None
    cached_tokens: int = 0
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.request.temperature > 0:
            self.generator = torch.Generator().manual_seed(self.request.seed)

    @property
    def max_remaining(self) -> int:
        """Tokens that may still be sampled."""
        return self.request.max_tokens - len(self.tokens)


class TokenSampler:
    """Adds sampled tokens to sequences, and detects when a sequence is finished.

    Args:
        tokenizer: The model's tokenizer, to find stop strings.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # The text of each token that has been looked at.
        self._texts: dict[int, str] = {}

    def extend(self, sequences: list[GeneratedSequence], logits: Tensor) -> None:
        """Add a token to each sequence, from ``logits [B, V]``, and mark those that it finishes."""
        for sequence, token, logprob in zip(sequences, *sample_tokens(logits, sequences), strict=True):
            sequence.tokens.append(token)
            sequence.logprobs.append(logprob)
            request = sequence.request
            if token in request.stop_tokens or self._completes(sequence.tokens, request.stop_strings):
                sequence.stop_reason = "stop"
            elif not sequence.max_remaining:
                sequence.stop_reason = "length"

    def _completes(self, tokens: list[int], stop_strings: Sequence[str]) -> bool:
        """Whether the last token completes a stop string."""
        possible = [text for text in stop_strings if self._may_end(tokens[-1], text)]
        if not possible:
            return False
        max_bytes = max(len(text.encode()) for text in possible)
        # A token is at least a byte, so a stop string that the last token completes lies within these.
        tail = self._tokenizer.decode(tokens[-(max_bytes + 4) :], skip_special_tokens=False)
        return any(text in tail for text in possible)

    def _may_end(self, token: int, text: str) -> bool:
        """False if the token's own text shows that it cannot complete `text`: most tokens, without detokenising."""
        last = text[-1]
        # Tokenizers drop a leading space, and other characters span tokens.
        if last == " " or not last.isascii():
            return True
        if token not in self._texts:
            self._texts[token] = self._tokenizer.decode([token], skip_special_tokens=False)
        return last in self._texts[token]


def sample_tokens(logits: Tensor, sequences: Sequence[GeneratedSequence]) -> tuple[list[int], list[float]]:
    """The next token of each row of ``logits [B, V]`` and its log-probability."""
    temperatures = torch.tensor([s.request.temperature or 1.0 for s in sequences], device=logits.device)  # [B]
    tokens = logits.argmax(dim=-1)  # [B]
    if bool((temperatures != 1).any()):
        logits = logits / temperatures[:, None]
    logprobs = torch.log_softmax(logits, dim=-1)  # [B, V]
    random_rows = [row for row, s in enumerate(sequences) if s.generator is not None]
    if random_rows:
        index = torch.tensor(random_rows, device=logits.device)
        tokens[index] = _draw(logprobs[index], [sequences[row] for row in random_rows])
    return tokens.tolist(), logprobs.gather(1, tokens[:, None])[:, 0].tolist()


def _draw(logprobs: Tensor, sequences: Sequence[GeneratedSequence]) -> Tensor:
    """One token ``[B]`` from each row of ``logprobs [B, V]``, by inverse transform sampling."""
    uniform = torch.stack([torch.rand((), generator=s.generator, dtype=torch.float64) for s in sequences])
    uniform = uniform.to(logprobs.device)[:, None]  # [B, 1]
    dtype = torch.float32 if logprobs.device.type == "mps" else torch.float64
    probabilities = logprobs.to(dtype, copy=True).exp_()
    tokens = _invert_cdf(probabilities, uniform.to(dtype))
    for row, s in enumerate(sequences):
        if s.request.top_k > 0 or s.request.top_p < 1:
            order = torch.argsort(probabilities[row], descending=True, stable=True)
            if s.request.top_k > 0:
                order = order[: s.request.top_k]
            candidates = probabilities[row][order]
            # Probability of the likelier tokens; the first is always a candidate.
            before = candidates.cumsum(0) - candidates
            if s.request.top_p < 1:
                candidates = candidates[before < s.request.top_p * candidates.sum()]
            tokens[row] = order[_invert_cdf(candidates[None], uniform[row : row + 1].to(dtype))[0]]
    return tokens


def _invert_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The first index ``[B]`` at which the cumulative sum of ``probabilities [B, V]`` exceeds its share ``[B, 1]``.

    Sums over blocks of `CDF_BLOCK` neighbours find the block, sums within it the index.
    """
    count = probabilities.shape[1]
    if count % CDF_BLOCK:
        probabilities = torch.nn.functional.pad(probabilities, (0, -count % CDF_BLOCK))
    blocks = probabilities.unflatten(1, (-1, CDF_BLOCK))  # [B, V / CDF_BLOCK, CDF_BLOCK]
    sums = blocks.sum(dim=-1).cumsum(dim=-1)  # [B, V / CDF_BLOCK]
    target = uniform * sums[:, -1:]
    block = torch.searchsorted(sums, target, right=True).clamp(max=sums.shape[1] - 1)  # [B, 1]
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    within = blocks[torch.arange(len(blocks), device=blocks.device), block[:, 0]].cumsum(dim=-1) + before
    offset = torch.searchsorted(within, target, right=True).clamp(max=CDF_BLOCK - 1)
    return (block * CDF_BLOCK + offset)[:, 0].clamp(max=count - 1)
