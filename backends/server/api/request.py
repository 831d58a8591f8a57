"""What every route needs of a request: the server, the user, the body within its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel

from backends.server.api.json_body import read_model, require_json
from backends.server.errors import ApiError
from backends.server.state import ServerState
from backends.server.wire import PEEK_BYTES

Body = TypeVar("Body", bound=BaseModel)
T = TypeVar("T")

PARSED_AT_ONCE_BYTES = 1 << 16
JOINED_AT_ONCE_BYTES = 1 << 24


def state_of(request: Request) -> ServerState:
    """The server that the application belongs to."""
    return request.app.state.server


def owner_of(request: Request) -> str:
    """The user whose key came with the request (ApiError with 401 if there was no good one)."""
    return state_of(request).keys.require(request.headers)


async def read_body(request: Request, limit: int | None = None) -> bytes:
    """The body; `request.state.head` has its first bytes even when it is refused with 413 for its size.

    Args:
        request: The request.
        limit: Most bytes; `limits.small_request_bytes` unless the route takes more.

    Raises:
        ApiError: It is too large (413).
        Busy: Too much is arriving at once.
    """
    limits = state_of(request).limits
    most = min(limits.request_bytes, limits.small_request_bytes if limit is None else limit)
    size = 0
    parts: list[bytes] = []
    head = b""
    async for part in request.stream():
        size += len(part)
        if len(head) < PEEK_BYTES:
            head += part[: PEEK_BYTES - len(head)]
        if size > most:
            # Read on and throw away: the client hears the answer only when it has sent all.
            parts.clear()
            continue
        hold(request, len(part))
        parts.append(part)
    request.state.head = head
    if size > most:
        raise ApiError(413, f"The request has {size} bytes; this server takes {most} here. Send smaller batches.")
    # Of a large body that takes long, and Python lets other threads run meanwhile.
    return b"".join(parts) if size <= JOINED_AT_ONCE_BYTES else await asyncio.to_thread(b"".join, parts)


def hold(request: Request, size: int) -> None:
    """Count bytes of a request that are in memory, until it is answered (Busy if they do not fit)."""
    state_of(request).arriving.hold(owner_of(request), size)
    request.state.held_bytes = getattr(request.state, "held_bytes", 0) + size


def release(request: Request) -> None:
    """Count the bytes of a request no longer: it is answered, or has failed."""
    if held := getattr(request.state, "held_bytes", 0):
        state_of(request).arriving.release(owner_of(request), held)
        request.state.held_bytes = 0


async def parse(request: Request, kind: type[Body], body: bytes | None = None) -> Body:
    """The body as one of the SDK's types.

    Raises:
        ApiError: 415 if it is not sent as JSON, 422 with what is wrong.
    """
    content = await read_body(request) if body is None else body
    require_json(request.headers)
    return await parsed(request, lambda content: read_model(kind, content), content)


async def parsed(request: Request, parser: Callable[[bytes], T], body: bytes, plain_size: int | None = None) -> T:
    """What a parser makes of a body; of a large one on another thread, one of a user at a time.

    Args:
        request: The request.
        parser: Called with the body.
        body: As it came.
        plain_size: Bytes without its ``Content-Encoding``, if it has one.
    """
    if max(len(body), plain_size or 0) <= PARSED_AT_ONCE_BYTES:
        return parser(body)
    async with state_of(request).parsing[owner_of(request)]:
        return await asyncio.to_thread(parser, body)
