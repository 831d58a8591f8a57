"""The course of a training as curves to draw: losses, accuracies, rewards by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.report.figures import series
from text2sql.runs.records import MetricsRow

# Of a chart its title, and of each curve the key of `metrics.jsonl` and its name.
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
    found = []
    for title, named in _CHARTS:
        drawn = {name: _values(metrics, key) for key, name in named}
        drawn = {name: values for name, values in drawn.items() if values}
        steps = sorted({step for values in drawn.values() for step in values})
        if steps:
            curves = [Curve(name, [values.get(step) for step in steps]) for name, values in drawn.items()]
            found.append(Chart(title, steps, curves))
    return found


def _values(metrics: Sequence[MetricsRow], key: str) -> dict[int, float]:
    steps, values = series(metrics, key)
    return {int(step): value for step, value in zip(steps, values, strict=True) if math.isfinite(value)}
