"""Housekeeping: what there is, whose it is, how long it stays; and the download of exported weights."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from tinker.types.copy_weights_request import CopyWeightsRequest

from backends.checkpoint_paths import SCHEME, CheckpointPath, check_ttl
from backends.server.api.request import owner_of, parse, server_of
from backends.server.auth import sign, signature_holds
from backends.server.checkpoint_registry import describe, iso
from backends.server.database import Row
from backends.server.errors import Refused
from backends.server.state import Server

LINK_SECONDS = 3600
MOST_ROWS = 1000

router = APIRouter(prefix="/api/v1")


class WeightsInfoRequest(BaseModel):
    """Which checkpoint is asked about."""

    tinker_path: str


class TtlRequest(BaseModel):
    """How long a checkpoint has left; None is for ever."""

    ttl_seconds: int | None = None


@router.get("/healthz")
async def healthz(request: Request) -> Any:
    """Whether the server is up and takes this key."""
    owner_of(request)
    return {"status": "ok"}


@router.get("/get_server_capabilities")
async def get_server_capabilities(request: Request) -> Any:
    """The base models."""
    server = server_of(request)
    owner_of(request)
    return {
        "supported_models": [
            {
                "model_name": name,
                "max_context_length": server.device.loaded(name).max_length,
                "trainable": True,
                "sampleable": True,
            }
            for name in server.settings.base_models
        ]
    }


@router.get("/training_runs")
async def training_runs(request: Request, limit: int = 20, offset: int = 0) -> Any:
    """The user's training runs, the newest first."""
    server, owner = server_of(request), owner_of(request)
    server.write_down_signs_of_life()
    rows = server.records.rows("SELECT * FROM runs WHERE owner = ? ORDER BY created DESC, rowid DESC", owner)
    page, cursor = _page(rows, limit, offset)
    return {"training_runs": [_training_run(server, row) for row in page], "cursor": cursor}


@router.get("/training_runs/{run}")
async def training_run(request: Request, run: str) -> Any:
    """One training run."""
    server, owner = server_of(request), owner_of(request)
    server.write_down_signs_of_life()
    return _training_run(server, server.run(owner, run))


def _training_run(server: Server, row: Row) -> Row:
    latest = [server.checkpoints.latest(row["id"], kind) for kind in ("training", "sampler")]
    training, sampler = (checkpoint and describe(checkpoint) for checkpoint in latest)
    return {
        "training_run_id": row["id"],
        "base_model": row["base_model"] or "unknown",
        "model_owner": row["owner"],
        "is_lora": True,
        "lora_rank": row["rank"],
        "last_request_time": iso(row["used"]),
        "last_checkpoint": training,
        "last_sampler_checkpoint": sampler,
        "user_metadata": row["metadata"],
    }


@router.get("/training_runs/{run}/checkpoints")
async def run_checkpoints(request: Request, run: str) -> Any:
    """The checkpoints of a training run."""
    server, owner = server_of(request), owner_of(request)
    server.run(owner, run)
    return {"checkpoints": [describe(row) for row in server.checkpoints.of_run(run)]}


@router.get("/checkpoints")
async def checkpoints(request: Request, limit: int = 100, offset: int = 0) -> Any:
    """The user's checkpoints, the newest first."""
    rows, cursor = _page(server_of(request).checkpoints.of_owner(owner_of(request)), limit, offset)
    return {"checkpoints": [describe(row) for row in rows], "cursor": cursor}


def _page(rows: list[Row], limit: int, offset: int) -> tuple[list[Row], Row]:
    limit, offset = max(0, min(limit, MOST_ROWS)), max(0, offset)
    return rows[offset : offset + limit], {"offset": offset, "limit": limit, "total_count": len(rows)}


CHECKPOINT = "/training_runs/{run}/checkpoints/{segment}/{name}"


def _own_checkpoint(request: Request, run: str, segment: str, name: str) -> Row:
    path = f"{SCHEME}{run}/{segment}/{name}"
    row = server_of(request).checkpoints.own(path, owner_of(request))
    if row is None:
        raise Refused(404, f"There is no checkpoint {path}.")
    return row


@router.delete(CHECKPOINT)
async def delete_checkpoint(request: Request, run: str, segment: str, name: str) -> Response:
    """Delete a checkpoint."""
    row = _own_checkpoint(request, run, segment, name)
    server_of(request).checkpoints.delete(row["path"])
    return Response(status_code=204)


@router.post(f"{CHECKPOINT}/publish")
async def publish(request: Request, run: str, segment: str, name: str) -> Response:
    """Let every user of this server read a checkpoint."""
    row = _own_checkpoint(request, run, segment, name)
    if row["public"]:
        raise Refused(409, f"{row['path']} is published already.")
    server_of(request).checkpoints.change(row["path"], public=1)
    return Response(status_code=204)


@router.delete(f"{CHECKPOINT}/publish")
async def unpublish(request: Request, run: str, segment: str, name: str) -> Response:
    """Take back what `publish` did."""
    row = _own_checkpoint(request, run, segment, name)
    if not row["public"]:
        raise Refused(409, f"{row['path']} is not published.")
    server_of(request).checkpoints.change(row["path"], public=0)
    return Response(status_code=204)


@router.put(f"{CHECKPOINT}/ttl")
async def set_ttl(request: Request, run: str, segment: str, name: str) -> Response:
    """Set when a checkpoint expires, counted from now."""
    wanted = await parse(request, TtlRequest)
    row = _own_checkpoint(request, run, segment, name)
    try:
        check_ttl(wanted.ttl_seconds)
    except ValueError as error:
        raise Refused(422, str(error)) from error
    expires = None if wanted.ttl_seconds is None else time.time() + wanted.ttl_seconds
    server_of(request).checkpoints.change(row["path"], expires=expires)
    return Response(status_code=204)


@router.get(f"{CHECKPOINT}/external_weights_urls")
async def external_weights_urls(request: Request, run: str, segment: str, name: str) -> Any:
    """A link to each file of exported weights, good for an hour, without a key."""
    server, row = server_of(request), _own_checkpoint(request, run, segment, name)
    if row["kind"] != "external":
        raise Refused(400, f"{row['path']} has no files to download; save_weights_external makes such a checkpoint.")
    expires = int(time.time()) + LINK_SECONDS
    base = str(request.base_url).rstrip("/")
    urls = {}
    for file in sorted(server.device.files(row["path"]).iterdir()):
        token = sign(server.secret, f"{row['path']}/{file.name}", expires)
        urls[file.name] = f"{base}/api/v1/external_weights/{run}/{name}/{file.name}?token={token}"
    return {"urls": urls, "expires": datetime.fromtimestamp(expires, UTC).isoformat()}


@router.get("/external_weights/{run}/{name}/{file}")
async def download(request: Request, run: str, name: str, file: str, token: str = "") -> Response:
    """A file of exported weights, for whoever has the link."""
    server = server_of(request)
    path = str(CheckpointPath(run, "external", name))
    if not signature_holds(server.secret, f"{path}/{file}", token):
        raise Refused(403, "The link is wrong or has expired; ask for a new one.")
    where = server.device.files(path) / Path(file).name
    if not where.is_file():
        raise Refused(404, f"{path} has been deleted.")
    return FileResponse(where)


@router.post("/weights_info")
async def weights_info(request: Request) -> Any:
    """What a checkpoint is of."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, WeightsInfoRequest)
    try:
        run = server.source_of(wanted.tinker_path, owner)
    except ValueError as error:
        raise Refused(404, str(error)) from error
    flags = {flag: bool(run[flag]) for flag in ("train_unembed", "train_mlp", "train_attn")}
    return {"base_model": run["base_model"], "is_lora": True, "lora_rank": run["rank"], **flags}


@router.post("/copy_weights")
async def copy_weights(request: Request) -> Any:
    """A copy of a checkpoint in a training run of its own, which has the copy alone."""
    server, owner = server_of(request), owner_of(request)
    wanted = await parse(request, CopyWeightsRequest)
    try:
        check_ttl(wanted.ttl_seconds)
        token = wanted.weights_access_token or request.headers.get("x-tinker-weights-access-token")
        source = server.source_of(wanted.source_path, owner, token)
    except ValueError as error:
        raise Refused(400, str(error)) from error
    again = request.headers.get("x-idempotency-key", uuid.uuid4().hex)
    session = wanted.session_id or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{owner} {again}"))
    run = f"{session}:train:{wanted.model_seq_id or 0}"
    path = str(replace(CheckpointPath.parse(wanted.source_path), run=run))
    if server.checkpoints.own(path, owner) is None:
        if wanted.session_id is not None:
            server.session(owner, session)
        await asyncio.to_thread(server.device.store.copy, wanted.source_path, run)
        now = time.time()
        keys = ("base_model", "rank", "train_attn", "train_mlp", "train_unembed", "metadata")
        server.records.insert(
            "runs", id=run, session=session, owner=owner, created=now, used=now, **{key: source[key] for key in keys}
        )
        server.checkpoints.saved(path, owner, ttl_seconds=wanted.ttl_seconds)
    return {"tinker_path": path}


@router.get("/sessions")
async def sessions(request: Request, limit: int = 20, offset: int = 0) -> Any:
    """The user's sessions, the newest first."""
    rows = server_of(request).records.rows(
        "SELECT id FROM sessions WHERE owner = ? ORDER BY created DESC, rowid DESC", owner_of(request)
    )
    return {"sessions": [row["id"] for row in _page(rows, limit, offset)[0]]}


@router.get("/sessions/{session}")
async def get_session(request: Request, session: str) -> Any:
    """The training runs and samplers of a session."""
    server, owner = server_of(request), owner_of(request)
    row = server.records.row("SELECT * FROM sessions WHERE id = ? AND owner = ?", session, owner)
    if row is None:
        raise Refused(404, f"There is no session {session}.")
    runs = server.records.rows("SELECT id FROM runs WHERE session = ? ORDER BY rowid", session)
    samplers = server.records.rows("SELECT id FROM samplers WHERE session = ? ORDER BY rowid", session)
    return {
        "training_run_ids": [run["id"] for run in runs],
        "sampler_ids": [sampler["id"] for sampler in samplers],
        "user_metadata": row["metadata"],
        "display_name": row["display_name"],
    }
