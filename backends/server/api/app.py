"""The application: its routes, who may come in, and what is done every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI

from backends.server.api import downloads, openai, rest, sampling, search, status, training
from backends.server.api.admission import Admission
from backends.server.api.errors import add_error_handlers
from backends.server.api.loop_watch import LoopWatch
from backends.server.api.openai.text import Tokenizer
from backends.server.api.services import routes_of
from backends.server.database import DiskFull
from backends.server.log import log
from backends.server.services import JsonService
from backends.server.state import ServerState

TIDY_SECONDS = 5.0


def create_app(state: ServerState, services: Sequence[JsonService] = ()) -> FastAPI:
    """The application around a server, which it starts and closes; `services` are further routes."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        # Copied now, since that takes long for a large vocabulary.
        app.state.tokenizers = {
            name: Tokenizer(state.residency.loaded(name).tokenizer) for name in state.settings.base_models
        }
        background = [
            asyncio.create_task(_tidy(state)),
            asyncio.create_task(LoopWatch(state.metrics.saw_event_loop_lag).run()),
        ]
        yield
        for task in background:
            task.cancel()
        await asyncio.to_thread(state.close)

    app = FastAPI(title="text2sql serve", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.server = state
    for routes in (status, training, sampling, rest, search, downloads, openai):
        app.include_router(routes.router)
    for service in services:
        app.include_router(routes_of(service))
    add_error_handlers(app)
    app.add_middleware(Admission, state=state)
    return app


async def _tidy(state: ServerState) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await state.recorded(state.tidy)
        except DiskFull as error:
            log.error("the disk of %s is full", error.directory)
        except Exception:
            log.exception("tidying up failed")
