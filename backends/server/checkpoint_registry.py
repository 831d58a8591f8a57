"""Whose checkpoint is which, until when, and who may read it; the files themselves are the local backend's."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tinker import types

from backends.checkpoint_paths import CheckpointPath, Kind
from backends.server.database import Database
from backends.server.futures import Failure
from backends.server.records import Checkpoint, Sampler
from backends.server.residency import Residency
from backends.server.scheduler import Scheduler

# `expires` is in seconds since 1970.
NOT_EXPIRED = "(expires IS NULL OR expires > (julianday('now') - 2440587.5) * 86400)"
NEWEST_FIRST = "ORDER BY created DESC, rowid DESC"


class Checkpoints:
    """The records of saved checkpoints."""

    def __init__(self, database: Database, residency: Residency, scheduler: Scheduler) -> None:
        self._database = database
        self._residency = residency
        self._scheduler = scheduler

    def saved(
        self,
        path: str,
        owner: str,
        *,
        ttl_seconds: int | None = None,
        metadata: dict[str, str] | None = None,
        snapshot: bool = False,
    ) -> None:
        """Record a checkpoint whose files are on the disk (on the scheduler's thread)."""
        parsed = CheckpointPath.parse(path)
        now = time.time()
        self._database.replace(
            Checkpoint(
                path=path,
                run=parsed.run,
                owner=owner,
                kind=parsed.kind,
                created=now,
                size=self._residency.size(path),
                metadata=metadata,
                expires=None if ttl_seconds is None else now + ttl_seconds,
                snapshot=snapshot,
            )
        )

    def readable(self, path: str, *owners: str | None) -> Checkpoint:
        """A checkpoint that one of the users may read: their own, or a published one.

        Raises:
            ValueError: There is none of that path for them.
        """
        CheckpointPath.parse(path)
        checkpoint = self._database.find(Checkpoint, f"path = ? AND {NOT_EXPIRED}", path)
        if checkpoint is None or not (checkpoint.public or checkpoint.owner in owners):
            raise ValueError(f"There is no checkpoint {path}.")
        return checkpoint

    def own(self, path: str, owner: str) -> Checkpoint | None:
        """A user's checkpoint, or None."""
        return self._database.find(Checkpoint, f"path = ? AND owner = ? AND {NOT_EXPIRED}", path, owner)

    def of_run(self, run: str) -> list[Checkpoint]:
        """The checkpoints of a training run, the newest first; unnamed snapshots are not among them."""
        return self._database.select(Checkpoint, f"run = ? AND NOT snapshot AND {NOT_EXPIRED} {NEWEST_FIRST}", run)

    def of_owner(self, owner: str) -> list[Checkpoint]:
        """A user's checkpoints, the newest first; unnamed snapshots are not among them."""
        return self._database.select(Checkpoint, f"owner = ? AND NOT snapshot AND {NOT_EXPIRED} {NEWEST_FIRST}", owner)

    def latest(self, run: str, kind: Kind) -> Checkpoint | None:
        """The newest checkpoint of a kind of a training run."""
        return next((checkpoint for checkpoint in self.of_run(run) if checkpoint.kind == kind), None)

    def change(self, path: str, **columns: Any) -> None:
        """Set columns of a record."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        self._database.execute(f"UPDATE checkpoints SET {assignments} WHERE path = ?", *columns.values(), path)

    def delete(self, path: str) -> None:
        """Delete a checkpoint: the record now, the files when the device is between two requests."""
        self._database.execute("DELETE FROM checkpoints WHERE path = ?", path)
        self._scheduler.add_task(lambda: self._residency.delete(path))

    def delete_expired(self) -> None:
        """Delete the checkpoints whose time has come."""
        for checkpoint in self._database.select(Checkpoint, f"NOT {NOT_EXPIRED}"):
            self.delete(checkpoint.path)

    def delete_snapshots(self, session: str, keep: int) -> None:
        """Delete a session's unnamed snapshots but the newest, and the samplers that sample from them."""
        snapshots = self._database.select(Checkpoint, f"snapshot AND run GLOB ? {NEWEST_FIRST}", f"{session}:*")
        for snapshot in snapshots[keep:]:
            for sampler in self._database.select(Sampler, "path = ?", snapshot.path):
                self._scheduler.close_queue(
                    sampler.id,
                    Failure(
                        f"The snapshot of {sampler.id} was dropped: the newest {keep} of a session are kept. "
                        "Keep weights with save_weights_for_sampler(name)."
                    ),
                )
            self.delete(snapshot.path)

    def forget_missing(self) -> None:
        """Drop the records whose files are gone, when the server starts."""
        for checkpoint in self._database.select(Checkpoint, "TRUE"):
            if not self._residency.files(checkpoint.path).is_dir():
                self._database.execute("DELETE FROM checkpoints WHERE path = ?", checkpoint.path)


def describe(checkpoint: Checkpoint) -> types.Checkpoint:
    """A record as the protocol's `Checkpoint`."""
    return types.Checkpoint(
        checkpoint_id=CheckpointPath.parse(checkpoint.path).checkpoint_id,
        checkpoint_type=checkpoint.kind,
        time=moment(checkpoint.created),
        tinker_path=checkpoint.path,
        size_bytes=checkpoint.size,
        public=checkpoint.public,
        user_metadata=checkpoint.metadata,
        expires_at=None if checkpoint.expires is None else moment(checkpoint.expires),
    )


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as the protocol's time."""
    return datetime.fromtimestamp(seconds, UTC)
