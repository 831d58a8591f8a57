"""What every experiment tracker can do, as far as a run needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Cell = str | float | bool | None


@dataclass(frozen=True)
class AnswerTable:
    """The predictions of one evaluation, as rows to look at.

    Attributes:
        name: The evaluation's label.
        columns: Their names.
        rows: The cells of each row, in the order of `columns`.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Tracker(Protocol):
    """One run in an experiment tracker.

    Attributes:
        id: By which the tracker finds the run again.
        is_new: Whether it has nothing of this run yet.
    """

    id: str
    is_new: bool

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Send numbers of an optimiser step."""

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Send a table, in the place of an earlier one of its name."""

    def add_report(self, page: Path) -> None:
        """Send the run's report."""

    def close(self, *, failed: bool) -> None:
        """Send what is left, and say how the run has ended."""
