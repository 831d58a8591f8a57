"""The local sampling client: concurrent `sample` calls become batches."""

from __future__ import annotations

import random
import threading
import uuid
import weakref
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import tinker
from tinker import types

from backends.interface import BackendError
from backends.local.async_aliases import async_result, async_return
from backends.local.decode.batcher import Batcher, SampleCall
from backends.local.decode.prompt_logprobs import NO_PROMPT_LOGPROBS, PromptLogprobsRequest
from backends.local.decode.sample_checks import check_call
from backends.local.futures import BackendClosed, LocalFuture, as_sdk_error
from backends.local.model_input import text_tokens
from backends.local.prefix_cache import PrefixCache
from backends.local.resumable import ResumableJob
from backends.tokenizer import PretrainedTokenizer

if TYPE_CHECKING:
    from backends.local.engine import Engine
    from backends.local.weights.protocol import Snapshot

# How long a batch waits for more calls while nobody waits for its results.
COLLECT_SECONDS = 0.25


class LocalSamplingClient:
    """Samples from one frozen set of weights; made by a service or training client.

    Calls are collected until somebody waits for a result, or until none has come for `COLLECT_SECONDS`; then all of
    them run together, the longest prompts first, `sample_batch_size` sequences at a time. Calls that come meanwhile
    join them between two tokens, unless another job waits for the device. A program that submits its calls without a
    pause and then waits gets the same batches, and so the same numbers, every time.

    With several processes, each has such a client of the same weights, and the collected calls are distributed over
    them. Calls that come meanwhile are then the next batch, so that they are distributed too.

    Args:
        engine: The base model, in memory.
        client_id: The id by which all processes know this client.
        snapshot: What to sample from; None: the bare base model.
        model_path: ``tinker://`` path that the weights were read from, if any.
    """

    def __init__(
        self, engine: Engine, client_id: str, snapshot: Snapshot | None, model_path: str | None = None
    ) -> None:
        self._engine = engine
        self.client_id = client_id
        self._snapshot = snapshot
        self.model_path = model_path
        self._calls: list[SampleCall] = []
        # Reentrant: a job that fails at once calls back on this thread.
        self._lock = threading.RLock()
        # Set when somebody waits for a result.
        self._awaited = threading.Event()
        # Set when a call has come.
        self._arrived = threading.Event()
        # Jobs of this client that are queued and have not begun.
        self._queued_jobs = 0
        if engine.group.rank == 0 < engine.group.size - 1:
            weakref.finalize(self, engine.release, client_id)

    @property
    def replica_id(self) -> str:
        """The id by which all processes know this client."""
        return self.client_id

    def discard(self) -> None:
        """Do nothing: its weights are in main memory until they are sampled from."""

    def sample(
        self,
        prompt: types.ModelInput,
        num_samples: int,
        sampling_params: types.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: types.TensorData | None = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> LocalFuture[types.SampleResponse]:
        """Sample continuations.

        Args:
            prompt: Token ids of the prompt.
            num_samples: Number of independent continuations.
            sampling_params: `stop` None stops at the end-of-sequence token; a list of strings or of token ids stops at
                those and at the end-of-sequence token; an empty list stops at nothing.
            include_prompt_logprobs: Also return the log-probability of each prompt token.
            topk_prompt_logprobs: Also return the k likeliest tokens at each prompt position.
            topk_sample_logprobs: Also return the k likeliest tokens at each sampled position, which costs one more
                forward pass for each sample.
            target_prompt_logprobs: Token ids ``[len(prompt) - 1, K]``, dense or sparse, to score at each position.
            prompt_alt_tokens_k: Also return k alternatives to each prompt token, drawn at the request's temperature.
            prompt_logprobs_last_n: Score the last n prompt tokens alone.

        Raises:
            ValueError: The prompt is empty, too long or has ids out of range, or a parameter is out of range.
        """
        prompt_request = PromptLogprobsRequest(
            logprobs=include_prompt_logprobs,
            topk=topk_prompt_logprobs,
            last_n=prompt_logprobs_last_n,
            targets=target_prompt_logprobs,
            alternatives=prompt_alt_tokens_k,
        )
        return self._submit(self.call(prompt, num_samples, sampling_params, prompt_request, topk_sample_logprobs))

    def call(
        self,
        prompt: types.ModelInput,
        num_samples: int,
        sampling_params: types.SamplingParams,
        prompt_request: PromptLogprobsRequest = NO_PROMPT_LOGPROBS,
        topk: int = 0,
        on_token: Callable[[int], None] | None = None,
    ) -> SampleCall:
        """A validated call of `sample` or, with `on_token`, of `sample_with_callback`; it raises what these raise.

        Args:
            prompt: Token ids of the prompt.
            num_samples: Number of independent continuations.
            sampling_params: How to sample them.
            prompt_request: Which log-probabilities of the prompt to return.
            topk: Number of likeliest tokens to return at each sampled position.
            on_token: Called with each token of the first continuation.
        """
        if not isinstance(sampling_params, types.SamplingParams):
            kind = type(sampling_params).__name__
            raise ValueError(f"sampling_params is a {kind}; it must be a tinker.SamplingParams.")
        seed = random.getrandbits(63) if sampling_params.seed is None else sampling_params.seed
        try:
            tokens = text_tokens(prompt)
        except ValueError as error:
            raise ValueError(f"The prompt {error}.") from error
        call = SampleCall(tokens, num_samples, sampling_params, prompt_request, topk, seed, on_token)
        check_call(call, self._engine.vocabulary, self._engine.base.max_length)
        return call

    def sampling_job(
        self,
        calls: Sequence[SampleCall],
        arrivals: Callable[[int], Sequence[SampleCall]],
        prefix_cache: PrefixCache | None = None,
    ) -> ResumableJob[None]:
        """A job that answers calls together and that others may interrupt.

        Args:
            calls: The calls to begin with.
            arrivals: Called before every token, on the device's thread, with the number of further sequences there is
                room for; returns more calls.
            prefix_cache: Where prefixes of prompts are cached; None: in the cache of this process, so that the
                rounding depends on the calls before.
        """
        engine = self._engine
        return ResumableJob(
            engine.executor,
            partial(engine.inference, self._snapshot),
            lambda model: Batcher(engine, model, prefix_cache or engine.prefix_cache).answer(calls, arrivals),
        )

    def sample_with_callback(
        self, prompt: types.ModelInput, sampling_params: types.SamplingParams, on_token: Callable[[int], None]
    ) -> LocalFuture[types.SampleResponse]:
        """`sample` for one continuation, whose tokens are passed on one by one as they are sampled.

        Args:
            prompt: Token ids of the prompt.
            sampling_params: As of `sample`.
            on_token: Called with each token on the device's thread, which waits for it: it should only pass it on.
                If it raises, only this call fails.
        """
        return self._submit(self.call(prompt, 1, sampling_params, on_token=on_token))

    def stream(
        self, prompt: types.ModelInput, sampling_params: types.SamplingParams
    ) -> Generator[int, None, types.SampleResponse]:
        """The tokens of one continuation, each as soon as it is sampled; the generator returns the whole response.

        Whoever stops listening ends the sampling.
        """
        tokens: SimpleQueue[int | None] = SimpleQueue()
        answer = self.sample_with_callback(prompt, sampling_params, tokens.put).future()
        answer.add_done_callback(lambda _: tokens.put(None))
        try:
            while (token := tokens.get()) is not None:
                yield token
            return answer.result()
        finally:
            answer.cancel()

    def _submit(self, call: SampleCall) -> LocalFuture[types.SampleResponse]:
        with self._lock:
            self._calls.append(call)
            self._arrived.set()
            if len(self._calls) == 1:
                self._submit_job()
        return LocalFuture(call.future, before_wait=self._awaited.set)

    def _submit_job(self) -> None:
        """Queue the job that will answer the calls collected until then."""
        self._awaited.clear()
        self._queued_jobs += 1
        try:
            job = self._engine.executor.submit(self._run)
        except tinker.TinkerError:
            self._queued_jobs -= 1
            self._calls.clear()
            raise
        job.future().add_done_callback(self._fail_unanswered)

    def compute_logprobs(
        self, prompt: types.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> LocalFuture[list[float | None]]:
        """Log-probability of each prompt token given those before it (temperature 1); the first is None.

        With `prompt_logprobs_last_n` only the last n are computed, and those before them are None.
        """
        params = types.SamplingParams(max_tokens=0)
        response = self.sample(
            prompt, 1, params, include_prompt_logprobs=True, prompt_logprobs_last_n=prompt_logprobs_last_n
        )
        future: Future[list[float | None]] = Future()

        def finish(done: Future[types.SampleResponse]) -> None:
            if error := done.exception():
                future.set_exception(error)
            else:
                future.set_result(done.result().prompt_logprobs or [])

        response._future.add_done_callback(finish)
        return LocalFuture(future, before_wait=self._awaited.set)

    def get_tokenizer(self) -> PretrainedTokenizer:
        """The tokenizer of the base model."""
        return self._engine.base.tokenizer

    def get_base_model(self) -> str:
        """The name of the base model."""
        return self._engine.base.name

    def get_sampler_handle(self) -> str:
        """Refused: the weights are in this process (BackendError)."""
        raise BackendError(
            "get_sampler_handle is not available on the local backend: the weights live in this process. "
            "Save them and give the other process their path, or sample through a server (backends.server)."
        )

    def get_telemetry(self) -> None:
        """None: nothing is reported to anybody."""
        return None

    sample_async = async_result(sample)
    compute_logprobs_async = async_result(compute_logprobs)
    get_base_model_async = async_return(get_base_model)

    def _run(self) -> None:
        """Collect calls, then answer them all (on the device thread)."""
        with self._lock:
            self._queued_jobs -= 1
        while self._calls and not self._awaited.is_set():
            self._arrived.clear()
            if not self._arrived.wait(COLLECT_SECONDS) and not self._awaited.is_set():
                break
        calls = self._take_calls()
        # None if the job before this one has answered them.
        if not calls:
            return
        try:
            self._answer(calls)
        except (BackendError, ValueError, tinker.TinkerError) as error:
            _fail(calls, error)
        except Exception as error:
            _fail(calls, as_sdk_error(error))

    def _answer(self, calls: list[SampleCall]) -> None:
        """Answer the calls: those that stream in this process, the others distributed over all processes."""
        streaming = [call for call in calls if call.on_token is not None]
        self._answer_distributed([call for call in calls if call.on_token is None], streaming, calls)

    def _answer_distributed(
        self,
        calls: list[SampleCall],
        local_calls: Sequence[SampleCall] = (),
        open_calls: list[SampleCall] | None = None,
    ) -> None:
        """Answer this process's share of the calls.

        Args:
            calls: Calls that every process knows.
            local_calls: Calls to answer in this process as well.
            open_calls: In the first process: all calls that are being answered, to which those that join are added.
        """
        group = self._engine.group
        group.broadcast(self._answer_distributed, calls)
        share = group.shard(list(enumerate(calls)), lambda numbered: len(numbered[1].prompt))

        def arrivals(_room: int) -> list[SampleCall]:
            return self._take_joining(open_calls) if open_calls is not None and group.size == 1 else []

        def answer_share() -> dict[int, types.SampleResponse]:
            self.sampling_job([*local_calls, *(call for _, call in share)], arrivals).run()
            return {number: call.future.result() for number, call in share if not call.future.cancelled()}

        for responses in group.gather(answer_share, lambda responses: responses)[1]:
            for number, response in responses.items():
                calls[number].answer(response)

    def _take_calls(self) -> list[SampleCall]:
        """Take the calls that have come, without those that have been cancelled."""
        with self._lock:
            calls, self._calls = self._calls, []
        return [call for call in calls if not call.future.done()]

    def _take_joining(self, open_calls: list[SampleCall]) -> list[SampleCall]:
        """Take the calls that join those being answered; none while another job waits for the device."""
        if self._engine.executor.waiting > self._queued_jobs:
            return []
        calls = self._take_calls()
        open_calls += calls
        return calls

    def _fail_unanswered(self, job: Future[None]) -> None:
        """Fail the calls of a job that was cancelled, or stopped before it could take them."""
        if job.cancelled() or job.exception() is not None:
            with self._lock:
                calls, self._calls = self._calls, []
            _fail(calls, BackendClosed())


def _fail(calls: list[SampleCall], error: Exception) -> None:
    for call in calls:
        call.fail(error)


def new_id() -> str:
    """An id by which all processes know a sampling client."""
    return uuid.uuid4().hex


def refuse_stability_info(record: bool) -> None:
    """Raise ValueError if a sampling client is to record what only the loss `stable_reinforce` uses."""
    if record:
        raise ValueError(
            "record_stability_info is for the loss stable_reinforce, which is not available here; leave it out."
        )
