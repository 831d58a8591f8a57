"""Carrying out a sampler's requests: decoded together, joined by later ones, each failing or succeeding by itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from tinker import types

from backends.local.futures import LocalFuture
from backends.local.sampling import LocalSamplingClient
from backends.server import wire
from backends.server.futures import PROTOBUF, Failure, Result
from backends.server.metrics import Metrics
from backends.server.queues import Job, SamplerQueue
from backends.server.residency import Residency
from backends.server.scheduler import Scheduler

# How often a running batch looks for requests that may join it, and for cancelled ones.
JOIN_SECONDS = 0.01

# Gives base model and checkpoint (None for the bare model) when a batch is about to run.
Weights = Callable[[], tuple[str, str | None]]


class SampleBatches:
    """Carries out the batches that the scheduler takes from the queues of samplers, on the scheduler's thread."""

    def __init__(self, residency: Residency, scheduler: Scheduler, metrics: Metrics) -> None:
        self._residency = residency
        self._scheduler = scheduler
        self._metrics = metrics

    def run(self, weights: Weights, queue: SamplerQueue, jobs: list[Job]) -> None:
        """Carry out a batch, which later requests of the same queue may join."""
        sampler = self._residency.sampler(*weights())
        running: dict[Future[types.SampleResponse], Job] = {}
        while jobs or running:
            calls = []
            for job in jobs:
                try:
                    calls.append((job, _submit(sampler, job)))
                except Exception as error:
                    job.pending.settle(self._metrics.failed(job.pending, error))
            # Whoever asks for a call's future starts the batch, so every call is made before that.
            running |= {call.future(): job for job, call in calls}
            done, decoding = wait(running, timeout=JOIN_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                self._settle(running.pop(future), future)
            for future in decoding:
                cancelled_meanwhile = running[future].pending.future.done()
                if cancelled_meanwhile:
                    future.cancel()
            jobs = self._scheduler.take_joining(queue, queue.batch - sum(job.weight for job in running.values()))

    def _settle(self, job: Job, future: Future[types.SampleResponse]) -> None:
        if future.cancelled():
            return
        try:
            response = future.result()
            self._metrics.sampled(response, job.work.prompt.length)
            answer: Result | Failure = Result(wire.sample_body(response), PROTOBUF)
        except Exception as error:
            answer = self._metrics.failed(job.pending, error)
        job.pending.settle(answer)


def _submit(sampler: LocalSamplingClient, job: Job) -> LocalFuture[types.SampleResponse]:
    request: types.SampleRequest = job.work
    if job.on_token is not None:
        return sampler.sample_listening(request.prompt, request.sampling_params, job.on_token)
    return sampler.sample(**_arguments(request))


def _arguments(request: types.SampleRequest) -> dict[str, Any]:
    """The arguments of `SamplingClient.sample` that a request asks for."""
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "num_samples": request.num_samples,
        "sampling_params": request.sampling_params,
    }
    optional: dict[str, Any] = {
        "include_prompt_logprobs": request.prompt_logprobs,
        "topk_prompt_logprobs": request.topk_prompt_logprobs,
        "topk_sample_logprobs": request.topk_sample_logprobs,
        "prompt_alt_tokens_k": request.prompt_alt_tokens_k,
        "prompt_logprobs_last_n": request.prompt_logprobs_last_n,
    }
    if (targets := request.target_prompt_logprobs) is not None:
        optional["target_prompt_logprobs"] = types.TensorData(**targets.model_dump())
    return arguments | {name: value for name, value in optional.items() if value}
