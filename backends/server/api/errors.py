"""Errors as the client of a route expects them: Tinker's form, or OpenAI's under ``/v1``."""

from __future__ import annotations

import re

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from backends.server.database import DiskFull
from backends.server.errors import ApiError
from backends.server.log import log
from backends.server.scheduler import Busy

OPENAI_PREFIX = "/v1"
# Pages for people, next to the status page.
PAGES = "/models/"
# The status of a request whose client has left; nobody reads it.
LEFT = 499


def error_response(path: str, error: ApiError, headers: dict[str, str] | None = None) -> Response:
    """The HTTP answer to a request of `path` that is refused or has failed."""
    if error.status == 401 and (path == "/" or path.startswith(PAGES)):
        # A browser then asks for the key.
        headers = {"WWW-Authenticate": "Basic"}
    if path == OPENAI_PREFIX or path.startswith(f"{OPENAI_PREFIX}/"):
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        content = {"error": {"message": error.detail, "type": kind, "param": None, "code": None}}
        return JSONResponse(content, error.status, headers)
    return JSONResponse({"detail": error.detail}, error.status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer exceptions in these forms."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(DiskFull, _disk_full)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _broken)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(request.url.path, error)


async def _busy(request: Request, error: Exception) -> Response:
    refused = ApiError(429, f"The server is busy: {error} Try again soon.")
    return error_response(request.url.path, refused, {"retry-after": "1"})


async def _disk_full(request: Request, error: Exception) -> Response:
    # Not a status above 500: the SDK would repeat the request, and the disk would be as full.
    assert isinstance(error, DiskFull)
    log.error("the disk of %s is full", error.directory)
    return error_response(request.url.path, ApiError(400, str(error)))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    sentence = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
    return error_response(request.url.path, ApiError(422, sentence))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code not in (404, 405):
        return error_response(request.url.path, ApiError(error.status_code, error.detail))
    # No route has raised it: there is none.
    sent = f"{request.method} {request.url.path}"
    called = request.headers.get("x-sdk-method", "")
    asked = f"{called} ({sent})" if re.fullmatch(r"[\w.]{1,100}", called) else sent
    sentence = f"This server does not offer {asked}: it trains, samples, and keeps checkpoints."
    return error_response(request.url.path, ApiError(404, sentence))


async def _left(request: Request, error: Exception) -> Response:
    # In the middle of its body: no fault of the server's, and nobody hears the answer.
    return Response(status_code=LEFT)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return error_response(request.url.path, ApiError(500, f"The server has a fault: {type(error).__name__}."))
