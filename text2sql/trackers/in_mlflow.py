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

# What MLflow takes in one call, and of one value.
_PARAMETERS_AT_ONCE, _LONGEST = 100, 500


def reach() -> None:
    """Ask the server for anything at all; MLflow raises where it is not to be had."""
    from mlflow import MlflowClient

    MlflowClient().search_experiments(max_results=1)


class MlflowRun:
    """A run of an MLflow experiment.

    Args:
        config: The run's configuration.
        known: The id of the MLflow run that goes on; None for a new one. One that has been deleted is made anew.
    """

    def __init__(self, config: Config, known: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._client: Any = MlflowClient()
        found = None
        with suppress(MlflowException):
            found = self._client.get_run(known) if known else None
        self.is_new = found is None
        if found is None:
            name = str(config.tracking.mlflow_experiment)
            experiment = self._client.get_experiment_by_name(name)
            own = experiment.experiment_id if experiment else self._client.create_experiment(name)
            found = self._client.create_run(own, run_name=config.name)
            self._describe(found.info.run_id, config)
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
        self.id: str = found.info.run_id

    def _describe(self, run: str, config: Config) -> None:
        from mlflow.entities import Param

        values = iter([Param(key, value[:_LONGEST]) for key, value in _flat(config.model_dump(mode="json"))])
        while some := list(islice(values, _PARAMETERS_AT_ONCE)):
            self._client.log_batch(run, params=some)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Send numbers of a step, in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(key, value, now, step) for key, value in numbers.items()])

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Send a table as an artifact that MLflow shows as one."""
        file, columns = f"predictions/{table.name}.json", list(table.columns)
        if any(there.path == file for there in self._client.list_artifacts(self.id, "predictions")):
            # `log_table` would add the rows to those that an earlier start has sent.
            self._client.log_dict(self.id, {"columns": columns, "data": [list(row) for row in table.rows]}, file)
        else:
            cells = {name: [row[place] for row in table.rows] for place, name in enumerate(columns)}
            self._client.log_table(self.id, cells, file)

    def add_report(self, page: Path) -> None:
        """Send the report as an artifact of the run."""
        self._client.log_artifact(self.id, str(page))

    def close(self, *, failed: bool) -> None:
        """Say how the run has ended."""
        self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Keys with dots, as on a command line."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)
