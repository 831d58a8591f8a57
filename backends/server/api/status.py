"""For people and monitors: the status page, Prometheus's metrics, and whether the server is up."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from backends.server.api.openai.target import model_names
from backends.server.api.request import owner_of, state_of
from backends.server.auth import ANYONE
from backends.server.errors import ApiError
from backends.server.status_page import model_page, status_page

router = APIRouter()


@router.get("/healthz")
async def healthz(request: Request) -> dict[str, str]:
    """For a load balancer, without a key: whether requests can be carried out, else 503 with the reason.

    While the base models are being loaded nothing is answered at all: connections are not taken yet.
    """
    if problem := state_of(request).scheduler.problem():
        raise ApiError(503, problem)
    return {"status": "ok"}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus's format; with the key as bearer token, if there are keys."""
    _viewer(request)
    return PlainTextResponse(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/")
def page(request: Request) -> Response:
    """The status page; a browser is asked for a key as the password, if there are keys."""
    state = state_of(request)
    return HTMLResponse(status_page(state, _viewer(request), model_names(state)))


@router.get("/models/{model_id}")
async def model(request: Request, model_id: str) -> Response:
    """What a model in training has learnt so far; its owner's alone."""
    return HTMLResponse(model_page(state_of(request), _viewer(request), model_id))


def _viewer(request: Request) -> str:
    """Who looks. Unlike the routes of the protocol, these need no key at all where there are no keys."""
    return owner_of(request) if state_of(request).settings.keys else ANYONE
