"""Housekeeping: what there is, whose it is, how long it stays.

Routes that read no body are plain functions: FastAPI calls them on other threads than the event loop's, which must not
wait for the database.
"""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, JsonValue
from tinker import types
from tinker.types.copy_weights_request import CopyWeightsRequest
from tinker.types.copy_weights_response import CopyWeightsResponse
from tinker.types.list_sessions_response import ListSessionsResponse
from tinker.types.weights_info_response import WeightsInfoResponse

from backends.checkpoint_paths import SCHEME, CheckpointPath, check_ttl
from backends.server.api.request import owner_of, parse, state_of
from backends.server.checkpoint_registry import NEWEST_FIRST, ListedCheckpoint, describe, moment
from backends.server.errors import ApiError, check_number
from backends.server.state import ServerState
from backends.server.tables import Checkpoint, Sampler, Session, TrainingRun

LONGEST_PAGE = 1000

T = TypeVar("T")

router = APIRouter(prefix="/api/v1")


class WeightsInfoRequest(BaseModel):
    """Which checkpoint is asked about."""

    tinker_path: str


class ListedCheckpoints(types.CheckpointsListResponse):
    """The protocol's list, with what this server adds to each."""

    # Narrower than the protocol's, and only ever written.
    checkpoints: list[ListedCheckpoint]  # type: ignore[assignment]


class DescribedRun(BaseModel):
    """The protocol's `TrainingRun`, whose metadata need not be strings when it is sent."""

    training_run_id: str
    base_model: str
    model_owner: str
    is_lora: bool
    lora_rank: int | None
    last_request_time: datetime
    last_checkpoint: types.Checkpoint | None
    last_sampler_checkpoint: types.Checkpoint | None
    user_metadata: dict[str, JsonValue] | None


class DescribedRuns(BaseModel):
    """A page of training runs."""

    training_runs: list[DescribedRun]
    cursor: types.Cursor


class DescribedSession(BaseModel):
    """The protocol's `GetSessionResponse`, whose metadata need not be strings either."""

    training_run_ids: list[str]
    sampler_ids: list[str]
    user_metadata: dict[str, JsonValue] | None
    display_name: str | None


class TtlRequest(BaseModel):
    """How long a checkpoint has left; None is for ever, which a misspelt field must not be taken for."""

    model_config = ConfigDict(extra="forbid")

    ttl_seconds: int | None


@router.get("/healthz")
async def healthz(request: Request) -> types.HealthResponse:
    """Whether the server is up and takes this key."""
    owner_of(request)
    return types.HealthResponse(status="ok")


@router.get("/get_server_capabilities")
async def get_server_capabilities(request: Request) -> types.GetServerCapabilitiesResponse:
    """The base models."""
    state = state_of(request)
    owner_of(request)
    return types.GetServerCapabilitiesResponse(
        supported_models=[
            types.SupportedModel(
                model_name=name,
                max_context_length=state.residency.loaded(name).max_length,
                trainable=True,
                sampleable=True,
            )
            for name in state.settings.base_models
        ]
    )


@router.get("/training_runs")
async def training_runs(request: Request, limit: int = 20, offset: int = 0) -> DescribedRuns:
    """The user's training runs, the newest first."""
    state, owner = state_of(request), owner_of(request)
    await state.recorded(state.flush_last_seen)
    return await asyncio.to_thread(_describe_runs, state, owner, limit, offset)


def _describe_runs(state: ServerState, owner: str, limit: int, offset: int) -> DescribedRuns:
    runs = state.database.select(TrainingRun, f"owner = ? {NEWEST_FIRST}", owner)
    page, cursor = _page(runs, limit, offset)
    return DescribedRuns(training_runs=[_describe_run(state, run) for run in page], cursor=cursor)


@router.get("/training_runs/{run}")
async def training_run(request: Request, run: str) -> DescribedRun:
    """One training run."""
    state, owner = state_of(request), owner_of(request)
    await state.recorded(state.flush_last_seen)
    return _describe_run(state, state.run(owner, run))


def _describe_run(state: ServerState, run: TrainingRun) -> DescribedRun:
    training, sampler = state.checkpoints.latest(run.id, "training"), state.checkpoints.latest(run.id, "sampler")
    return DescribedRun(
        training_run_id=run.id,
        base_model=run.base_model or "unknown",
        model_owner=run.owner,
        is_lora=True,
        lora_rank=run.rank,
        last_request_time=moment(run.used),
        last_checkpoint=training and describe(training),
        last_sampler_checkpoint=sampler and describe(sampler),
        user_metadata=run.metadata,
    )


@router.get("/training_runs/{run}/checkpoints")
def run_checkpoints(request: Request, run: str) -> ListedCheckpoints:
    """The checkpoints of a training run."""
    state, owner = state_of(request), owner_of(request)
    state.run(owner, run)
    found = state.checkpoints.of_run(run)
    return ListedCheckpoints(checkpoints=[state.checkpoints.describe(checkpoint) for checkpoint in found])


@router.get("/checkpoints")
def checkpoints(request: Request, limit: int = 100, offset: int = 0) -> ListedCheckpoints:
    """The user's checkpoints, the newest first."""
    registry = state_of(request).checkpoints
    page, cursor = _page(registry.of_owner(owner_of(request)), limit, offset)
    return ListedCheckpoints(checkpoints=[registry.describe(checkpoint) for checkpoint in page], cursor=cursor)


def _page(found: list[T], limit: int, offset: int) -> tuple[list[T], types.Cursor]:
    limit, offset = max(0, min(limit, LONGEST_PAGE)), max(0, offset)
    return found[offset : offset + limit], types.Cursor(offset=offset, limit=limit, total_count=len(found))


CHECKPOINT = "/training_runs/{run}/checkpoints/{segment}/{name}"


def own_checkpoint(request: Request, run: str, segment: str, name: str) -> Checkpoint:
    """A checkpoint of the user whose key came with the request (ApiError with 404 if there is none)."""
    path = f"{SCHEME}{run}/{segment}/{name}"
    checkpoint = state_of(request).checkpoints.own(path, owner_of(request))
    if checkpoint is None:
        raise ApiError(404, f"There is no checkpoint {path}.")
    return checkpoint


async def _change(request: Request, checkpoint: Checkpoint, **columns: Any) -> None:
    state = state_of(request)
    await state.recorded(functools.partial(state.checkpoints.change, checkpoint.path, **columns))


@router.delete(CHECKPOINT)
async def delete_checkpoint(request: Request, run: str, segment: str, name: str) -> Response:
    """Delete a checkpoint."""
    state, checkpoint = state_of(request), own_checkpoint(request, run, segment, name)
    await state.recorded(state.checkpoints.delete, checkpoint.path)
    return Response(status_code=204)


@router.post(f"{CHECKPOINT}/publish")
async def publish(request: Request, run: str, segment: str, name: str) -> Response:
    """Let every user of this server read a checkpoint; a second time changes nothing."""
    await _change(request, own_checkpoint(request, run, segment, name), public=1)
    return Response(status_code=204)


@router.delete(f"{CHECKPOINT}/publish")
async def unpublish(request: Request, run: str, segment: str, name: str) -> Response:
    """Take back what `publish` did; a second time changes nothing."""
    await _change(request, own_checkpoint(request, run, segment, name), public=0)
    return Response(status_code=204)


@router.put(f"{CHECKPOINT}/ttl")
async def set_ttl(request: Request, run: str, segment: str, name: str) -> Response:
    """Set when a checkpoint expires, counted from now."""
    wanted = await parse(request, TtlRequest)
    checkpoint = own_checkpoint(request, run, segment, name)
    try:
        check_ttl(wanted.ttl_seconds)
    except ValueError as error:
        raise ApiError(422, str(error)) from error
    expires = None if wanted.ttl_seconds is None else time.time() + wanted.ttl_seconds
    await _change(request, checkpoint, expires=expires)
    return Response(status_code=204)


@router.post("/weights_info")
async def weights_info(request: Request) -> WeightsInfoResponse:
    """What a checkpoint is of."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, WeightsInfoRequest)
    try:
        run = state.source_of(wanted.tinker_path, owner)
    except ValueError as error:
        raise ApiError(404, str(error)) from error
    return WeightsInfoResponse(
        base_model=run.base_model or "unknown",
        is_lora=True,
        lora_rank=run.rank,
        train_unembed=bool(run.train_unembed),
        train_mlp=bool(run.train_mlp),
        train_attn=bool(run.train_attn),
    )


@router.post("/copy_weights")
async def copy_weights(request: Request) -> CopyWeightsResponse:
    """A copy of a checkpoint in a new training run, which has nothing else."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, CopyWeightsRequest)
    try:
        check_ttl(wanted.ttl_seconds)
        token = wanted.weights_access_token or request.headers.get("x-tinker-weights-access-token")
        source = state.source_of(wanted.source_path, owner, token)
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    again = request.headers.get("x-idempotency-key", uuid.uuid4().hex)
    session = wanted.session_id or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{owner} {again}"))
    check_number("model_seq_id", wanted.model_seq_id or 0)
    run = f"{session}:train:{wanted.model_seq_id or 0}"
    where = replace(CheckpointPath.parse(wanted.source_path), run=run)
    # One after another: a copy that is asked for again while it is being made is there when its turn comes.
    async with state.copying:
        if state.checkpoints.own(str(where), owner) is None:
            if wanted.session_id is not None:
                state.session(owner, session)
            now = time.time()
            copied = {"id": run, "session": session, "owner": owner, "created": now, "used": now}
            await state.recorded(state.database.insert, source.model_copy(update=copied))
            copy = functools.partial(state.residency.store.copy, wanted.source_path, run)
            save = functools.partial(state.checkpoints.save, ttl_seconds=wanted.ttl_seconds)
            await asyncio.to_thread(save, where, owner, copy)
    return CopyWeightsResponse(tinker_path=str(where))


@router.get("/sessions")
def sessions(request: Request, limit: int = 20, offset: int = 0) -> ListSessionsResponse:
    """The user's sessions, the newest first."""
    found = state_of(request).database.select(Session, f"owner = ? {NEWEST_FIRST}", owner_of(request))
    page, _ = _page(found, limit, offset)
    return ListSessionsResponse(sessions=[session.id for session in page])


@router.get("/sessions/{session}")
def get_session(request: Request, session: str) -> DescribedSession:
    """The training runs and samplers of a session."""
    state, owner = state_of(request), owner_of(request)
    found = state.database.find(Session, "id = ? AND owner = ?", session, owner)
    if found is None:
        raise ApiError(404, f"There is no session {session}.")
    runs = state.database.select(TrainingRun, "session = ? ORDER BY rowid", session)
    samplers = state.database.select(Sampler, "session = ? ORDER BY rowid", session)
    return DescribedSession(
        training_run_ids=[run.id for run in runs],
        sampler_ids=[sampler.id for sampler in samplers],
        user_metadata=found.metadata,
        display_name=found.display_name,
    )
