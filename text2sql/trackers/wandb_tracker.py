"""Weights & Biases: sends to a project of the server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2sql.config import Config
from text2sql.trackers.tracker import AnswerTable


def log_in() -> None:
    """Logs in with the stored key, or asks for it at a terminal; the package raises an exception if there is none."""
    import wandb

    wandb.login()


class WandbRun:
    """A run of a W&B project.

    Args:
        config: The run's configuration.
        directory: The run's directory, which W&B writes its files into unless ``WANDB_DIR`` is set.
        known: The id of the W&B run to continue; None for a new one.
    """

    def __init__(self, config: Config, directory: Path, known: str | None) -> None:
        import wandb

        self.id, self.is_new = known or uuid.uuid4().hex[:12], known is None
        self._run: Any = wandb.init(
            project=config.tracking.wandb_project,
            name=config.name,
            id=self.id,
            resume="allow",
            config=config.model_dump(mode="json"),
            dir=os.environ.get("WANDB_DIR", str(directory)),
        )
        # W&B's own step counter drops numbers of earlier steps, and a run that resumes from a checkpoint sends some
        # steps again.
        self._run.define_metric("*", step_metric="step")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers, plotted over ``step``."""
        self._run.log({**numbers, "step": step})

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Sends a ``wandb.Table``."""
        import wandb

        rows = [list(row) for row in table.rows]
        self._run.log({f"predictions/{table.name}": wandb.Table(columns=list(table.columns), data=rows), "step": step})

    def add_report(self, page: Path) -> None:
        """Sends the report as an artifact of the run."""
        import wandb

        artifact = wandb.Artifact(f"report-{self.id}", type="report")
        artifact.add_file(str(page))
        self._run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        """Waits until everything is sent."""
        self._run.finish(exit_code=1 if failed else 0)
