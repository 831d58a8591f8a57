"""The application: who may come in, which routes there are, and what an error looks like."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from backends.server import wire
from backends.server.api import openai, rest, sampling, status, training
from backends.server.api.request import state_of
from backends.server.errors import ApiError
from backends.server.scheduler import Busy
from backends.server.state import ServerState

TIDY_SECONDS = 5.0

log = logging.getLogger("text2sql.server")


def create_app(state: ServerState, ready: Callable[[], None] = lambda: None) -> FastAPI:
    """The application around a server, which it starts and closes; `ready` is called once it has started."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        tidying = asyncio.create_task(_tidy(state))
        ready()
        yield
        tidying.cancel()
        await asyncio.to_thread(state.close)

    app = FastAPI(title="text2sql serve", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.server = state
    for routes in (status, training, sampling, rest, openai):
        app.include_router(routes.router)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _broken)
    app.middleware("http")(_admit)
    return app


async def _tidy(state: ServerState) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            state.tidy()
        except Exception:
            log.exception("tidying up failed")


async def _admit(request: Request, call_next: Any) -> Response:
    """Answer SDKs of another wire format with a sentence, and count every request by its route."""
    sentence = wire.refusal(request.headers)
    response = JSONResponse({"detail": sentence}, 400) if sentence else await call_next(request)
    route = getattr(request.scope.get("route"), "path", "other")
    state_of(request).metrics.requests.labels(route, response.status_code).inc()
    return response


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {"WWW-Authenticate": "Basic"} if error.status == 401 and request.url.path == "/" else None
    return _error(request, error.status, error.detail, headers)


async def _busy(request: Request, error: Exception) -> Response:
    return _error(request, 429, f"The server is busy: {error} Try again soon.", {"retry-after": "1"})


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _error(request, 422, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()))


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(request, 500, f"The server has a fault: {type(error).__name__}.")


def _error(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """An error as the client of the route expects it, Tinker's or OpenAI's."""
    if request.url.path.startswith(openai.router.prefix):
        kind = "invalid_request_error" if status < 500 else "server_error"
        return JSONResponse({"error": {"message": sentence, "type": kind}}, status, headers)
    return JSONResponse({"detail": sentence}, status, headers)
