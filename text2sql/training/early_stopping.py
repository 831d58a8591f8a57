"""What the validations of a run say: which was the best, whether to stop, which checkpoint to use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from text2sql.config import TrainingConfig

Row = dict[str, Any]
MAXIMISED = "validation_accuracy"


def best_step(metrics: Sequence[Row], training: TrainingConfig) -> int | None:
    """The step of the best validation, the earliest of equals; None without any."""
    metric = validation_metric(training)
    rows = [row for row in metrics if metric in row]
    pick = max if metric == MAXIMISED else min  # both take the first of equals
    return pick(rows, key=lambda row: row[metric])["step"] if rows else None


def choose_checkpoint(checkpoints: Sequence[Row], metrics: Sequence[Row], training: TrainingConfig) -> Row:
    """The checkpoint to use: the best by `early_stopping.metric` where early stopping is on, else the last."""
    if training.early_stopping:
        best = best_step(metrics, training)
        return next((row for row in checkpoints if row["step"] == best), checkpoints[-1])
    return checkpoints[-1]


def validation_metric(training: TrainingConfig) -> str:
    """The measure that decides which step is the best."""
    return training.early_stopping.metric if training.early_stopping else "validation_loss"


def stopped_early(metrics: Sequence[Row], training: TrainingConfig) -> bool:
    """Whether the last `patience` validations brought no improvement of at least `min_delta`."""
    stopping = training.early_stopping
    if stopping is None:
        return False
    sign = 1 if stopping.metric == MAXIMISED else -1
    best, waited = -math.inf, 0
    for row in metrics:
        if stopping.metric in row:
            value = sign * row[stopping.metric]
            if value - best > stopping.min_delta:
                best, waited = value, 0
            else:
                waited += 1
    return waited >= stopping.patience
