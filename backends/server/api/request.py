"""What every route needs of a request: the server, the user, the body within its limit."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from backends.server.errors import ApiError
from backends.server.state import ServerState
from backends.server.wire import PEEK_BYTES

Body = TypeVar("Body", bound=BaseModel)


def state_of(request: Request) -> ServerState:
    """The server that the application belongs to."""
    return request.app.state.server


def owner_of(request: Request) -> str:
    """The user whose key came with the request (ApiError with 401 if there was no good one)."""
    owner = state_of(request).keys.owner(request.headers)
    if owner is None:
        raise ApiError(401, "The API key is missing or wrong: set TINKER_API_KEY to one that this server was given.")
    return owner


async def read_body(request: Request) -> bytes:
    """The body; `request.state.head` has its first bytes even when it is refused with 413 for its size."""
    limit = state_of(request).limits.request_bytes
    size, parts, head = 0, [], b""
    async for part in request.stream():
        size += len(part)
        if len(head) < PEEK_BYTES:
            head += part[: PEEK_BYTES - len(head)]
        if size <= limit:
            parts.append(part)
        else:
            # Read on and throw away: the client hears the answer only when it has sent all.
            parts.clear()
    request.state.head = head
    if size > limit:
        raise ApiError(413, f"The request has {size} bytes; this server takes {limit}. Send smaller batches.")
    return b"".join(parts)


async def parse(request: Request, kind: type[Body], body: bytes | None = None) -> Body:
    """The body as one of the SDK's types (ApiError with 422 names the field that is wrong)."""
    try:
        return kind.model_validate_json(await read_body(request) if body is None else body)
    except ValidationError as error:
        raise ApiError(422, explain(error)) from error


def explain(error: ValidationError) -> str:
    """What is wrong with a body, one field after another."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
