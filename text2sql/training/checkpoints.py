"""The checkpoints that a run keeps, the last one and the best one: ``checkpoints.jsonl`` and what it names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from backends.interface import TrainingClient
from text2sql.runs.records import CHECKPOINTS, CheckpointRecord
from text2sql.runs.session import RunSession
from text2sql.training import checkpoint_recovery
from text2sql.training.early_stopping import best_step
from text2sql.training.metrics_log import MetricsLog


class KeptCheckpoints:
    """The checkpoints of a run, in order; a checkpoint is saved by the backend first and recorded afterwards.

    Args:
        session: The run.

    Attributes:
        rows: What ``checkpoints.jsonl`` holds.
    """

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self.rows: list[CheckpointRecord] = session.run.checkpoints()

    @property
    def last(self) -> CheckpointRecord | None:
        """The checkpoint from which a training goes on."""
        return self.rows[-1] if self.rows else None

    @property
    def step(self) -> int:
        """The steps done at the last checkpoint."""
        return self.last.step if self.last else 0

    def recover(self, metrics: MetricsLog) -> None:
        """Record the latest checkpoint that a kill kept from being recorded; delete the others of that kind.

        Args:
            metrics: Everything that was measured, also after the last checkpoint.
        """
        found = checkpoint_recovery.find_leftovers(self._session.run, self._session.service)
        later = {row.step for row in metrics.steps if row.step > self.step}
        newest = checkpoint_recovery.newest_whole(found, later)
        kept: tuple[str, ...] = ()
        if newest:
            kept = (newest.state_path, newest.sampler_path)
            until_then = [row for row in metrics.rows if row.step <= newest.step]
            self._keep(newest, best_step(until_then, self._session.config.training))
        self._delete([leftover.tinker_path for leftover in found if leftover.tinker_path not in kept])

    def save(self, client: TrainingClient, step: int, best: int | None) -> None:
        """Save a checkpoint, record it, and delete what is neither the last one nor the best.

        Args:
            client: What to save.
            step: The steps that it has done.
            best: The step of the best validation so far, None without any.
        """
        name, ttl = checkpoint_recovery.checkpoint_name(step), self._session.config.checkpoint_ttl_seconds
        state = client.save_state(name, ttl_seconds=ttl)
        weights = client.save_weights_for_sampler(name, ttl_seconds=ttl)
        state_path, sampler_path = state.result().path, weights.result().path
        expires = None if ttl is None else (datetime.now(UTC) + timedelta(seconds=ttl)).isoformat(timespec="seconds")
        record = CheckpointRecord(
            name=name, step=step, state_path=state_path, sampler_path=sampler_path, expires=expires
        )
        self._keep(record, best)

    def _keep(self, record: CheckpointRecord, best: int | None) -> None:
        """Record a checkpoint as the last one."""
        before = self.rows
        kept = [row for row in before if row.step == best and row.step != record.step]
        self.rows = [*kept, record]
        self._session.run.replace_rows(CHECKPOINTS, self.rows)
        self._delete([path for row in before if row not in kept for path in (row.state_path, row.sampler_path)])

    def _delete(self, paths: Sequence[str]) -> None:
        if paths:
            checkpoint_recovery.delete(self._session.service.create_rest_client(), paths)
