"""The two models of a run, by which its evaluations are called."""

from __future__ import annotations

from typing import Literal

Model = Literal["base", "tuned"]
# The two that a report is about, in this order.
SIDES: tuple[Model, Model] = ("base", "tuned")
