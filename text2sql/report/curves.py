"""The metrics of a training as charts: losses, accuracies and rewards by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.report.figures import series
from text2sql.runs.records import MetricsRow

# The title of each chart, and for each of its curves the key in `metrics.jsonl` and the name.
_CHARTS = (
    ("Loss per completion token", (("loss", "training"), ("validation_loss", "validation"))),
    ("Accuracy", (("validation_accuracy", "validation questions"), ("equivalent", "right answers"))),
    ("Reward", (("reward", "mean reward"),)),
)


@dataclass(frozen=True)
class Curve:
    """One curve of a chart: a value for each of the chart's steps, None where it has none."""

    name: str
    values: list[float | None]


@dataclass(frozen=True)
class Chart:
    """Curves that share their axes."""

    title: str
    steps: list[int]
    curves: list[Curve]


def charts(metrics: Sequence[MetricsRow]) -> list[Chart]:
    """The charts of a training; those without a value are left out."""
    result = []
    for title, keys in _CHARTS:
        by_name = {name: _values(metrics, key) for key, name in keys}
        by_name = {name: values for name, values in by_name.items() if values}
        steps = sorted({step for values in by_name.values() for step in values})
        if steps:
            curves = [Curve(name, [values.get(step) for step in steps]) for name, values in by_name.items()]
            result.append(Chart(title, steps, curves))
    return result


def _values(metrics: Sequence[MetricsRow], key: str) -> dict[int, float]:
    """The finite values of a metric by step."""
    steps, values = series(metrics, key)
    return {int(step): value for step, value in zip(steps, values, strict=True) if math.isfinite(value)}
