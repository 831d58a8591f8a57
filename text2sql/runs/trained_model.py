"""The tuned weights of a run: which of its checkpoints holds them, and what is said where there is none yet."""

from __future__ import annotations

from collections.abc import Sequence

from text2sql.config import Config, TrainingConfig
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import CheckpointRecord


def choose_checkpoint(checkpoints: Sequence[CheckpointRecord], training: TrainingConfig) -> CheckpointRecord:
    """The checkpoint to use: the best by `early_stopping.metric` where early stopping is on, else the last.

    Of the checkpoints that a run keeps the best is the first, whatever has become of its metrics.
    """
    return checkpoints[0] if training.early_stopping else checkpoints[-1]


def tuned_checkpoint(run: RunDirectory, config: Config, alternative: str = "") -> CheckpointRecord:
    """The checkpoint to use of a run, which may still be training.

    Args:
        run: The run's directory.
        config: The run's configuration.
        alternative: What can be done without a checkpoint, for the message.

    Raises:
        UserError: The run has no checkpoint yet.
    """
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise no_checkpoint(run, alternative)
    return choose_checkpoint(checkpoints, config.training)


def finished_checkpoint(run: RunDirectory, config: Config, key: str) -> CheckpointRecord:
    """The checkpoint to use of a run whose training has finished, for another run to begin with or to learn from.

    Args:
        run: The run's directory.
        config: The run's configuration.
        key: The configuration key that names the run, for the message.

    Raises:
        UserError: The run's training has not finished.
    """
    checkpoints, summary = run.checkpoints(), run.summary()
    if not (summary and summary.training and checkpoints):
        raise UserError(f"{key}: the training in {run.path} has not finished; run its command again first.")
    return choose_checkpoint(checkpoints, config.training)


def no_checkpoint(run: RunDirectory, alternative: str = "") -> UserError:
    """The error for a run that has no checkpoint yet; see `tuned_checkpoint`."""
    ways_on = f"let it finish, or {alternative}" if alternative else "let it finish"
    return UserError(f"The run in {run.path} has no checkpoint yet; {ways_on}.")
