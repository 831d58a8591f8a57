"""Samplers, and the answers of all requests."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from tinker import types
from tinker.types.future_retrieve_request import FutureRetrieveRequest
from tinker.types.futures_retrieve_request import FuturesRetrieveRequest

from backends.server.api.request import owner_of, parse, read_body, server_of
from backends.server.errors import Refused
from backends.server.futures import Failure, Promise, Result, is_sample
from backends.server.state import Server

CLONE = 1_000_000_000  # an unpickled sampling client numbers its requests from a multiple of this

router = APIRouter(prefix="/api/v1")


class CancelRequest(BaseModel):
    """Which request is not wanted any more."""

    request_id: str


@router.post("/create_sampling_session")
async def create_sampling_session(request: Request) -> Any:
    """A sampler of saved weights, or of a base model."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, types.CreateSamplingSessionRequest)
    server.session(owner, wanted.session_id)
    try:
        if wanted.model_path is not None:
            base_model = server.served(server.source_of(wanted.model_path, owner)["base_model"])
            if wanted.base_model not in (None, base_model):
                raise ValueError(f'{wanted.model_path} was trained on "{base_model}", not on "{wanted.base_model}".')
        elif wanted.base_model is not None:
            base_model = server.served(wanted.base_model)
        else:
            raise ValueError("create_sampling_session needs a model_path or a base_model.")
    except ValueError as error:
        raise Refused(400, str(error)) from error
    sampler = server.add_sampler(
        owner, wanted.session_id, wanted.sampling_session_seq_id, base_model=base_model, path=wanted.model_path
    )
    return {"type": "create_sampling_session", "sampling_session_id": sampler}


@router.get("/samplers/{sampler}")
async def get_sampler(request: Request, sampler: str) -> Any:
    """What a sampler samples from."""
    row = server_of(request).sampler(owner_of(request), sampler)
    path = None if row["snapshot"] else row["path"]
    return {"sampler_id": row["id"], "base_model": row["base_model"], "model_path": path}


@router.post("/join_sampling_session")
async def join_sampling_session(request: Request) -> Any:
    """A number for one more client of a sampler, so that their requests' numbers differ."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, types.JoinSamplingSessionRequest)
    server.sampler(owner, wanted.sampling_session_id)
    server.records.execute("UPDATE samplers SET clones = clones + 1 WHERE id = ?", wanted.sampling_session_id)
    clones = server.sampler(owner, wanted.sampling_session_id)["clones"]
    return {"type": "join_sampling_session", "client_counter": clones}


@router.post("/asample")
async def asample(request: Request) -> Any:
    """Sample from a sampler."""
    server, owner = server_of(request), owner_of(request)
    body = await read_body(request)
    wanted = await parse(request, types.SampleRequest, body)
    name, seq_id = wanted.sampling_session_id, wanted.seq_id
    if name is None or seq_id is None or seq_id < 0:
        raise Refused(400, "asample needs sampling_session_id and seq_id.")
    row = server.sampler(owner, name)
    server.session(owner, row["session"])
    promise, new = server.promises.make(name, seq_id, owner)
    if new:
        lane = server.sampler_lane(owner, name, lambda: server.weights_of(owner, name))
        server.add_sample(lane, promise, wanted, len(body))
    ids = [f"{name}:{seq_id}:{index}" for index in range(wanted.num_samples)]
    return {"request_id": promise.request_id, "sample_sequence_ids": ids}


@router.post("/cancel_future")
async def cancel_future(request: Request) -> Response:
    """Give up a request."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, CancelRequest)
    promise = server.promises.find(wanted.request_id, owner)
    if promise is not None:
        server.cancel(promise)
    return Response(status_code=204)


@router.post("/retrieve_future")
async def retrieve_future(request: Request) -> Response:
    """The answer of a request; held open for a while if it is not there yet."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, FutureRetrieveRequest)
    promise = server.promises.find(wanted.request_id, owner)
    if promise is None:
        missing = server.promises.missing(wanted.request_id)
        if is_sample(wanted.request_id):  # the SDK then sends the request again
            raise Refused(410, missing.message)
        return _answer(missing)
    if not await _settled(server, promise, server.limits.poll_seconds):
        waiting = {"type": "try_again", "request_id": promise.request_id, "queue_state": "active"}
        return JSONResponse(waiting, status_code=408)
    answer = promise.future.result()
    promise.fetched_at = time.monotonic()
    size = len(answer.body) if isinstance(answer, Result) else 0
    if wanted.allow_metadata_only and size > server.limits.inline_result_bytes:
        return JSONResponse({"status": "complete_metadata", "response_payload_size": size})
    return _answer(answer)


def _answer(answer: Result | Failure) -> Response:
    if isinstance(answer, Failure):
        return JSONResponse({"error": answer.message, "category": answer.category})
    return Response(answer.body, media_type=answer.media_type)


async def _settled(server: Server, promise: Promise, seconds: float) -> bool:
    """Wait until a promise is settled, for so long, or until the server closes."""
    if promise.future.done():
        return True
    closing = asyncio.ensure_future(server.closing.wait())
    answer: asyncio.Future[Any] = asyncio.wrap_future(promise.future)
    await asyncio.wait((answer, closing), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    closing.cancel()
    return promise.future.done()


@router.post("/retrieve_futures")
async def retrieve_futures(request: Request) -> Any:
    """Which requests of a sampler are finished, since the last time this was asked."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, FuturesRetrieveRequest)
    server.sampler(owner, wanted.target.sampling_session_id)
    longest = server.limits.poll_seconds
    seconds = longest if wanted.timeout is None else min(longest, wanted.timeout)  # in this order: it may be NaN
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        done = _finished(server, owner, wanted)
        if done or asyncio.get_running_loop().time() >= deadline or server.closing.is_set():
            cursor = max((number for number, _ in done), default=wanted.prev_cursor)
            return {"completions": [completion for _, completion in done], "cursor": cursor}
        await asyncio.sleep(0.02)


def _finished(server: Server, owner: str, wanted: FuturesRetrieveRequest) -> list[tuple[int, dict[str, Any]]]:
    """Number of settling and description of what was settled after the cursor."""
    done = []
    for promise in server.promises.of(wanted.target.sampling_session_id, owner):
        seq_id = int(promise.request_id.rpartition("/")[2])
        if promise.number is None or promise.number <= wanted.prev_cursor:
            continue
        if seq_id // CLONE != wanted.target.cloned_sampler_id:
            continue
        answer = promise.future.result()
        completion: dict[str, Any] = {"request_id": promise.request_id, "state": "failed"}
        if isinstance(answer, Result):
            completion |= {"state": "finished", "response_payload_uncompressed_size": len(answer.body)}
        done.append((promise.number, completion))
    return sorted(done, key=lambda pair: pair[0])


@router.post("/telemetry")
async def telemetry(request: Request) -> Any:
    """Take the SDK's events and forget them: they may hold anything, an API key included."""
    owner_of(request)
    await read_body(request)
    return {"status": "accepted"}


@router.post("/client/config")
async def client_config(request: Request) -> Any:
    """The flags that the SDK asks for at its start."""
    owner_of(request)
    await read_body(request)  # the SDK's version, which the headers have told already
    return {"sample_join_sampling_session": True, "use_pyqwest_transport": True}


@router.post("/client/dynamic_config")
async def client_dynamic_config(request: Request) -> Any:
    """The flags that the SDK asks for now and then."""
    owner_of(request)
    await read_body(request)
    return {"sample_cancel_enabled": True}
