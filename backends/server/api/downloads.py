"""Weights to download: links that need no key, to the files of an adapter or to an archive of them.

The SDK asks for the files since 0.36, and for an archive before.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from tinker.types.external_weights_urls_response import ExternalWeightsUrlsResponse

from backends.checkpoint_paths import SCHEME
from backends.server.api.request import state_of
from backends.server.api.rest import CHECKPOINT, own_checkpoint
from backends.server.auth import sign, signature_holds
from backends.server.checkpoint_registry import moment
from backends.server.errors import ApiError

LINK_SECONDS = 3600
# What is an adapter's; a checkpoint's own record says where this server has its base model.
ADAPTER_FILES = "adapter_*"
ARCHIVE = "archive.tar"
PART_BYTES = 1 << 20

router = APIRouter(prefix="/api/v1")


class ArchiveUrl(BaseModel):
    """Where an archive is, as SDKs before 0.36 read it."""

    url: str
    expires: datetime


@router.get(f"{CHECKPOINT}/external_weights_urls")
def external_weights_urls(request: Request, run: str, segment: str, name: str) -> ExternalWeightsUrlsResponse:
    """A link to each file of an adapter, good for an hour, without a key."""
    files, expires = _files(request, run, segment, name), int(time.time()) + LINK_SECONDS
    urls = {file.name: _link(request, f"{run}/{segment}/{name}", file.name, expires) for file in files}
    return ExternalWeightsUrlsResponse(urls=urls, expires=moment(expires))


@router.get(f"{CHECKPOINT}/archive")
def archive(request: Request, run: str, segment: str, name: str) -> ArchiveUrl:
    """A link to all of them in one archive."""
    _files(request, run, segment, name)
    expires = int(time.time()) + LINK_SECONDS
    url = _link(request, f"{run}/{segment}/{name}", ARCHIVE, expires)
    return ArchiveUrl(url=url, expires=moment(expires))


def _files(request: Request, run: str, segment: str, name: str) -> list[Path]:
    checkpoint = own_checkpoint(request, run, segment, name)
    if checkpoint.kind == "training":
        raise ApiError(400, f"{checkpoint.path} has no files to download; save_weights_external makes some.")
    return sorted(state_of(request).residency.files(checkpoint.path).glob(ADAPTER_FILES))


def _link(request: Request, place: str, file: str, expires: int) -> str:
    state = state_of(request)
    # The Host that a request came with has been checked.
    base = (state.settings.server.public_url or str(request.base_url)).rstrip("/")
    return (
        f"{base}/api/v1/external_weights/{place}/{file}?token={sign(state.secret, f'{SCHEME}{place}/{file}', expires)}"
    )


@router.get("/external_weights/{run}/{segment}/{name}/{file}")
def download(request: Request, run: str, segment: str, name: str, file: str, token: str = "") -> Response:
    """A file of an adapter, or the archive, for whoever has the link."""
    state = state_of(request)
    path = f"{SCHEME}{run}/{segment}/{name}"
    if not signature_holds(state.secret, f"{path}/{file}", token):
        raise ApiError(403, "The link is wrong or has expired; ask for a new one.")
    directory = state.residency.files(path)
    files = sorted(directory.glob(ADAPTER_FILES)) if file == ARCHIVE else [directory / Path(file).name]
    if not files or not files[0].is_file():
        raise ApiError(404, f"{path} has been deleted.")
    if file == ARCHIVE:
        return StreamingResponse(_archive(files), media_type="application/x-tar")
    return FileResponse(files[0])


def _archive(files: list[Path]) -> Iterator[bytes]:
    """A tar archive of files, in parts; it is made on the disk, since an adapter may be large."""
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as made:
            for file in files:
                made.add(file, file.name)
        packed.seek(0)
        while part := packed.read(PART_BYTES):
            yield part
