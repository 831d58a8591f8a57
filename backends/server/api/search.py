"""Checkpoints by what they are of, newest first: `RestClient.search_checkpoints`, which SDK 0.39 announces.

The fields are those of its API reference (https://tinker-docs.thinkingmachines.ai/tinker/api-reference/). No public
source has its route: it is that of `search_sessions`, with checkpoints in the place of sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from tinker import types

from backends.server.api.request import owner_of, parse, state_of
from backends.server.checkpoint_registry import Checkpoints, ListedCheckpoint, moment
from backends.server.errors import ApiError
from backends.server.tables import Checkpoint

router = APIRouter(prefix="/api/v1")


class SearchCursor(BaseModel):
    """The last checkpoint of a page: the next one begins after it.

    Attributes:
        last_created_at: When it was saved; says where to go on if it has been deleted since.
        last_checkpoint_uuid: Its path, which nothing else has.
    """

    last_created_at: AwareDatetime
    last_checkpoint_uuid: str


class CheckpointSearch(BaseModel):
    """What is looked for; every condition must hold.

    Attributes:
        project_ids: This server has no projects: a list is refused.
        user_metadata: Keys and values that the checkpoint's notes must have.
        checkpoint_type: The kind; None matches each.
        owner: Whose; others' are not listed here.
        base_models: One of these must be the base model; None matches each.
        limit: Most checkpoints of a page.
        cursor: Of the page before; None for the first.
    """

    # A condition that is not known here must not be taken for none.
    model_config = ConfigDict(extra="forbid")

    project_ids: list[str] | None = None
    user_metadata: dict[str, str] = {}
    checkpoint_type: types.CheckpointType | None = None
    owner: types.SearchOwner = types.OwnSearchOwner()
    base_models: list[str] | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: SearchCursor | None = None


class FoundCheckpoints(BaseModel):
    """One page; without a cursor it is the last."""

    checkpoints: list[ListedCheckpoint]
    next_cursor: SearchCursor | None = None


@router.post("/checkpoints/search")
async def search_checkpoints(request: Request) -> FoundCheckpoints:
    """The user's checkpoints that a search finds, the newest first."""
    registry, owner = state_of(request).checkpoints, owner_of(request)
    search = await parse(request, CheckpointSearch)
    if search.project_ids is not None:
        raise ApiError(403, "This server has no projects; leave project_ids out to search all of your checkpoints.")
    if isinstance(search.owner, types.UserSearchOwner) and owner not in search.owner.owner_urns:
        return FoundCheckpoints(checkpoints=[])
    return await asyncio.to_thread(_page, registry, owner, search)


def _page(registry: Checkpoints, owner: str, search: CheckpointSearch) -> FoundCheckpoints:
    remaining = registry.of_owner(owner)
    if search.cursor is not None:
        remaining = _after(search.cursor, remaining)
    found = list(islice(_matches(registry, remaining, search), search.limit + 1))
    page = found[: search.limit]
    if len(found) == len(page):
        return FoundCheckpoints(checkpoints=page)
    last = SearchCursor(last_created_at=page[-1].time, last_checkpoint_uuid=page[-1].tinker_path)
    return FoundCheckpoints(checkpoints=page, next_cursor=last)


def _after(cursor: SearchCursor, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    for index, checkpoint in enumerate(checkpoints):
        if checkpoint.path == cursor.last_checkpoint_uuid:
            return checkpoints[index + 1 :]
    return [checkpoint for checkpoint in checkpoints if moment(checkpoint.created) < cursor.last_created_at]


def _matches(
    registry: Checkpoints, checkpoints: list[Checkpoint], search: CheckpointSearch
) -> Iterator[ListedCheckpoint]:
    for checkpoint in checkpoints:
        notes = checkpoint.metadata or {}
        if search.checkpoint_type not in (None, checkpoint.kind):
            continue
        if any(notes.get(key) != value for key, value in search.user_metadata.items()):
            continue
        described = registry.describe(checkpoint)
        if search.base_models is None or described.base_model in search.base_models:
            yield described
