"""The checkpoints that a run keeps, the last one and the best one: ``checkpoints.jsonl`` and what it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from backends.interface import BackendError, SamplingClient, TrainingClient
from text2sql.console import console
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

        Where nothing is recorded, because ``checkpoints.jsonl`` was lost, the best one is recorded too.

        Args:
            metrics: Everything that was measured, also after the last checkpoint.
        """
        leftovers = checkpoint_recovery.find_leftovers(self._session.run, self._session.service)
        whole = checkpoint_recovery.whole_checkpoints(leftovers)
        later = [step for step in whole if step > self.step]
        recovered: list[CheckpointRecord] = []
        if later:
            newest = whole[max(later)]
            until_then = [row for row in metrics.rows if row.step <= newest.step]
            best = best_step(until_then, self._session.config.training)
            if not self.rows:
                # A run keeps its best and its last: where its metrics are lost too, the earlier is the best.
                best = best if best in whole else min(whole)
                if best != newest.step:
                    recovered.append(whole[best])
                    self.rows = list(recovered)
            recovered.append(newest)
            self._record(newest, best)
        paths = {path for row in recovered for path in (row.state_path, row.sampler_path)}
        self._delete([leftover.tinker_path for leftover in leftovers if leftover.tinker_path not in paths])

    def open_last(self, restore: Callable[[CheckpointRecord], TrainingClient]) -> TrainingClient:
        """What `restore` makes of the last checkpoint; where that is damaged, of the one before it.

        Raises:
            BackendError: None of them can be restored; all stay as they are.
        """
        failures: list[BackendError] = []
        for index in reversed(range(len(self.rows))):
            try:
                client = restore(self.rows[index])
            except BackendError as error:
                failures.append(error)
                continue
            if failures:
                self._fall_back(index, failures[0])
            return client
        raise BackendError(f"{failures[0]} No earlier one is kept. {self._ways_on()}") from failures[0]

    def open_sampler(self, record: CheckpointRecord) -> SamplingClient | None:
        """The weights of a checkpoint, to sample from; where they are damaged, made again from its training state.

        Returns:
            None where the training state is damaged too, and the training has to go on from the checkpoint before it.

        Raises:
            BackendError: Nothing is left to make them from.
        """
        service, index = self._session.service, self.rows.index(record)
        try:
            return service.create_sampling_client(model_path=record.sampler_path).result()
        except BackendError as error:
            damage = error
        try:
            client = service.create_training_client_from_state_with_optimizer(record.state_path).result()
        except BackendError as error:
            if index == len(self.rows) - 1 and index > 0:
                self._fall_back(index - 1, damage)
                return None
            raise BackendError(
                f"{damage} The weights cannot be made again from the training state: {error} {self._ways_on()}"
            ) from error
        checkpoint_recovery.record_client(self._session.run, client)
        ttl = self._session.config.checkpoint_ttl_seconds
        path = client.save_weights_for_sampler(record.name, ttl_seconds=ttl).result().path
        self.rows[index] = record.model_copy(update={"sampler_path": path})
        self._session.run.replace_rows(CHECKPOINTS, self.rows)
        self._delete([record.sampler_path])
        console.print(f"{damage} The weights were made again from the training state of that step.", markup=False)
        return service.create_sampling_client(model_path=path).result()

    def _ways_on(self) -> str:
        run = self._session.run
        on_disk = self._session.config.capabilities.checkpoints_on_disk
        files = " and ".join(str(run.file(name)) for name in (CHECKPOINTS, *(["checkpoints"] if on_disk else [])))
        return (
            f"Restore the checkpoint; or move {files} away and run the same command again: what the base model has "
            "answered is kept, and training begins anew."
        )

    def _fall_back(self, index: int, failure: BackendError) -> None:
        """Go on from an earlier checkpoint, and say what that costs."""
        lost = self.step - self.rows[index].step
        console.print(
            f"{failure} The one before it is used, of step {self.rows[index].step}: {lost} "
            f"{'step is' if lost == 1 else 'steps are'} done again.",
            markup=False,
        )
        unusable = self.rows[index + 1 :]
        self.rows = self.rows[: index + 1]
        self._session.run.replace_rows(CHECKPOINTS, self.rows)
        # Otherwise the next start would find and record them again.
        self._delete([path for row in unusable for path in (row.state_path, row.sampler_path)])

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
        self._record(record, best)

    def _record(self, record: CheckpointRecord, best: int | None) -> None:
        """Record a checkpoint as the last one."""
        previous = self.rows
        best_rows = [row for row in previous if row.step == best and row.step != record.step]
        self.rows = [*best_rows, record]
        self._session.run.replace_rows(CHECKPOINTS, self.rows)
        self._delete([path for row in previous if row not in best_rows for path in (row.state_path, row.sampler_path)])

    def _delete(self, paths: Sequence[str]) -> None:
        if paths:
            checkpoint_recovery.delete(self._session.service.create_rest_client(), paths)
