"""What the validations of a run say: which was the best, and whether to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from text2sql.config import TrainingConfig
from text2sql.runs.records import MetricsRow, Validation

MAXIMISED = "validation_accuracy"


def best_step(metrics: Sequence[MetricsRow], training: TrainingConfig) -> int | None:
    """The step of the best validation, the earliest of equals; None without any."""
    metric = validation_metric(training)
    values = _values_by_step(metrics, metric)
    # Both take the first of equals.
    pick = max if metric == MAXIMISED else min
    return pick(values, key=lambda pair: pair[1])[0] if values else None


def validation_metric(training: TrainingConfig) -> str:
    """The measure that decides which step is the best."""
    return training.early_stopping.metric if training.early_stopping else "validation_loss"


def stopped_early(metrics: Sequence[MetricsRow], training: TrainingConfig) -> bool:
    """Whether the last `patience` validations brought no improvement of at least `min_delta`."""
    stopping = training.early_stopping
    if stopping is None:
        return False
    sign = 1 if stopping.metric == MAXIMISED else -1
    best, without_improvement = -math.inf, 0
    for _, value in _values_by_step(metrics, stopping.metric):
        if sign * value - best > stopping.min_delta:
            best, without_improvement = sign * value, 0
        else:
            without_improvement += 1
    return without_improvement >= stopping.patience


def _values_by_step(metrics: Sequence[MetricsRow], metric: str) -> list[tuple[int, float]]:
    """Step and value of each validation that has this metric."""
    values = [(row.step, getattr(row, metric)) for row in metrics if isinstance(row, Validation)]
    return [(step, value) for step, value in values if value is not None]
