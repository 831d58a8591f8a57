"""The models of a run, after which its evaluations are named, and its stages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from text2sql.config import Config

# "start": the initial weights of a run that learns from verdicts, where these are another run's model.
Model = Literal["base", "start", "tuned"]
MODELS: tuple[Model, ...] = ("base", "start", "tuned")
# The two models that a report compares, in this order.
SIDES: tuple[Model, Model] = ("base", "tuned")

# The stages of a run, in order. Each can be carried out alone, except that `evaluate` needs `train`.
STAGES = ("baseline", "train", "evaluate")


def run_trains(config: Config, stages: Collection[str] = STAGES) -> bool:
    """Whether a run trains: its tuned model may also be an adapter that exists already."""
    return "train" in stages and config.evaluation.adapter is None
