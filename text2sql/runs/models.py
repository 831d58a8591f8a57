"""The models of a run, which its evaluations are named after, and its stages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from text2sql.config import Config

# "start": the model that a run that learns from verdicts begins with, where that is another run's.
Model = Literal["base", "start", "tuned"]
MODELS: tuple[Model, ...] = ("base", "start", "tuned")
# The two models that a report compares, in this order.
SIDES: tuple[Model, Model] = ("base", "tuned")

# In order. A stage needs no other before it, except that `evaluate` needs `train`.
STAGES = ("baseline", "train", "evaluate")


def run_trains(config: Config, stages: Collection[str] = STAGES) -> bool:
    """Whether a run trains: its tuned model may also be an adapter that exists already."""
    return "train" in stages and config.evaluation.adapter is None
