"""Whose checkpoint is which, until when, and who may read it; the files themselves are the local backend's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from tinker import types

from backends.checkpoint_paths import CheckpointPath, Kind, check_ttl
from backends.interface import BackendError
from backends.server.database import Database, DiskFull
from backends.server.futures import Failure
from backends.server.log import log
from backends.server.residency import Residency
from backends.server.scheduler import Scheduler
from backends.server.tables import Checkpoint, Sampler, TrainingRun

# `expires` is in seconds since 1970.
NOT_EXPIRED = "(expires IS NULL OR expires > (julianday('now') - 2440587.5) * 86400)"
# A record without a size is reserved for a checkpoint that is being written.
LISTED = f"size > 0 AND NOT deleted AND {NOT_EXPIRED}"
# Not by the time, which may have been set back.
NEWEST_FIRST = "ORDER BY rowid DESC"


class ListedCheckpoint(types.Checkpoint):
    """The protocol's `Checkpoint`, and whether its files are missing.

    Attributes:
        missing: Whether they are.
        base_model: Of its training run; the SDK's own field of that name is announced for 0.39.
    """

    missing: bool
    base_model: str | None = None


class Checkpoints:
    """The records of saved checkpoints."""

    def __init__(self, database: Database, residency: Residency, scheduler: Scheduler, free_disk_bytes: int) -> None:
        self._database = database
        self._residency = residency
        self._scheduler = scheduler
        self._free_disk_bytes = free_disk_bytes

    def save(
        self,
        where: CheckpointPath,
        owner: str,
        write: Callable[[], object],
        *,
        ttl_seconds: int | None = None,
        metadata: dict[str, str] | None = None,
        snapshot: bool = False,
    ) -> str:
        """Save a checkpoint: reserve its record, write its files, complete the record; or keep nothing of it.

        Args:
            where: Its path.
            owner: Whose it will be.
            write: Writes the files, whole or not at all.
            ttl_seconds: How long it lives; None for ever.
            metadata: The user's notes.
            snapshot: Whether it is an unnamed snapshot.

        Returns:
            The path.

        Raises:
            DiskFull: There is no space for the record.
        """
        check_ttl(ttl_seconds)
        self._check_space()
        path, now = str(where), time.time()
        record = Checkpoint(
            path=path,
            run=where.run,
            owner=owner,
            kind=where.kind,
            created=now,
            size=0,
            metadata=metadata,
            expires=None if ttl_seconds is None else now + ttl_seconds,
            snapshot=snapshot,
        )
        reserved = self._database.insert(record)
        try:
            write()
            self._database.replace(record.model_copy(update={"size": self._residency.size(path)}))
        except BaseException as error:
            if reserved:
                with suppress(DiskFull):
                    self._database.execute("DELETE FROM checkpoints WHERE path = ?", path)
                if isinstance(error, DiskFull):
                    self._residency.delete(path)
            raise
        return path

    def _check_space(self) -> None:
        """Raise DiskFull while there is less space than the database and the weights may need."""
        root = self._residency.store.root
        directory = root if root.is_dir() else root.parent
        if shutil.disk_usage(directory).free < self._free_disk_bytes:
            raise DiskFull(directory, self._free_disk_bytes)

    def readable(self, path: str, *owners: str | None) -> Checkpoint:
        """A checkpoint that one of the users may read: their own, or a published one.

        Raises:
            ValueError: There is none of that path for them.
        """
        CheckpointPath.parse(path)
        checkpoint = self._database.find(Checkpoint, f"path = ? AND {LISTED}", path)
        if checkpoint is None or not (checkpoint.public or checkpoint.owner in owners):
            raise ValueError(f"There is no checkpoint {path}.")
        if self.are_missing(checkpoint):
            raise ValueError(f"The files of {path} are missing on the server; it is back when they are.")
        return checkpoint

    def own(self, path: str, owner: str) -> Checkpoint | None:
        """A user's checkpoint, or None."""
        return self._database.find(Checkpoint, f"path = ? AND owner = ? AND {LISTED}", path, owner)

    def of_run(self, run: str) -> list[Checkpoint]:
        """The checkpoints of a training run, the newest first; unnamed snapshots are not among them."""
        return self._database.select(Checkpoint, f"run = ? AND NOT snapshot AND {LISTED} {NEWEST_FIRST}", run)

    def of_owner(self, owner: str) -> list[Checkpoint]:
        """A user's checkpoints, the newest first; unnamed snapshots are not among them."""
        return self._database.select(Checkpoint, f"owner = ? AND NOT snapshot AND {LISTED} {NEWEST_FIRST}", owner)

    def latest(self, run: str, kind: Kind) -> Checkpoint | None:
        """The newest checkpoint of a kind of a training run."""
        of_kind = (checkpoint for checkpoint in self.of_run(run) if checkpoint.kind == kind)
        return next((checkpoint for checkpoint in of_kind if not self.are_missing(checkpoint)), None)

    def describe(self, checkpoint: Checkpoint) -> ListedCheckpoint:
        """A record as the protocol's `Checkpoint`, with its base model, and whether its files are missing."""
        run = self._database.find(TrainingRun, "id = ?", checkpoint.run)
        return ListedCheckpoint(
            **{**dict(describe(checkpoint)), "base_model": run and run.base_model}, missing=self.are_missing(checkpoint)
        )

    def change(self, path: str, **columns: Any) -> None:
        """Set columns of a record."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        self._database.execute(f"UPDATE checkpoints SET {assignments} WHERE path = ?", *columns.values(), path)

    def delete(self, path: str) -> None:
        """Delete a checkpoint: for its owner now, its files when the device is between two requests."""
        self._database.execute("UPDATE checkpoints SET deleted = 1 WHERE path = ?", path)
        self._scheduler.add_task(lambda: self._delete_files(path))

    def _delete_files(self, path: str) -> None:
        """Finish a deletion; the record goes last, so that a kill leaves no files without one."""
        # A second call finds nothing, or a new checkpoint under the old name.
        if self._database.find(Checkpoint, "path = ? AND deleted", path):
            self._residency.delete(path)
            # On a full disk the record stays marked, and is tried again.
            with suppress(DiskFull):
                self._database.execute("DELETE FROM checkpoints WHERE path = ? AND deleted", path)

    def delete_expired(self) -> None:
        """Delete the checkpoints whose time has come, and what is left of those that were deleted."""
        for checkpoint in self._database.select(Checkpoint, f"deleted OR NOT {NOT_EXPIRED}"):
            self.delete(checkpoint.path)

    def delete_snapshots(self, session: str, keep: int) -> None:
        """Delete a session's unnamed snapshots but the newest, and the samplers that sample from them."""
        snapshots = self._database.select(
            Checkpoint, f"snapshot AND NOT deleted AND run GLOB ? {NEWEST_FIRST}", f"{session}:*"
        )
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

    def are_missing(self, checkpoint: Checkpoint) -> bool:
        """Whether the files of a record are not there. The record stays: the files may come back."""
        return not self._residency.files(checkpoint.path).is_dir()

    def check_directory(self, *, may_be_empty: bool) -> None:
        """Refuse to start where every checkpoint is missing: a volume has not been mounted.

        Then finish what a kill broke off: files of a checkpoint whose record was only reserved, and deletions.

        Args:
            may_be_empty: `server.without_checkpoints`: start nevertheless.

        Raises:
            BackendError: There are records, and not one of their directories.
        """
        records = self._database.select(Checkpoint, "size > 0 AND NOT snapshot AND NOT deleted")
        missing = [checkpoint for checkpoint in records if self.are_missing(checkpoint)]
        if missing and len(missing) == len(records) and not may_be_empty:
            raise BackendError(
                f"The database lists {len(records)} checkpoints, and {self._residency.store.root} has none of them. "
                "Is its volume mounted? To start nevertheless (they are listed as missing until they are back): "
                "server.without_checkpoints=true."
            )
        for broken_off in self._database.select(Checkpoint, "size = 0 OR deleted"):
            self._residency.delete(broken_off.path)
            self._database.execute("DELETE FROM checkpoints WHERE path = ?", broken_off.path)
        for checkpoint in missing:
            log.warning("the files of %s are missing; it is back when they are", checkpoint.path)


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
