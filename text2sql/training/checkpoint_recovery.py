"""Checkpoints that a killed run had saved, but not recorded yet: found again, used if whole, deleted if not.

A checkpoint is saved by the backend first and recorded in ``checkpoints.jsonl`` afterwards. ``training_runs.jsonl``
names every training client that a run has had, so what these saved in between can be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tinker import TinkerError, types

from backends.checkpoint_paths import CheckpointPath, Kind
from backends.interface import BackendError, RestClient, ServiceClient, TrainingClient
from text2sql.console import console
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import TRAINING_RUNS, CheckpointRecord, InitialWeightsRecord, TrainingRun

# What checkpoints.jsonl calls the path of each kind that the loop saves.
PATH_KEYS: dict[Kind, str] = {"training": "state_path", "sampler": "sampler_path"}

STEP_NAME = re.compile(r"step-(\d{6,})")


def checkpoint_name(step: int) -> str:
    """The name under which the loop saves a step."""
    return f"step-{step:06d}"


def record_client(run: RunDirectory, client: TrainingClient, initial: InitialWeightsRecord | None = None) -> None:
    """Record that this client trains for the run, and with which saved weights it began."""
    run.append(TRAINING_RUNS, [TrainingRun(training_run=client.get_info().model_id, start_from=initial)])


def find_leftovers(run: RunDirectory, service: ServiceClient) -> list[types.Checkpoint]:
    """The saved checkpoints of the run's clients that ``checkpoints.jsonl`` does not name."""
    clients = [row.training_run for row in run.training_runs()]
    initial = run.recorded_initial_weights()
    recorded = {path for row in run.checkpoints() for path in (row.state_path, row.sampler_path)}
    recorded |= {initial.sampler_path} if initial and initial.sampler_path else set()
    saved: list[types.Checkpoint] = []
    rest = service.create_rest_client() if clients else None
    for client in clients:
        try:
            saved += rest.list_checkpoints(client).result().checkpoints if rest else []
        except (BackendError, TinkerError) as error:
            # A backend that does not know the client any more has nothing to find.
            console.print(f"The checkpoints of {client} could not be listed: {error}")
    return [checkpoint for checkpoint in saved if checkpoint.tinker_path not in recorded]


def whole_checkpoints(leftovers: Sequence[types.Checkpoint]) -> dict[int, CheckpointRecord]:
    """By step, those of which both training state and weights were saved, as rows to record."""
    paths: dict[tuple[str, str], dict[str, str]] = {}
    for checkpoint in leftovers:
        path = CheckpointPath.parse(checkpoint.tinker_path)
        if key := PATH_KEYS.get(path.kind):
            paths.setdefault((path.run, path.name), {})[key] = checkpoint.tinker_path
    return {
        int(match[1]): CheckpointRecord(
            name=name, step=int(match[1]), state_path=by_key["state_path"], sampler_path=by_key["sampler_path"]
        )
        for (_, name), by_key in paths.items()
        if (match := STEP_NAME.fullmatch(name)) and len(by_key) == len(PATH_KEYS)
    }


def delete(rest: RestClient, paths: Sequence[str]) -> None:
    """Delete checkpoints; one that cannot be is named, since housekeeping must not end a training."""
    for path in paths:
        try:
            rest.delete_checkpoint_from_tinker_path(path).result()
        except (BackendError, TinkerError) as error:
            console.print(f"{path} could not be deleted: {error}")
