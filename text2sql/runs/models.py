"""The models of a run, by which its evaluations are called, and its stages."""

from __future__ import annotations

from typing import Literal

# "start": what a run that learns from verdicts begins with, where that is another run's model.
Model = Literal["base", "start", "tuned"]
MODELS: tuple[Model, ...] = ("base", "start", "tuned")
# The two that a report is about, in this order.
SIDES: tuple[Model, Model] = ("base", "tuned")

# What is carried out of a run, in order. A stage needs none before it, except that `evaluate` needs `train`.
STAGES = ("baseline", "train", "evaluate")
