"""Carrying out a sampler's requests: decoded together, joined by later ones, each failing or succeeding by itself."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

from tinker import types

from backends.local.futures import LocalFuture
from backends.local.sampling import LocalSamplingClient
from backends.server import wire
from backends.server.futures import PROTOBUF, Failure, Result
from backends.server.scheduler import Job, SamplerLane

if TYPE_CHECKING:
    from backends.server.state import Server

JOIN_SECONDS = 0.01  # how often a running batch looks for requests that may join it, and for cancelled ones


def answer_samples(server: Server, base_model: str, path: str | None, lane: SamplerLane, jobs: list[Job]) -> None:
    """Carry out a batch, which later requests may join (on the scheduler's thread)."""
    sampler = server.device.sampler(base_model, path)
    running: dict[Future[types.SampleResponse], Job] = {}
    while jobs or running:
        calls = []
        for job in jobs:
            try:
                calls.append((job, _submit(sampler, job)))
            except Exception as error:
                job.promise.settle(server.failed(job.promise, error))
        running |= {call.future(): job for job, call in calls}
        done, decoding = wait(running, timeout=JOIN_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            _settle(server, running.pop(future), future)
        for future in decoding:
            if running[future].promise.future.done():  # cancelled meanwhile
                future.cancel()
        jobs = server.scheduler.more(lane, lane.batch - sum(job.weight for job in running.values()))


def _submit(sampler: LocalSamplingClient, job: Job) -> LocalFuture[types.SampleResponse]:
    request: types.SampleRequest = job.work
    if job.on_token is not None:
        return sampler.sample_listening(request.prompt, request.sampling_params, job.on_token)
    return sampler.sample(**_arguments(request))


def _settle(server: Server, job: Job, future: Future[types.SampleResponse]) -> None:
    if future.cancelled():
        return
    try:
        response = future.result()
        server.metrics.sampled(response, job.work.prompt.length)
        answer: Result | Failure = Result(wire.sample_body(response), PROTOBUF)
    except Exception as error:
        answer = server.failed(job.promise, error)
    job.promise.settle(answer)


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
