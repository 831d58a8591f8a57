"""The metrics of a training so far: ``metrics.jsonl``, in memory and in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from text2sql.config import TrainingConfig
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import METRICS, SAMPLES, MetricsRow, StepMetrics, Validation
from text2sql.training import early_stopping

Track = Callable[[Mapping[str, JsonValue]], None]


class MetricsLog:
    """The steps and validations of a run, in the order in which they were done.

    Args:
        run: The run's directory.
        training: Settings of early stopping.
        track: Called with every record.

    Attributes:
        rows: The records.
    """

    def __init__(self, run: RunDirectory, training: TrainingConfig, track: Track) -> None:
        self._run, self._training, self._track = run, training, track
        self.rows: list[MetricsRow] = run.metrics()

    @property
    def steps(self) -> list[StepMetrics]:
        """The optimiser steps alone."""
        return [row for row in self.rows if isinstance(row, StepMetrics)]

    @property
    def last_step(self) -> int:
        """Number of the last recorded step, 0 for none."""
        return self.rows[-1].step if self.rows else 0

    @property
    def best_step(self) -> int | None:
        """The step of the best validation, None without any."""
        return early_stopping.best_step(self.rows, self._training)

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping ends the training."""
        return early_stopping.stopped_early(self.rows, self._training)

    def is_validated(self, step: int) -> bool:
        """Whether a validation after this many steps is recorded."""
        return any(row.step == step and isinstance(row, Validation) for row in self.rows)

    def missing_steps(self, done: int) -> int:
        """How many of the first `done` steps have no record; an undamaged file has them all."""
        return done - len({row.step for row in self.steps if row.step <= done})

    def forget_after(self, step: int) -> None:
        """Drop the records after a step, which will be done again; the files keep them until `rewrite`."""
        self.rows = [row for row in self.rows if row.step <= step]

    def rewrite(self, step: int) -> None:
        """Cut the files of the run off after this step too."""
        self._run.replace_rows(METRICS, self.rows)
        self._run.replace_rows(SAMPLES, [row for row in self._run.samples() if row.step <= step])

    def record(self, row: MetricsRow) -> None:
        """Add a record here, to the file and to the trackers."""
        self.rows.append(row)
        self._run.append(METRICS, [row])
        self._track(row.to_json())
