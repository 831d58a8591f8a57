"""What the validations of a run say: which was the best, whether to stop, which checkpoint to use."""

from __future__ import annotations

import math
from collections.abc import Sequence

from text2sql.config import TrainingConfig
from text2sql.runs.records import CheckpointRecord, MetricsRow, Validation

MAXIMISED = "validation_accuracy"


def best_step(metrics: Sequence[MetricsRow], training: TrainingConfig) -> int | None:
    """The step of the best validation, the earliest of equals; None without any."""
    metric = validation_metric(training)
    found = _measured(metrics, metric)
    # Both take the first of equals.
    pick = max if metric == MAXIMISED else min
    return pick(found, key=lambda pair: pair[1])[0] if found else None


def choose_checkpoint(checkpoints: Sequence[CheckpointRecord], training: TrainingConfig) -> CheckpointRecord:
    """The checkpoint to use: the best by `early_stopping.metric` where early stopping is on, else the last.

    Of the checkpoints that a run keeps the best is the first, whatever has become of its metrics.
    """
    return checkpoints[0] if training.early_stopping else checkpoints[-1]


def validation_metric(training: TrainingConfig) -> str:
    """The measure that decides which step is the best."""
    return training.early_stopping.metric if training.early_stopping else "validation_loss"


def stopped_early(metrics: Sequence[MetricsRow], training: TrainingConfig) -> bool:
    """Whether the last `patience` validations brought no improvement of at least `min_delta`."""
    stopping = training.early_stopping
    if stopping is None:
        return False
    sign = 1 if stopping.metric == MAXIMISED else -1
    best, waited = -math.inf, 0
    for _, value in _measured(metrics, stopping.metric):
        if sign * value - best > stopping.min_delta:
            best, waited = sign * value, 0
        else:
            waited += 1
    return waited >= stopping.patience


def _measured(metrics: Sequence[MetricsRow], metric: str) -> list[tuple[int, float]]:
    """Steps and values of the validations that have this measure."""
    found = [(row.step, getattr(row, metric)) for row in metrics if isinstance(row, Validation)]
    return [(step, value) for step, value in found if value is not None]
