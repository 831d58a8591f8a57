"""Trackio: W&B's API on a local database or a Space of the Hugging Face Hub."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2sql.config import Config
from text2sql.trackers.tracker import AnswerTable


class TrackioRun:
    """A run of a trackio project.

    Args:
        config: The run's configuration.
        known: The name of the trackio run to continue; None for a new one.
    """

    def __init__(self, config: Config, known: str | None) -> None:
        import trackio

        # Trackio identifies runs by name, so that two runs of one configuration need two names.
        self.id, self.is_new = known or f"{config.name}-{uuid.uuid4().hex[:6]}", known is None
        self._run: Any = trackio.init(
            project=str(config.tracking.trackio_project),
            name=self.id,
            config=config.model_dump(mode="json"),
            resume="allow",
            embed=False,
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends the numbers of a step."""
        self._run.log(dict(numbers), step=step)

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Sends a ``trackio.Table``."""
        import pandas
        import trackio

        frame = pandas.DataFrame([list(row) for row in table.rows], columns=list(table.columns))
        self._run.log({f"predictions/{table.name}": trackio.Table(dataframe=frame)}, step=step)

    def add_report(self, page: Path) -> None:
        """Sends the report as an artifact of the run."""
        self._run.log_artifact(str(page), name=f"report-{self.id}", type="report")

    def close(self, *, failed: bool) -> None:
        """Waits until everything is written."""
        self._run.finish()
