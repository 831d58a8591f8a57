"""What `sample` returns about a prompt: log-probabilities, likeliest tokens, alternatives.

All of it comes from one forward pass over the prompt, which prompts of similar length share. Where only the last tokens
are requested, the prefix before them is read once for all prompts that have it, and cached. Log-probabilities of prompt
tokens are the model's own, at temperature 1; those of sampled tokens, and so of the likeliest tokens at sampled
positions, are of the temperature-scaled distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from tinker import types
from tinker.types.prompt_alt_tokens import PromptAltTokens
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from backends.local.arguments import check_whole
from backends.local.decode.prompt_reader import PromptReader
from backends.local.model.architecture_traits import short_context
from backends.local.model.causal import CausalModel
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import Resumable
from backends.planning.decode_plan import MIN_PREFIX_TOKENS, Prompt

if TYPE_CHECKING:
    from backends.local.engine import Engine

# Most numbers in the logits of one forward pass: 256 MB in float32.
MAX_LOGITS = 2**26


@dataclass(frozen=True, slots=True)
class PromptLogprobsRequest:
    """Which of the prompt's log-probabilities a call wants.

    Attributes:
        logprobs: Whether to return the log-probability of every token but the first.
        topk: Number of likeliest tokens at each position.
        last_n: `logprobs` and `topk` of the last n tokens alone; None for all.
        targets: Ids ``[T - 1, K]`` to score; row i is about position i + 1, and -1 is no id.
        alternatives: Number of tokens drawn at each position after the first.
    """

    logprobs: bool = False
    topk: int = 0
    last_n: int | None = None
    targets: types.TensorData | None = None
    alternatives: int = 0

    def __bool__(self) -> bool:
        return self.logprobs or bool(self.topk) or self.targets is not None or bool(self.alternatives)

    def first_position(self, length: int) -> int:
        """The first position of a prompt of this length whose logits are needed."""
        narrow = self.last_n is not None and self.targets is None and not self.alternatives
        return length - 1 - self.last_n if narrow and self.last_n else 0

    def check(self, prompt: list[int], vocabulary: int) -> None:
        """Raise ValueError if this cannot be computed for the prompt."""
        length = len(prompt)
        check_whole("topk_prompt_logprobs", self.topk, 0, vocabulary)
        check_whole("prompt_alt_tokens_k", self.alternatives, 0, vocabulary)
        if self.last_n is not None:
            if not self.logprobs:
                raise ValueError("prompt_logprobs_last_n applies to prompt logprobs; set include_prompt_logprobs")
            check_whole("prompt_logprobs_last_n", self.last_n, 1, length - 1)
        if self.targets is not None:
            _check_targets(self.targets, length, vocabulary)


NO_PROMPT_LOGPROBS = PromptLogprobsRequest()


class PromptToScore(NamedTuple):
    """A prompt, what to return about it, and the sampling parameters of its call."""

    prompt: list[int]
    request: PromptLogprobsRequest
    params: types.SamplingParams

    @property
    def first_position(self) -> int:
        """The first position whose logits are needed."""
        return self.request.first_position(len(self.prompt))


def _check_targets(targets: types.TensorData, length: int, vocabulary: int) -> None:
    if not isinstance(targets, types.TensorData):
        raise ValueError(f"target_prompt_logprobs is a {type(targets).__name__}; it must be a tinker.TensorData.")
    if targets.dtype != "int64":
        raise ValueError(f"target_prompt_logprobs must be an int64 tensor of token ids, got {targets.dtype}")
    if targets.shape is None or len(targets.shape) != 2 or targets.shape[0] != length - 1:
        raise ValueError(f"target_prompt_logprobs has shape {targets.shape}; it must be [{length - 1}, K] here.")
    if targets.shape[1] > vocabulary:
        raise ValueError(f"target_prompt_logprobs asks for {targets.shape[1]} ids at a place; there are {vocabulary}.")
    try:
        ids = targets.to_numpy(pad_value=-1)
    except (RuntimeError, IndexError, AssertionError) as error:
        raise ValueError(f"target_prompt_logprobs is no sparse tensor: {str(error).splitlines()[0]}") from error
    if ids.size and not (ids.min() >= -1 and ids.max() < vocabulary):
        raise ValueError(f"target_prompt_logprobs has an id outside -1..{vocabulary - 1}.")
    if not (ids >= 0).any():
        raise ValueError("target_prompt_logprobs names no token id.")


@torch.no_grad()
def score_prompts(
    engine: Engine, model: CausalModel, prompts: Sequence[PromptToScore], prefix_cache: PrefixCache
) -> Resumable[list[types.SampleResponse]]:
    """What is requested about each prompt, as responses that have no sequences yet; a step is a forward pass.

    Prompts of similar length share a pass; its logits are no larger than `MAX_LOGITS` unless one prompt's are.
    """
    responses = [types.SampleResponse(sequences=[]) for _ in prompts]
    reader = PromptReader(model, engine.base.device, prefix_cache)
    by_prefix = _group_by_unscored_prefix(prompts) if reader.can_read_prefixes else {}
    yield from _score_suffixes(engine, reader, prompts, by_prefix, responses)
    done = {i for indices in by_prefix.values() for i in indices}
    order = sorted(
        (i for i, prompt in enumerate(prompts) if prompt.request and i not in done),
        key=lambda i: -len(prompts[i].prompt),
    )
    budget = _logits_budget(engine)
    bound = short_context(engine.base.model)
    while order:
        max_length = len(prompts[order[0]].prompt)
        count = max(1, budget // max_length)
        if bound and max_length > bound:
            # The longest come first, and those within the bound share no pass with them.
            count = min(count, sum(len(prompts[i].prompt) > bound for i in order))
        batch, order = order[:count], order[count:]
        ids = pad_sequence([torch.tensor(prompts[i].prompt) for i in batch], batch_first=True)  # [B, T]
        keep = torch.zeros_like(ids, dtype=torch.bool)
        for row, i in enumerate(batch):
            keep[row, prompts[i].first_position : len(prompts[i].prompt) - 1] = True
        counts = keep.sum(dim=1).tolist()
        device = engine.base.device
        logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=keep.to(device)).logits  # [N, V]
        for i, prompt_logits in zip(batch, logits.split(counts), strict=True):
            responses[i] = _make_response(prompt_logits.float(), prompts[i])
        yield
    return responses


def _logits_budget(engine: Engine) -> int:
    """Tokens whose logits one forward pass may compute."""
    return min(engine.micro_batch_tokens, MAX_LOGITS // engine.vocabulary)


def _group_by_unscored_prefix(prompts: Sequence[PromptToScore]) -> dict[Prompt, list[int]]:
    """Indices of the prompts of which only the last tokens are scored, by the prefix before these."""
    groups: dict[Prompt, list[int]] = {}
    for index, scored in enumerate(prompts):
        if scored.request and (first := scored.first_position) >= MIN_PREFIX_TOKENS:
            groups.setdefault(tuple(scored.prompt[:first]), []).append(index)
    return groups


def _score_suffixes(
    engine: Engine,
    reader: PromptReader,
    prompts: Sequence[PromptToScore],
    by_prefix: Mapping[Prompt, Sequence[int]],
    responses: list[types.SampleResponse],
) -> Resumable[None]:
    """Set the responses about the last tokens of prompts, whose prefixes are read first.

    Args:
        engine: Whose limits hold.
        reader: Reads prefixes and suffixes.
        prompts: All prompts.
        by_prefix: Indices of the prompts to score, by their prefixes.
        responses: Of all prompts.
    """
    budget = _logits_budget(engine)
    # Sorted, so that similar prefixes follow each other while what they share is cached.
    for prefix, indices in sorted(by_prefix.items()):
        _, prefix_kv = reader.cache_prefix(prefix)
        yield
        order = sorted(indices, key=lambda i: -len(prompts[i].prompt))
        while order:
            count = max(1, budget // (len(prompts[order[0]].prompt) - len(prefix)))
            batch, order = order[:count], order[count:]
            # The last token is only scored, never an input.
            inputs = [tuple(prompts[i].prompt[:-1]) for i in batch]
            _, logits = reader.read(inputs, prefix_kv, [len(prefix)] * len(batch))  # [N, V]
            counts = [len(prompt) - len(prefix) for prompt in inputs]
            for i, prompt_logits in zip(batch, logits.split(counts), strict=True):
                responses[i] = _make_response(prompt_logits, prompts[i])
            yield


def _make_response(logits: Tensor, scored: PromptToScore) -> types.SampleResponse:
    """The response about one prompt from its logits ``[T - 1 - first_position, V]``."""
    prompt, request = scored.prompt, scored.request
    logprobs = torch.log_softmax(logits, dim=-1)
    # Position before the first token that is scored.
    start = len(prompt) - 1 - request.last_n if request.last_n else 0
    wanted = logprobs[start - scored.first_position :]
    scores = None
    if request.logprobs:
        scores = np.full(len(prompt), np.nan, dtype=np.float32)
        tokens = torch.tensor(prompt[start + 1 :], device=logits.device)
        scores[start + 1 :] = wanted.gather(1, tokens[:, None])[:, 0].cpu().numpy()
    k, alternatives = request.topk, request.alternatives
    return types.SampleResponse(
        sequences=[],
        prompt_logprobs_np=scores,
        topk_prompt_logprobs_np=_topk(wanted, k, before=start + 1) if k else None,
        target_prompt_logprobs=None if request.targets is None else _target_logprobs(logprobs, request.targets),
        prompt_alt_tokens=_draw_alternatives(logits, logprobs, alternatives, scored.params) if alternatives else None,
    )


@torch.no_grad()
def topk_sample_logprobs(
    model: CausalModel, prompt: list[int], tokens: list[int], k: int, temperature: float, device: torch.device
) -> TopkLogprobs:
    """The k likeliest tokens at each sampled position ``[len(tokens), k]``, by one more forward pass."""
    if not tokens:
        return TopkLogprobs(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    ids = torch.tensor([[*prompt, *tokens[:-1]]], device=device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(tokens)).logits[0].float()  # [len(tokens), V]
    return _topk(torch.log_softmax(logits / (temperature or 1.0), dim=-1), k)


def _topk(logprobs: Tensor, k: int, before: int = 0) -> TopkLogprobs:
    """The k likeliest tokens of each row of ``logprobs [n, V]``, after `before` empty rows."""
    top = logprobs.topk(k, dim=-1)
    ids = np.zeros((before + len(logprobs), k), dtype=np.int32)
    values = np.full(ids.shape, MASK_LOGPROB, dtype=np.float32)
    ids[before:], values[before:] = top.indices.cpu().numpy(), top.values.cpu().numpy()
    return TopkLogprobs(token_ids=ids, logprobs=values)


def _target_logprobs(logprobs: Tensor, targets: types.TensorData) -> types.TensorData:
    """Log-probabilities of the target ids, in the shape and layout of `targets`."""
    ids = targets.to_torch(pad_value=-1).to(logprobs.device)  # [T-1, K]
    scores = logprobs.gather(1, ids.clamp(min=0)).masked_fill(ids < 0, 0.0).cpu()
    if targets.sparse_crow_indices is None or targets.sparse_col_indices is None:
        return types.TensorData.from_torch(scores)
    rows = np.repeat(np.arange(len(scores)), np.diff(targets.sparse_crow_indices))
    return types.TensorData(
        data=scores.numpy()[rows, targets.sparse_col_indices],
        dtype="float32",
        shape=targets.shape,
        sparse_crow_indices=targets.sparse_crow_indices,
        sparse_col_indices=targets.sparse_col_indices,
    )


def _draw_alternatives(logits: Tensor, logprobs: Tensor, k: int, params: types.SamplingParams) -> PromptAltTokens:
    """Draw k tokens at each position with replacement, at the request's temperature; log-probabilities are at 1."""
    if params.temperature == 0:
        drawn = logits.argmax(dim=-1, keepdim=True).expand(-1, k).cpu()
    else:
        generator = torch.Generator()
        if params.seed is None:
            generator.seed()
        else:
            generator.manual_seed(params.seed)
        probabilities = torch.softmax(logits / params.temperature, dim=-1).cpu()
        drawn = torch.multinomial(probabilities, k, replacement=True, generator=generator)
    return PromptAltTokens(
        tokens=types.TensorData.from_torch(drawn.contiguous()),
        logprobs=types.TensorData.from_torch(logprobs.cpu().gather(1, drawn)),
    )
