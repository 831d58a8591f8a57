"""The interface of an experiment tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Cell = str | float | bool | None


@dataclass(frozen=True)
class AnswerTable:
    """The predictions of one evaluation, as a table for display.

    Attributes:
        name: The evaluation's label.
        columns: The names of the columns.
        rows: The cells of each row, in the order of `columns`.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Tracker(Protocol):
    """One run in an experiment tracker.

    Attributes:
        id: The tracker's identifier of the run.
        is_new: Whether the tracker has no data of this run yet.
    """

    id: str
    is_new: bool

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends the numbers of an optimiser step."""

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Sends a table, which replaces an earlier one of the same name."""

    def add_report(self, page: Path) -> None:
        """Sends the run's report."""

    def close(self, *, failed: bool) -> None:
        """Sends the remaining data and the final status of the run."""
