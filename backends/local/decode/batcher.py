"""Batches of `sample` calls: sequences are admitted to one decoder as it has free rows, and leave it when done."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from tinker import types

from backends.local.decode import prompt_logprobs
from backends.local.decode.group_decoder import AnyDecoder, make_decoder
from backends.local.decode.growing_cache import columns_in_memory
from backends.local.decode.prompt_logprobs import PromptLogprobsRequest
from backends.local.decode.sequence import Request, Sampled
from backends.local.model.causal import CausalModel
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import Steps
from backends.planning.decode_plan import families
from backends.tokenizer import Tokenizer

if TYPE_CHECKING:
    from backends.local.engine import Engine

# Logits divided by less overflow; at this temperature the likeliest token is certain.
COLDEST = 1e-5
# Prompts are admitted when one row in this many is free: a prompt's pass delays everybody else's next token.
REFILL = 8

_numbers = itertools.count(1)


def _new_future() -> Future[types.SampleResponse]:
    """A future that can be cancelled until it has its answer: nothing ever marks it as running."""
    future: Future[types.SampleResponse] = Future()
    future.add_done_callback(lambda done: done.cancelled() and done.set_running_or_notify_cancel())
    return future


@dataclass(eq=False)
class Call:
    """One `sample` call.

    Attributes:
        prompt: Token ids.
        num_samples: Sequences to sample.
        params: How to sample them.
        about_prompt: Which log-probabilities of the prompt to return.
        topk: Number of likeliest tokens to return at each sampled position.
        seed: What the sequences' own seeds are made from: that of `params`, or one drawn once.
        on_token: Called with every token of the first sequence as soon as it is sampled, on the device's thread.
        future: The answer. Cancelling it ends the call's sequences before their next token.
    """

    prompt: list[int]
    num_samples: int
    params: types.SamplingParams
    about_prompt: PromptLogprobsRequest
    topk: int
    seed: int
    on_token: Callable[[int], None] | None = None
    future: Future[types.SampleResponse] = field(default_factory=_new_future)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process: it gets another future, and nobody listens there."""
        return Call, (self.prompt, self.num_samples, self.params, self.about_prompt, self.topk, self.seed)

    def answer(self, response: types.SampleResponse) -> None:
        """Give the answer, unless the call has been cancelled."""
        with suppress(InvalidStateError):
            self.future.set_result(response)

    def fail(self, error: Exception) -> None:
        """Give an error for an answer, unless there is an answer or the call has been cancelled."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(eq=False)
class _OpenCall:
    """A call under way: what is known of its prompt, and its sequences by number."""

    call: Call
    # What is known of its prompt.
    response: types.SampleResponse
    sequences: dict[int, Sampled] = field(default_factory=dict)
    # Tokens that `on_token` has been called with.
    streamed: int = 0


# One sequence of a call.
Part = tuple[_OpenCall, int]


class Batcher:
    """Calls under way on one model.

    Args:
        engine: Whose options, tokenizer and device are used.
        model: The model, with the adapter that is to be sampled.
        prefixes: Where beginnings of prompts are kept.
    """

    def __init__(self, engine: Engine, model: CausalModel, prefixes: PrefixCache) -> None:
        self._engine, self._model, self._prefixes = engine, model, prefixes
        self._size = engine.options.sample_batch_size
        # Of the cache, as memory was free when nothing was running.
        self._columns = 0
        # How many may be running for others to be admitted: there was memory for no more.
        self._room_below = self._size
        # To come, the longest prompts first, with those that begin like them.
        self._queue: list[Part] = []
        self._running: dict[Sampled, Part] = {}
        self._decoder = self._new_decoder()

    def _new_decoder(self) -> AnyDecoder:
        base = self._engine.base
        tokens = self._engine.micro_batch_tokens
        return make_decoder(self._model, base.tokenizer, base.device, tokens, self._prefixes)

    def answer(self, calls: Sequence[Call], arrivals: Callable[[int], Sequence[Call]]) -> Steps[None]:
        """Answer the calls, and those that arrive meanwhile; a step is a token, or prompts that are read together.

        Args:
            calls: The calls to begin with.
            arrivals: Asked for more calls before every token but the first, given how many more sequences there is room
                for; not any more when all are answered.
        """
        yield from self._open(calls)
        while self._queue or self._running:
            self._drop([sampled for sampled, (opened, _) in self._running.items() if opened.call.future.done()])
            free = self._size - len(self._running)
            joining: list[Part] = []
            enough = free >= min(len(self._queue), max(1, self._size // REFILL))
            if self._queue and enough and len(self._running) <= self._room_below:
                waiting = [part for part in self._queue if not part[0].call.future.done()]
                count = self._fitting(waiting[:free])
                joining, self._queue = waiting[:count], waiting[count:]
                running = len(self._running) + count
                # What did not fit is tried again when as many rows have ended as make room worth a prompt's pass.
                short = count < min(free, count + len(self._queue))
                self._room_below = running - max(1, running // REFILL) if short else self._size
            try:
                if joining:
                    requests = [_request(self._engine, opened.call, k) for opened, k in joining]
                    sampled = yield from self._decoder.admit(requests)
                    self._running |= dict(zip(sampled, joining, strict=True))
                elif self._running:
                    yield from self._decoder.step()
            except RuntimeError as error:
                self._retry_smaller(error, joining)
            self._stream()
            yield from self._close([sampled for sampled in self._running if sampled.stop_reason])
            yield
            # Whoever comes when all are answered begins another batch: what is left of this one would show in the
            # rounding of theirs.
            if self._queue or self._running:
                yield from self._open(arrivals(self._size - len(self._running) - len(self._queue)))

    def _fitting(self, waiting: Sequence[Part]) -> int:
        """How many of these there is memory for, beside those that are running: one, if none is."""
        base = self._engine.base
        if base.device.type != "cpu":
            return len(waiting)
        if not self._running:
            self._columns = columns_in_memory(self._model, base.dtype)
        requests = [_request(self._engine, opened.call, k) for opened, k in waiting]

        def too_many(count: int) -> bool:
            return self._decoder.columns(requests[:count]) > self._columns

        if not too_many(len(requests)):
            return len(requests)
        # More rows may take less, where only they make it worth while to hold a beginning once: any number that fits
        # will do.
        counts = range(1, len(requests))
        return max(bisect.bisect_left(counts, True, key=too_many), 0 if self._running else 1)

    def _open(self, calls: Sequence[Call]) -> Steps[None]:
        """Score the prompts of new calls and queue their sequences; answer those that ask for none."""
        if not calls:
            return
        responses = yield from prompt_logprobs.score_prompts(
            self._engine, self._model, [(c.prompt, c.about_prompt, c.params) for c in calls], self._prefixes
        )
        for call, response in zip(calls, responses, strict=True):
            opened = _OpenCall(call, response)
            if call.params.max_tokens == 0:
                opened.sequences = {k: Sampled(_request(self._engine, call, k)) for k in range(call.num_samples)}
                yield from self._settle(opened)
            else:
                self._queue += [(opened, k) for k in range(call.num_samples)]
        self._queue = _in_families(self._queue)

    def _drop(self, sequences: Sequence[Sampled]) -> None:
        """Decode these no further: their calls have been cancelled, or have failed."""
        self._decoder.drop(sequences)
        for sampled in sequences:
            del self._running[sampled]

    def _stream(self) -> None:
        """Pass new tokens on to listeners. A sequence that is begun again comes out the same; none is sent twice."""
        for sampled, (opened, k) in self._running.items():
            if opened.call.on_token is None or k:
                continue
            try:
                for token in sampled.tokens[opened.streamed :]:
                    opened.call.on_token(token)
            except Exception as error:
                # Only the call whose listener failed is lost.
                opened.call.fail(error)
            opened.streamed = max(opened.streamed, len(sampled.tokens))

    def _close(self, finished: Sequence[Sampled]) -> Steps[None]:
        """Answer the calls whose last sequence is finished."""
        for sampled in finished:
            opened, k = self._running.pop(sampled)
            opened.sequences[k] = sampled
            if len(opened.sequences) == opened.call.num_samples:
                yield from self._settle(opened)

    def _settle(self, opened: _OpenCall) -> Steps[None]:
        call = opened.call
        sequences = []
        for k in range(call.num_samples):
            sequences.append(self._sequence(call, opened.sequences[k]))
            if call.topk:
                yield
        cached = opened.sequences[0].cached
        call.answer(replace(opened.response, sequences=sequences, prompt_cache_hit_tokens=cached))

    def _sequence(self, call: Call, sampled: Sampled) -> types.SampledSequence:
        topk = None
        if call.topk:
            device, temperature = self._engine.base.device, call.params.temperature
            topk = prompt_logprobs.topk_sample_logprobs(
                self._model, call.prompt, sampled.tokens, call.topk, temperature, device
            )
        return types.SampledSequence(
            stop_reason="stop" if sampled.stop_reason == "stop" else "length",
            sequence_id=f"local-{self._engine.group.rank}-{next(_numbers)}",
            tokens_np=np.asarray(sampled.tokens, dtype=np.int32),
            logprobs_np=np.asarray(sampled.logprobs, dtype=np.float32),
            topk_logprobs_np=topk,
        )

    def _retry_smaller(self, error: RuntimeError, joining: Sequence[Part]) -> None:
        """After running out of memory: begin again with half as many rows; each sequence will come out the same."""
        parts = [*self._running.values(), *joining]
        if len(parts) == 1 or not should_reduce_batch_size(error) or self._engine.options.fsdp:
            raise error
        self._size = self._room_below = len(parts) // 2
        self._queue = _in_families([*parts, *self._queue])
        self._engine.prefixes.clear()
        self._running = {}
        self._decoder = self._new_decoder()
        if self._engine.base.device.type == "cuda":
            torch.cuda.empty_cache()


def _in_families(parts: Sequence[Part]) -> list[Part]:
    """The longest prompts first, and after each those that begin like it, so that beginnings are still at hand."""
    prompts = [tuple(opened.call.prompt) for opened, _ in parts]
    return [parts[place] for family in families(prompts) for place in family]


def _longest(engine: Engine, call: Call) -> int:
    """The tokens that may be sampled after the call's prompt."""
    most = engine.base.max_length - len(call.prompt)
    return most if call.params.max_tokens is None else min(call.params.max_tokens, most)


def _request(engine: Engine, call: Call, k: int) -> Request:
    """What the decoder is to sample for the call's sequence `k`."""
    params, base = call.params, engine.base
    tokens, texts = stops_of(base.tokenizer, params.stop)
    return Request(
        prompt=call.prompt,
        max_tokens=_longest(engine, call),
        temperature=params.temperature if params.temperature > COLDEST else 0.0,
        top_k=min(params.top_k, engine.vocabulary),
        top_p=params.top_p,
        seed=(call.seed * 1_000_003 + k) & (2**63 - 1),
        stop_tokens=tokens,
        stop_strings=texts,
    )


def stops_of(
    tokenizer: Tokenizer, stop: str | Sequence[str] | Sequence[int] | None
) -> tuple[frozenset[int], tuple[str, ...]]:
    """The tokens and the texts that end an answer.

    Args:
        tokenizer: The model's, whose end-of-sequence token ends an answer too, unless nothing shall.
        stop: As in `types.SamplingParams`.
    """
    stops = [stop] if isinstance(stop, str) else stop
    ends = tokenizer.eos_token_id
    always = [] if stops == [] or ends is None else [ends]
    named = list(stops or [])
    return frozenset([*always, *(s for s in named if isinstance(s, int))]), tuple(
        s for s in named if isinstance(s, str)
    )
