"""The models of a run, which its evaluations are named after, and its stages."""

from __future__ import annotations

from typing import Literal

# "start": the model that a run that learns from verdicts begins with, where that is another run's.
Model = Literal["base", "start", "tuned"]
MODELS: tuple[Model, ...] = ("base", "start", "tuned")
# The two that a report is about, in this order.
SIDES: tuple[Model, Model] = ("base", "tuned")

# In order. A stage needs no other before it, except that `evaluate` needs `train`.
STAGES = ("baseline", "train", "evaluate")
