"""MLflow: the server or database of ``MLFLOW_TRACKING_URI``, or MLflow's own default."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from text2sql.config import Config
from text2sql.trackers.tracker import AnswerTable

# Parameters that MLflow accepts in one call.
_MAX_PARAMETERS = 100
# Characters of a parameter's value that MLflow accepts.
_MAX_VALUE_CHARACTERS = 500


def check_reachable() -> None:
    """Sends the server a small request; MLflow raises an exception if it is not reachable."""
    from mlflow import MlflowClient

    MlflowClient().search_experiments(max_results=1)


class MlflowRun:
    """A run of an MLflow experiment.

    Args:
        config: The run's configuration.
        known: The id of the MLflow run to continue; None for a new one. A deleted one is created again.
    """

    def __init__(self, config: Config, known: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._client: Any = MlflowClient()
        run = None
        with suppress(MlflowException):
            run = self._client.get_run(known) if known else None
        self.is_new = run is None
        if run is None:
            name = str(config.tracking.mlflow_experiment)
            experiment = self._client.get_experiment_by_name(name)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
            run = self._client.create_run(experiment_id, run_name=config.name)
            self._log_parameters(run.info.run_id, config)
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
        self.id: str = run.info.run_id

    def _log_parameters(self, run: str, config: Config) -> None:
        from mlflow.entities import Param

        values = iter(
            [Param(key, value[:_MAX_VALUE_CHARACTERS]) for key, value in _flatten(config.model_dump(mode="json"))]
        )
        while batch := list(islice(values, _MAX_PARAMETERS)):
            self._client.log_batch(run, params=batch)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends the numbers of a step, in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(key, value, now, step) for key, value in numbers.items()])

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Sends a table as an artifact that MLflow displays as a table."""
        file, columns = f"predictions/{table.name}.json", list(table.columns)
        if any(artifact.path == file for artifact in self._client.list_artifacts(self.id, "predictions")):
            # `log_table` would append the rows to those of an earlier start.
            self._client.log_dict(self.id, {"columns": columns, "data": [list(row) for row in table.rows]}, file)
        else:
            cells = {name: [row[index] for row in table.rows] for index, name in enumerate(columns)}
            self._client.log_table(self.id, cells, file)

    def add_report(self, page: Path) -> None:
        """Sends the report as an artifact of the run."""
        self._client.log_artifact(self.id, str(page))

    def close(self, *, failed: bool) -> None:
        """Sets the final status of the run."""
        self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys with their values, as on a command line."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
