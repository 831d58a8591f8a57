"""The routes of `JsonService`."""

from __future__ import annotations

import asyncio
import json
import threading

from fastapi import APIRouter, Request, Response

from backends.server.api.errors import LEFT
from backends.server.api.json_body import require_json
from backends.server.api.request import owner_of, read_body, state_of
from backends.server.errors import ApiError
from backends.server.scheduler import Busy
from backends.server.services import JsonService

# How often it is looked whether the client still waits.
_LOOK_SECONDS = 0.5


def routes_of(service: JsonService) -> APIRouter:
    """The route of a service. Requests are carried out one after another: each has all of the service's workers."""
    router = APIRouter()
    turn = asyncio.Lock()
    waiting = 0

    @router.post(service.path)
    async def answer(request: Request) -> Response:
        nonlocal waiting
        owner_of(request)
        body = await read_body(request, state_of(request).limits.sample_request_bytes)
        require_json(request.headers)
        if waiting > service.waiting:
            raise Busy(f"{waiting} requests to {service.path} are waiting already.")
        waiting += 1
        try:
            async with turn:
                return await _carried_out(service, request, body)
        finally:
            waiting -= 1

    return router


async def _carried_out(service: JsonService, request: Request, body: bytes) -> Response:
    stopped = threading.Event()
    work = asyncio.create_task(asyncio.to_thread(_content, service, body, stopped))
    try:
        while not (await asyncio.wait({work}, timeout=_LOOK_SECONDS))[0]:
            if state_of(request).closing.is_set():
                raise ApiError(503, "The server is going down; send the request again when it is back.")
            if await request.is_disconnected():
                return Response(status_code=LEFT)
        return Response(work.result(), media_type="application/json")
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    finally:
        # The thread sees it; nothing here waits for that.
        stopped.set()


def _content(service: JsonService, body: bytes, stopped: threading.Event) -> bytes:
    return json.dumps(service.answer(body, stopped)).encode()
