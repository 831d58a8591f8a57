"""What `sample` returns about a prompt: log-probabilities, likeliest tokens, alternatives.

All of it comes from one forward pass over the prompt, which prompts of similar length share. Where the last tokens
alone are asked about, what stands before them is read once for all prompts that have it, and kept. Log-probabilities of
prompt tokens are the model's own, at temperature 1; those of sampled tokens, and so of the likeliest tokens at sampled
positions, are of the temperature-scaled distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tinker import types
from tinker.types.prompt_alt_tokens import PromptAltTokens
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from backends.local.decode.prompt_reader import PromptReader
from backends.local.model.architecture_traits import short_context
from backends.local.model.causal import CausalModel
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import Steps
from backends.planning.decode_plan import SHARED, Prompt

if TYPE_CHECKING:
    from backends.local.engine import Engine

# Numbers in the logits of one forward pass: 256 MB in float32.
LOGITS = 2**26


@dataclass(frozen=True, slots=True)
class PromptLogprobsRequest:
    """Which of the prompt's log-probabilities a call asks for.

    Attributes:
        logprobs: Whether the log-probability of every token but the first.
        topk: Number of likeliest tokens at each position.
        last_n: `logprobs` and `topk` of the last n tokens alone; None for all.
        targets: Ids ``[T - 1, K]`` to score; row i is about position i + 1, and -1 asks for nothing.
        alternatives: Number of tokens drawn at each position after the first.
    """

    logprobs: bool = False
    topk: int = 0
    last_n: int | None = None
    targets: types.TensorData | None = None
    alternatives: int = 0

    def __bool__(self) -> bool:
        return self.logprobs or bool(self.topk) or self.targets is not None or bool(self.alternatives)

    def first(self, length: int) -> int:
        """The first position of a prompt of this length whose successor is scored."""
        narrow = self.last_n is not None and self.targets is None and not self.alternatives
        return length - 1 - self.last_n if narrow and self.last_n else 0

    def check(self, prompt: list[int], vocabulary: int) -> None:
        """Raise ValueError if the prompt cannot be scored so."""
        length = len(prompt)
        if not 0 <= self.topk <= vocabulary:
            raise ValueError(f"topk_prompt_logprobs is {self.topk}; it must be 0 to {vocabulary}.")
        if not 0 <= self.alternatives <= vocabulary:
            raise ValueError(f"prompt_alt_tokens_k is {self.alternatives}; it must be 0 to {vocabulary}.")
        if self.last_n is not None:
            if not self.logprobs:
                raise ValueError("prompt_logprobs_last_n applies to prompt logprobs; set include_prompt_logprobs")
            if not 1 <= self.last_n <= length - 1:
                raise ValueError(f"prompt_logprobs_last_n is {self.last_n}; it must be 1 to {length - 1} here.")
        if self.targets is not None:
            _check_targets(self.targets, length, vocabulary)


NOTHING = PromptLogprobsRequest()


def _check_targets(targets: types.TensorData, length: int, vocabulary: int) -> None:
    if targets.dtype != "int64":
        raise ValueError(f"target_prompt_logprobs must be an int64 tensor of token ids, got {targets.dtype}")
    if targets.shape is None or len(targets.shape) != 2 or targets.shape[0] != length - 1:
        raise ValueError(f"target_prompt_logprobs has shape {targets.shape}; it must be [{length - 1}, K] here.")
    ids = targets.to_numpy(pad_value=-1)
    if ids.size and not (ids.min() >= -1 and ids.max() < vocabulary):
        raise ValueError(f"target_prompt_logprobs has an id outside -1..{vocabulary - 1}.")
    if not (ids >= 0).any():
        raise ValueError("target_prompt_logprobs names no token id.")


@torch.no_grad()
def score_prompts(
    engine: Engine,
    model: CausalModel,
    prompts: Sequence[tuple[list[int], PromptLogprobsRequest, types.SamplingParams]],
    prefixes: PrefixCache,
) -> Steps[list[types.SampleResponse]]:
    """What is asked about each prompt, as responses that have no sequences yet; a step is a forward pass.

    Prompts of similar length share a pass; its logits are no larger than `LOGITS` unless one prompt's are.
    """
    responses = [types.SampleResponse(sequences=[]) for _ in prompts]
    reader = PromptReader(model, engine.base.device, prefixes)
    ends = _ends(prompts) if reader.goes_on else {}
    yield from _score_ends(engine, reader, prompts, ends, responses)
    done = {place for places in ends.values() for place in places}
    order = sorted(
        (i for i, (_, request, _) in enumerate(prompts) if request and i not in done), key=lambda i: -len(prompts[i][0])
    )
    budget = min(engine.micro_batch_tokens, LOGITS // engine.vocabulary)
    bound = short_context(engine.base.model)
    while order:
        count = max(1, budget // len(prompts[order[0]][0]))
        if bound and len(prompts[order[0]][0]) > bound:
            # The longest come first, and those within the bound go by themselves.
            count = min(count, sum(len(prompts[i][0]) > bound for i in order))
        batch, order = order[:count], order[count:]
        ids = pad_sequence([torch.tensor(prompts[i][0]) for i in batch], batch_first=True)  # [B, T]
        keep = torch.zeros_like(ids, dtype=torch.bool)
        for row, i in enumerate(batch):
            keep[row, prompts[i][1].first(len(prompts[i][0])) : len(prompts[i][0]) - 1] = True
        counts = keep.sum(dim=1).tolist()
        device = engine.base.device
        logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=keep.to(device)).logits  # [N, V]
        for i, rows in zip(batch, logits.split(counts), strict=True):
            responses[i] = _scores(rows.float(), *prompts[i])
        yield
    return responses


def _ends(
    prompts: Sequence[tuple[list[int], PromptLogprobsRequest, types.SamplingParams]],
) -> dict[Prompt, list[int]]:
    """Places of the prompts whose last tokens alone are asked about, by what stands before these."""
    found: dict[Prompt, list[int]] = {}
    for place, (prompt, request, _) in enumerate(prompts):
        if request and (first := request.first(len(prompt))) >= SHARED:
            found.setdefault(tuple(prompt[:first]), []).append(place)
    return found


def _score_ends(
    engine: Engine,
    reader: PromptReader,
    prompts: Sequence[tuple[list[int], PromptLogprobsRequest, types.SamplingParams]],
    ends: Mapping[Prompt, Sequence[int]],
    responses: list[types.SampleResponse],
) -> Steps[None]:
    """Put in the responses about the last tokens of prompts, whose beginnings are read first.

    Args:
        engine: Whose limits hold.
        reader: What reads.
        prompts: As of `score_prompts`.
        ends: Places of those that are meant, by their beginnings.
        responses: Of all prompts.
    """
    budget = min(engine.micro_batch_tokens, LOGITS // engine.vocabulary)
    # Those that begin alike after one another, while what they share is at hand.
    for beginning, places in sorted(ends.items()):
        _, layers = reader.keep(beginning)
        yield
        order = sorted(places, key=lambda i: -len(prompts[i][0]))
        while order:
            count = max(1, budget // (len(prompts[order[0]][0]) - len(beginning)))
            batch, order = order[:count], order[count:]
            # The last token is only scored; what comes after it is not asked.
            read = [tuple(prompts[i][0][:-1]) for i in batch]
            _, logits = reader.read(read, layers, [len(beginning)] * len(batch))
            counts = [len(prompt) - len(beginning) for prompt in read]
            for i, rows in zip(batch, logits.split(counts), strict=True):
                responses[i] = _scores(rows, *prompts[i])
            yield


def _scores(
    logits: Tensor, prompt: list[int], request: PromptLogprobsRequest, params: types.SamplingParams
) -> types.SampleResponse:
    """The response about one prompt from the logits ``[T - 1 - first, V]`` of its positions from `request.first` on."""
    length, first = len(prompt), request.first(len(prompt))
    logprobs = torch.log_softmax(logits, dim=-1)
    # Row of the first token that is asked for.
    start = length - 1 - request.last_n if request.last_n else 0
    asked = logprobs[start - first :]
    scores = None
    if request.logprobs:
        scores = np.full(length, np.nan, dtype=np.float32)
        tokens = torch.tensor(prompt[start + 1 :], device=logits.device)
        scores[start + 1 :] = asked.gather(1, tokens[:, None])[:, 0].cpu().numpy()
    k, drawn = request.topk, request.alternatives
    return types.SampleResponse(
        sequences=[],
        prompt_logprobs_np=scores,
        topk_prompt_logprobs_np=_likeliest(asked, k, before=start + 1) if k else None,
        target_prompt_logprobs=None if request.targets is None else _targets(logprobs, request.targets),
        prompt_alt_tokens=_alternatives(logits, logprobs, drawn, params) if drawn else None,
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
    return _likeliest(torch.log_softmax(logits / (temperature or 1.0), dim=-1), k)


def _likeliest(logprobs: Tensor, k: int, before: int = 0) -> TopkLogprobs:
    """The k likeliest of each row ``[n, V]``, after `before` empty rows."""
    top = logprobs.topk(k, dim=-1)
    ids = np.zeros((before + len(logprobs), k), dtype=np.int32)
    values = np.full(ids.shape, MASK_LOGPROB, dtype=np.float32)
    ids[before:], values[before:] = top.indices.cpu().numpy(), top.values.cpu().numpy()
    return TopkLogprobs(token_ids=ids, logprobs=values)


def _targets(logprobs: Tensor, targets: types.TensorData) -> types.TensorData:
    """Log-probabilities of the named ids, in the shape and layout in which they were named."""
    ids = targets.to_torch(pad_value=-1).to(logprobs.device)  # [T-1, K]
    found = logprobs.gather(1, ids.clamp(min=0)).masked_fill(ids < 0, 0.0).cpu()
    if targets.sparse_crow_indices is None or targets.sparse_col_indices is None:
        return types.TensorData.from_torch(found)
    rows = np.repeat(np.arange(len(found)), np.diff(targets.sparse_crow_indices))
    return types.TensorData(
        data=found.numpy()[rows, targets.sparse_col_indices],
        dtype="float32",
        shape=targets.shape,
        sparse_crow_indices=targets.sparse_crow_indices,
        sparse_col_indices=targets.sparse_col_indices,
    )


def _alternatives(logits: Tensor, logprobs: Tensor, k: int, params: types.SamplingParams) -> PromptAltTokens:
    """Draw k tokens at each position with replacement, at the request's temperature; log-probabilities are at 1."""
    if params.temperature == 0:
        drawn = logits.argmax(dim=-1, keepdim=True).expand(-1, k).cpu()
    else:
        stream = torch.Generator()
        if params.seed is None:
            stream.seed()
        else:
            stream.manual_seed(params.seed)
        probabilities = torch.softmax(logits / params.temperature, dim=-1).cpu()
        drawn = torch.multinomial(probabilities, k, replacement=True, generator=stream)
    return PromptAltTokens(
        tokens=types.TensorData.from_torch(drawn.contiguous()),
        logprobs=types.TensorData.from_torch(logprobs.cpu().gather(1, drawn)),
    )
