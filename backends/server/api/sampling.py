"""Samplers, and the answers of all requests."""

from __future__ import annotations

import asyncio
import functools
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from tinker import types
from tinker.types.client_config_response import ClientConfigResponse
from tinker.types.client_dynamic_config_response import ClientDynamicConfigResponse
from tinker.types.future_completion import FutureCompletion, FutureFailed, FutureFinished
from tinker.types.future_retrieve_request import FutureRetrieveRequest
from tinker.types.futures_retrieve_request import FuturesRetrieveRequest
from tinker.types.futures_retrieve_response import FuturesRetrieveResponse
from tinker.types.shared.untyped_api_future import UntypedAPIFuture
from tinker.types.telemetry_response import TelemetryResponse

from backends.server.api.request import owner_of, parse, read_body, state_of
from backends.server.errors import ApiError, check_number
from backends.server.futures import Failure, PendingRequest, Result, is_sample
from backends.server.scheduler import GOING_DOWN
from backends.server.state import ServerState

# A sampling client that was unpickled numbers its requests from a multiple of this.
CLONE = 1_000_000_000

router = APIRouter(prefix="/api/v1")


class CancelRequest(BaseModel):
    """Which request is not wanted any more."""

    request_id: str


class KnownParams(types.SamplingParams):
    """The protocol's parameters; one that is not known here, or misspelt, must not be taken for its default."""

    model_config = ConfigDict(extra="forbid")


class SampleRequest(types.SampleRequest):
    """The protocol's request, with parameters that are all known."""

    sampling_params: KnownParams


@router.post("/create_sampling_session")
async def create_sampling_session(request: Request) -> types.CreateSamplingSessionResponse:
    """A sampler of saved weights, or of a base model."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, types.CreateSamplingSessionRequest)
    check_number("sampling_session_seq_id", wanted.sampling_session_seq_id)
    state.session(owner, wanted.session_id)
    try:
        if wanted.model_path is not None:
            base_model = state.served(state.source_of(wanted.model_path, owner).base_model)
            if wanted.base_model not in (None, base_model):
                raise ValueError(f'{wanted.model_path} was trained on "{base_model}", not on "{wanted.base_model}".')
        elif wanted.base_model is not None:
            base_model = state.served(wanted.base_model)
        else:
            raise ValueError("create_sampling_session needs a model_path or a base_model.")
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    add = functools.partial(state.samplers.add, base_model=base_model, path=wanted.model_path)
    sampler = await state.recorded(add, owner, wanted.session_id, wanted.sampling_session_seq_id)
    return types.CreateSamplingSessionResponse(sampling_session_id=sampler)


@router.get("/samplers/{sampler}")
async def get_sampler(request: Request, sampler: str) -> types.GetSamplerResponse:
    """What a sampler samples from."""
    found = state_of(request).samplers.find(owner_of(request), sampler)
    path = None if found.snapshot else found.path
    return types.GetSamplerResponse(sampler_id=found.id, base_model=found.base_model, model_path=path)


@router.post("/join_sampling_session")
async def join_sampling_session(request: Request) -> types.JoinSamplingSessionResponse:
    """A number for one more client of a sampler, so that their requests' numbers differ."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, types.JoinSamplingSessionRequest)
    clones = await state.recorded(state.samplers.join, owner, wanted.sampling_session_id)
    return types.JoinSamplingSessionResponse(client_counter=clones)


@router.post("/asample")
async def asample(request: Request) -> UntypedAPIFuture:
    """Sample from a sampler."""
    state, owner = state_of(request), owner_of(request)
    body = await read_body(request, state.limits.sample_request_bytes)
    wanted = await parse(request, SampleRequest, body)
    name, seq_id = wanted.sampling_session_id, wanted.seq_id
    if name is None or seq_id is None:
        raise ApiError(400, "asample needs sampling_session_id and seq_id.")
    check_number("seq_id", seq_id)
    sampler = state.samplers.find(owner, name)
    state.session(owner, sampler.session)
    state.check_sample(sampler.base_model, wanted)
    pending, new = state.futures.add(name, seq_id, owner)
    if new:
        queue = state.sampler_queue(owner, name, lambda: state.samplers.weights_of(owner, name))
        state.add_sample(queue, pending, wanted, len(body))
    ids = [f"{name}:{seq_id}:{index}" for index in range(wanted.num_samples)]
    return UntypedAPIFuture(request_id=pending.request_id, sample_sequence_ids=ids)


@router.post("/cancel_future")
async def cancel_future(request: Request) -> Response:
    """Give up a request."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, CancelRequest)
    pending = state.futures.find(wanted.request_id, owner)
    if pending is not None:
        state.cancel(pending)
    return Response(status_code=204)


@router.post("/retrieve_future")
async def retrieve_future(request: Request) -> Response:
    """The answer of a request; held open for a while if it is not there yet."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, FutureRetrieveRequest)
    pending = state.futures.find(wanted.request_id, owner)
    if pending is None:
        missing = state.futures.missing(wanted.request_id)
        if is_sample(wanted.request_id):
            # On 410 the SDK sends a sampling request again.
            raise ApiError(410, missing.message)
        return _answer(missing)
    answered = await _settled(state, pending, state.limits.poll_seconds)
    if answered and pending.future.result() is GOING_DOWN and is_sample(pending.request_id):
        # The SDK asks again after a 503, hears from the next process that the request is gone, and sends it again.
        raise ApiError(503, GOING_DOWN.message)
    if not answered:
        waiting = {"type": "try_again", "request_id": pending.request_id, "queue_state": "active"}
        return JSONResponse(waiting, status_code=408)
    answer = pending.future.result()
    pending.fetched_at = time.monotonic()
    size = len(answer.body) if isinstance(answer, Result) else 0
    if wanted.allow_metadata_only and size > state.limits.inline_result_bytes:
        return JSONResponse({"status": "complete_metadata", "response_payload_size": size})
    return _answer(answer)


def _answer(answer: Result | Failure) -> Response:
    if isinstance(answer, Failure):
        return JSONResponse({"error": answer.message, "category": answer.category})
    return Response(answer.body, media_type=answer.media_type)


async def _settled(state: ServerState, pending: PendingRequest, seconds: float) -> bool:
    """Wait until a request is answered, at most this long, or until the server closes."""
    if pending.future.done():
        return True
    closing = asyncio.ensure_future(state.closing.wait())
    answer: asyncio.Future[Result | Failure] = asyncio.wrap_future(pending.future)
    await asyncio.wait((answer, closing), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    closing.cancel()
    return pending.future.done()


@router.post("/retrieve_futures")
async def retrieve_futures(request: Request) -> FuturesRetrieveResponse:
    """Which requests of a sampler are finished, since the last time this was asked."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, FuturesRetrieveRequest)
    state.samplers.find(owner, wanted.target.sampling_session_id)
    longest = state.limits.poll_seconds
    # In this order: of a timeout that is NaN the limit remains.
    seconds = longest if wanted.timeout is None else min(longest, wanted.timeout)
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        done = _finished(state, owner, wanted)
        if done or asyncio.get_running_loop().time() >= deadline or state.closing.is_set():
            cursor = max((order for order, _ in done), default=wanted.prev_cursor)
            return FuturesRetrieveResponse(completions=[completion for _, completion in done], cursor=cursor)
        await asyncio.sleep(0.02)


def _finished(state: ServerState, owner: str, wanted: FuturesRetrieveRequest) -> list[tuple[int, FutureCompletion]]:
    """Requests that were answered after the cursor: in which place, and what the protocol says of each."""
    done: list[tuple[int, FutureCompletion]] = []
    for pending in state.futures.of_target(wanted.target.sampling_session_id, owner):
        seq_id = int(pending.request_id.rpartition("/")[2])
        if pending.settled_order is None or pending.settled_order <= wanted.prev_cursor:
            continue
        if seq_id // CLONE != wanted.target.cloned_sampler_id:
            continue
        answer = pending.future.result()
        completion: FutureCompletion = FutureFailed(request_id=pending.request_id)
        if isinstance(answer, Result):
            size = len(answer.body)
            completion = FutureFinished(request_id=pending.request_id, response_payload_uncompressed_size=size)
        done.append((pending.settled_order, completion))
    return sorted(done, key=lambda pair: pair[0])


@router.post("/telemetry")
async def telemetry(request: Request) -> TelemetryResponse:
    """Take the SDK's events and forget them: they may hold anything, an API key included."""
    owner_of(request)
    await read_body(request)
    return TelemetryResponse(status="accepted")


@router.post("/client/config", response_model_exclude_unset=True)
async def client_config(request: Request) -> ClientConfigResponse:
    """The flags that the SDK asks for at its start."""
    owner_of(request)
    # The body has the SDK's version, which is in the headers too.
    await read_body(request)
    return ClientConfigResponse(sample_join_sampling_session=True, use_pyqwest_transport=True)


@router.post("/client/dynamic_config", response_model_exclude_unset=True)
async def client_dynamic_config(request: Request) -> ClientDynamicConfigResponse:
    """The flags that the SDK asks for now and then."""
    owner_of(request)
    await read_body(request)
    return ClientDynamicConfigResponse(sample_cancel_enabled=True)
