"""Whose checkpoint is which, until when, and who may read it; the files themselves are the local backend's."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from backends.checkpoint_paths import CheckpointPath
from backends.server.database import Records, Row
from backends.server.futures import Failure
from backends.server.residency import Device
from backends.server.scheduler import Scheduler

LIVING = "(expires IS NULL OR expires > (julianday('now') - 2440587.5) * 86400)"  # seconds since 1970


class Checkpoints:
    """The records of saved checkpoints."""

    def __init__(self, records: Records, device: Device, scheduler: Scheduler) -> None:
        self._records = records
        self._device = device
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
        self._records.replace(
            "checkpoints",
            path=path,
            run=parsed.run,
            owner=owner,
            kind=parsed.kind,
            created=now,
            size=self._device.size(path),
            metadata=metadata,
            expires=None if ttl_seconds is None else now + ttl_seconds,
            snapshot=snapshot,
        )

    def readable(self, path: str, *owners: str | None) -> Row:
        """The record of a checkpoint that one of the users may read: their own, or a published one.

        Raises:
            ValueError: There is none of that path for them.
        """
        CheckpointPath.parse(path)
        row = self._records.row(f"SELECT * FROM checkpoints WHERE path = ? AND {LIVING}", path)
        if row is None or not (row["public"] or row["owner"] in owners):
            raise ValueError(f"There is no checkpoint {path}.")
        return row

    def own(self, path: str, owner: str) -> Row | None:
        """The record of a user's checkpoint, or None."""
        return self._records.row(f"SELECT * FROM checkpoints WHERE path = ? AND owner = ? AND {LIVING}", path, owner)

    def of_run(self, run: str) -> list[Row]:
        """The checkpoints of a training run, the newest first; unnamed snapshots are not among them."""
        return self._records.rows(
            f"SELECT * FROM checkpoints WHERE run = ? AND NOT snapshot AND {LIVING} ORDER BY created DESC, rowid DESC",
            run,
        )

    def of_owner(self, owner: str) -> list[Row]:
        """A user's checkpoints, the newest first."""
        return self._records.rows(
            f"SELECT * FROM checkpoints WHERE owner = ? AND NOT snapshot AND {LIVING} "
            "ORDER BY created DESC, rowid DESC",
            owner,
        )

    def latest(self, run: str, kind: str) -> Row | None:
        """The newest checkpoint of a kind of a training run."""
        return next((row for row in self.of_run(run) if row["kind"] == kind), None)

    def change(self, path: str, **columns: Any) -> None:
        """Set columns of a record."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        self._records.execute(f"UPDATE checkpoints SET {assignments} WHERE path = ?", *columns.values(), path)

    def delete(self, path: str) -> None:
        """Delete a checkpoint: the record now, the files when the device is between two requests."""
        self._records.execute("DELETE FROM checkpoints WHERE path = ?", path)
        self._scheduler.errand(lambda: self._device.delete(path))

    def delete_expired(self) -> None:
        """Delete the checkpoints whose time has come."""
        for row in self._records.rows(f"SELECT path FROM checkpoints WHERE NOT {LIVING}"):
            self.delete(row["path"])

    def delete_snapshots(self, session: str, keep: int) -> None:
        """Delete a session's unnamed snapshots but the newest, and the samplers that sample from them."""
        rows = self._records.rows(
            "SELECT path FROM checkpoints WHERE snapshot AND run GLOB ? ORDER BY created DESC, rowid DESC",
            f"{session}:*",
        )
        for row in rows[keep:]:
            for sampler in self._records.rows("SELECT id FROM samplers WHERE path = ?", row["path"]):
                self._scheduler.shut(
                    sampler["id"],
                    Failure(
                        f"The snapshot of {sampler['id']} was dropped: the newest {keep} of a session are kept. "
                        "Keep weights with save_weights_for_sampler(name)."
                    ),
                )
            self.delete(row["path"])

    def forget_missing(self) -> None:
        """Drop the records whose files are gone, at the start of a new life."""
        for row in self._records.rows("SELECT path FROM checkpoints"):
            if not self._device.files(row["path"]).is_dir():
                self._records.execute("DELETE FROM checkpoints WHERE path = ?", row["path"])


def describe(row: Row) -> Row:
    """A record as the protocol's `Checkpoint`."""
    return {
        "checkpoint_id": CheckpointPath.parse(row["path"]).checkpoint_id,
        "checkpoint_type": row["kind"],
        "time": iso(row["created"]),
        "tinker_path": row["path"],
        "size_bytes": row["size"],
        "public": bool(row["public"]),
        "user_metadata": row["metadata"],
        "expires_at": iso(row["expires"]),
    }


def iso(seconds: float | None) -> str | None:
    """A time as the protocol writes it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
