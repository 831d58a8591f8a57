"""What a training has measured so far: ``metrics.jsonl``, in memory and in its file."""

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
        run: Its directory.
        training: Says which validation is the best, and when to stop.
        track: Is sent every record.

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
        """The steps done, as far as they are recorded."""
        return self.rows[-1].step if self.rows else 0

    @property
    def best_step(self) -> int | None:
        """The step of the best validation, None without any."""
        return early_stopping.best_step(self.rows, self._training)

    @property
    def stopped_early(self) -> bool:
        """Whether the validations say that it is time to stop."""
        return early_stopping.stopped_early(self.rows, self._training)

    def is_validated(self, step: int) -> bool:
        """Whether there is a validation after this many steps."""
        return any(row.step == step and isinstance(row, Validation) for row in self.rows)

    def missing_steps(self, done: int) -> int:
        """How many of the first `done` steps have no record; a file of a run that is whole has them all."""
        return done - len({row.step for row in self.steps if row.step <= done})

    def forget_after(self, step: int) -> None:
        """Leave out what came after a step, because it will be done again; the files keep it until `rewrite`."""
        self.rows = [row for row in self.rows if row.step <= step]

    def rewrite(self, step: int) -> None:
        """Let the files of the run end with this step too."""
        self._run.replace_rows(METRICS, self.rows)
        self._run.replace_rows(SAMPLES, [row for row in self._run.samples() if row.step <= step])

    def record(self, row: MetricsRow) -> None:
        """Add a record, to the file and the trackers as well."""
        self.rows.append(row)
        self._run.append(METRICS, [row])
        self._track(row.to_json())
