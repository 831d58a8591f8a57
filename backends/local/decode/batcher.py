"""Continuous batching of `sample` calls: sequences join one decoder as it has free rows, and leave it when done."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from tinker import types

from backends.local.decode import prompt_logprobs
from backends.local.decode.group_decoder import AnyDecoder, make_decoder
from backends.local.decode.growing_cache import max_cache_positions
from backends.local.decode.prompt_logprobs import PromptLogprobsRequest, PromptToScore
from backends.local.decode.sequence import GeneratedSequence, SequenceRequest
from backends.local.model.causal import CausalModel
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import Resumable
from backends.planning.decode_plan import group_by_prefix
from backends.tokenizer import Tokenizer

if TYPE_CHECKING:
    from backends.local.engine import Engine

# Logits divided by a lower temperature overflow; at this one the likeliest token is certain.
MIN_TEMPERATURE = 1e-5
# Prompts are admitted when one row in so many is free: reading a prompt delays everybody else's next token.
ADMISSION_DIVISOR = 8

_sequence_numbers = itertools.count(1)


def _new_future() -> Future[types.SampleResponse]:
    """A future that can be cancelled until it has its answer: nothing ever marks it as running."""
    future: Future[types.SampleResponse] = Future()
    future.add_done_callback(lambda done: done.cancelled() and done.set_running_or_notify_cancel())
    return future


@dataclass(eq=False)
class SampleCall:
    """One `sample` call.

    Attributes:
        prompt: Token ids.
        num_samples: Sequences to sample.
        params: How to sample them.
        prompt_request: Which log-probabilities of the prompt to return.
        topk: Number of likeliest tokens to return at each sampled position.
        seed: What the sequences' own seeds are derived from: that of `params`, or one drawn once.
        on_token: Called with every token of the first sequence as soon as it is sampled, on the device's thread.
        future: The response. Cancelling it ends the call's sequences before their next token.
    """

    prompt: list[int]
    num_samples: int
    params: types.SamplingParams
    prompt_request: PromptLogprobsRequest
    topk: int
    seed: int
    on_token: Callable[[int], None] | None = None
    future: Future[types.SampleResponse] = field(default_factory=_new_future)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process has its own future and no listener."""
        return SampleCall, (self.prompt, self.num_samples, self.params, self.prompt_request, self.topk, self.seed)

    def answer(self, response: types.SampleResponse) -> None:
        """Set the response, unless the call has been cancelled."""
        with suppress(InvalidStateError):
            self.future.set_result(response)

    def fail(self, error: Exception) -> None:
        """Set an error, unless the call has a response or has been cancelled."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(eq=False)
class _OpenCall:
    """A call that is being answered.

    Attributes:
        call: The call.
        response: The response so far, about the prompt; it has no sequences yet.
        sequences: Its finished sequences by their number.
        streamed: Number of tokens that `on_token` has been called with.
    """

    call: SampleCall
    response: types.SampleResponse
    sequences: dict[int, GeneratedSequence] = field(default_factory=dict)
    streamed: int = 0

    @property
    def is_done(self) -> bool:
        """Whether it has been answered, has failed or has been cancelled."""
        return self.call.future.done()


class _CallSequence(NamedTuple):
    """One sequence of a call, by its number."""

    opened: _OpenCall
    number: int


class Batcher:
    """Calls that are answered together on one model.

    Args:
        engine: Whose options, tokenizer and device are used.
        model: The model, with the adapter that is to be sampled.
        prefix_cache: Where prefixes of prompts are cached.
    """

    def __init__(self, engine: Engine, model: CausalModel, prefix_cache: PrefixCache) -> None:
        self._engine, self._model, self._prefix_cache = engine, model, prefix_cache
        self._max_rows = engine.options.sample_batch_size
        # Cache positions that memory has room for, measured when nothing is running.
        self._max_positions = 0
        # Others are admitted when at most so many are running: memory had no room for more.
        self._admit_below = self._max_rows
        # Longest prompts first, each followed by those with the same prefix.
        self._queue: list[_CallSequence] = []
        self._running: dict[GeneratedSequence, _CallSequence] = {}
        self._decoder = self._new_decoder()

    def _new_decoder(self) -> AnyDecoder:
        base = self._engine.base
        prefill_tokens = self._engine.micro_batch_tokens
        return make_decoder(self._model, base.tokenizer, base.device, prefill_tokens, self._prefix_cache)

    def answer(self, calls: Sequence[SampleCall], arrivals: Callable[[int], Sequence[SampleCall]]) -> Resumable[None]:
        """Answer the calls, and those that arrive meanwhile; a step is a token, or prompts that are read together.

        Args:
            calls: The calls to begin with.
            arrivals: Called before every token but the first, with the number of further sequences there is room for;
                returns more calls. Not called any more when all are answered.
        """
        yield from self._open(calls)
        while self._queue or self._running:
            self._drop([sequence for sequence, (opened, _) in self._running.items() if opened.is_done])
            joining = self._take_joining()
            try:
                if joining:
                    requests = [_sequence_request(self._engine, opened.call, k) for opened, k in joining]
                    sequences = yield from self._decoder.admit(requests)
                    self._running |= dict(zip(sequences, joining, strict=True))
                elif self._running:
                    yield from self._decoder.step()
            except RuntimeError as error:
                self._retry_smaller(error, joining)
            self._stream()
            yield from self._close([sequence for sequence in self._running if sequence.stop_reason])
            yield
            # Calls that come when all are answered begin another batch: what is left of this one would change the
            # rounding of theirs.
            if self._queue or self._running:
                yield from self._open(arrivals(self._max_rows - len(self._running) - len(self._queue)))

    def _take_joining(self) -> list[_CallSequence]:
        """Take the sequences off the queue that join before the next token, if it is time for some to join."""
        free = self._max_rows - len(self._running)
        enough = free >= min(len(self._queue), max(1, self._max_rows // ADMISSION_DIVISOR))
        if not (self._queue and enough and len(self._running) <= self._admit_below):
            return []
        waiting = [part for part in self._queue if not part.opened.is_done]
        count = self._count_fitting(waiting[:free])
        joining, self._queue = waiting[:count], waiting[count:]
        running = len(self._running) + count
        # What did not fit is tried again when enough rows have ended to be worth reading a prompt.
        is_short = count < min(free, count + len(self._queue))
        self._admit_below = running - max(1, running // ADMISSION_DIVISOR) if is_short else self._max_rows
        return joining

    def _count_fitting(self, waiting: Sequence[_CallSequence]) -> int:
        """How many of these fit in memory beside the running ones; at least one if none is running."""
        base = self._engine.base
        if base.device.type != "cpu":
            return len(waiting)
        if not self._running:
            self._max_positions = max_cache_positions(self._model, base.dtype)
        requests = [_sequence_request(self._engine, opened.call, k) for opened, k in waiting]

        def is_too_many(count: int) -> bool:
            return self._decoder.peak_positions(requests[:count]) > self._max_positions

        if not is_too_many(len(requests)):
            return len(requests)
        # Not monotonic: more rows may take less, where only they make it worthwhile to share a prefix. Any number that
        # fits will do.
        counts = range(1, len(requests))
        return max(bisect.bisect_left(counts, True, key=is_too_many), 0 if self._running else 1)

    def _open(self, calls: Sequence[SampleCall]) -> Resumable[None]:
        """Score the prompts of new calls and queue their sequences; answer calls that want no tokens."""
        if not calls:
            return
        responses = yield from prompt_logprobs.score_prompts(
            self._engine,
            self._model,
            [PromptToScore(call.prompt, call.prompt_request, call.params) for call in calls],
            self._prefix_cache,
        )
        for call, response in zip(calls, responses, strict=True):
            opened = _OpenCall(call, response)
            if call.params.max_tokens == 0:
                opened.sequences = {
                    k: GeneratedSequence(_sequence_request(self._engine, call, k)) for k in range(call.num_samples)
                }
                yield from self._answer_call(opened)
            else:
                self._queue += [_CallSequence(opened, k) for k in range(call.num_samples)]
        self._queue = _sort_by_prefix(self._queue)

    def _drop(self, sequences: Sequence[GeneratedSequence]) -> None:
        """Stop decoding sequences whose calls have been cancelled, or have failed."""
        self._decoder.drop(sequences)
        for sequence in sequences:
            del self._running[sequence]

    def _stream(self) -> None:
        """Pass new tokens on to listeners. A sequence that is begun again comes out the same; none is sent twice."""
        for sequence, (opened, number) in self._running.items():
            if opened.call.on_token is None or number:
                continue
            try:
                for token in sequence.tokens[opened.streamed :]:
                    opened.call.on_token(token)
            except Exception as error:
                # Only the call whose listener failed is lost.
                opened.call.fail(error)
            opened.streamed = max(opened.streamed, len(sequence.tokens))

    def _close(self, finished: Sequence[GeneratedSequence]) -> Resumable[None]:
        """Answer the calls whose last sequence is finished."""
        for sequence in finished:
            opened, number = self._running.pop(sequence)
            opened.sequences[number] = sequence
            if len(opened.sequences) == opened.call.num_samples:
                yield from self._answer_call(opened)

    def _answer_call(self, opened: _OpenCall) -> Resumable[None]:
        call = opened.call
        sequences = []
        for k in range(call.num_samples):
            sequences.append(self._sampled_sequence(call, opened.sequences[k]))
            if call.topk:
                yield
        cached = opened.sequences[0].cached_tokens
        call.answer(replace(opened.response, sequences=sequences, prompt_cache_hit_tokens=cached))

    def _sampled_sequence(self, call: SampleCall, sequence: GeneratedSequence) -> types.SampledSequence:
        topk = None
        if call.topk:
            device, temperature = self._engine.base.device, call.params.temperature
            topk = prompt_logprobs.topk_sample_logprobs(
                self._model, call.prompt, sequence.tokens, call.topk, temperature, device
            )
        return types.SampledSequence(
            stop_reason="stop" if sequence.stop_reason == "stop" else "length",
            sequence_id=f"local-{self._engine.group.rank}-{next(_sequence_numbers)}",
            tokens_np=np.asarray(sequence.tokens, dtype=np.int32),
            logprobs_np=np.asarray(sequence.logprobs, dtype=np.float32),
            topk_logprobs_np=topk,
        )

    def _retry_smaller(self, error: RuntimeError, joining: Sequence[_CallSequence]) -> None:
        """After running out of memory: begin again with half as many rows; each sequence will come out the same."""
        parts = [*self._running.values(), *joining]
        if len(parts) == 1 or not should_reduce_batch_size(error) or self._engine.options.fsdp:
            raise error
        self._max_rows = self._admit_below = len(parts) // 2
        self._queue = _sort_by_prefix([*parts, *self._queue])
        self._engine.prefix_cache.clear()
        self._running = {}
        self._decoder = self._new_decoder()
        if self._engine.base.device.type == "cuda":
            torch.cuda.empty_cache()


def _sort_by_prefix(parts: Sequence[_CallSequence]) -> list[_CallSequence]:
    """The longest prompts first, each followed by those with the same prefix, while that is cached."""
    prompts = [tuple(part.opened.call.prompt) for part in parts]
    return [parts[i] for group in group_by_prefix(prompts) for i in group]


def _max_tokens(engine: Engine, call: SampleCall) -> int:
    """Most tokens that may be sampled after the call's prompt."""
    room = engine.base.max_length - len(call.prompt)
    return room if call.params.max_tokens is None else min(call.params.max_tokens, room)


def _sequence_request(engine: Engine, call: SampleCall, number: int) -> SequenceRequest:
    """What the decoder is to sample for one sequence of the call."""
    params, base = call.params, engine.base
    stops = stop_conditions(base.tokenizer, params.stop)
    return SequenceRequest(
        prompt=call.prompt,
        max_tokens=_max_tokens(engine, call),
        temperature=params.temperature if params.temperature > MIN_TEMPERATURE else 0.0,
        top_k=min(params.top_k, engine.vocabulary),
        top_p=params.top_p,
        seed=(call.seed * 1_000_003 + number) & (2**63 - 1),
        stop_tokens=stops.tokens,
        stop_strings=stops.strings,
    )


class StopConditions(NamedTuple):
    """The token ids and the texts that end a sequence."""

    tokens: frozenset[int]
    strings: tuple[str, ...]


def stop_conditions(tokenizer: Tokenizer, stop: str | Sequence[str] | Sequence[int] | None) -> StopConditions:
    """What ends a sequence, by the `stop` of `types.SamplingParams`.

    Args:
        tokenizer: The model's; its end-of-sequence token ends a sequence too, unless `stop` is empty.
        stop: A text, texts or token ids; an empty list: nothing ends it.
    """
    stops = [stop] if isinstance(stop, str) else stop
    eos = tokenizer.eos_token_id
    always = [] if stops == [] or eos is None else [eos]
    explicit = list(stops or [])
    return StopConditions(
        frozenset([*always, *(s for s in explicit if isinstance(s, int))]),
        tuple(s for s in explicit if isinstance(s, str)),
    )
