"""TensorBoard: event files in the run's directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from text2sql.trackers.tracker import AnswerTable, Cell

# TensorBoard has no tables, only text, and a page of text is no place for thousands of rows.
SHOWN = 100


class TensorBoardRun:
    """Event files in one directory; a start that goes on adds another file there, which TensorBoard reads as one run.

    Args:
        directory: Of the run.
    """

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = directory / "tensorboard"
        self.id, self.is_new = place.name, not place.exists()
        self._writer = SummaryWriter(str(place))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Add scalars, and flush them, so that a run can be watched."""
        for key, value in numbers.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Add the first rows as text."""
        lines = [_line(table.columns), _line(["---"] * len(table.columns)), *map(_line, table.rows[:SHOWN])]
        if len(table.rows) > SHOWN:
            lines += ["", f"{SHOWN} of {len(table.rows)}; all are in predictions-{table.name}.jsonl."]
        self._writer.add_text(f"predictions/{table.name}", "\n".join(lines), step)

    def add_report(self, page: Path) -> None:
        """Say where the report is: TensorBoard keeps no files."""
        self._writer.add_text("report", f"`{page}`")

    def close(self, *, failed: bool) -> None:
        """Close the file."""
        self._writer.close()


def _line(cells: Sequence[Cell]) -> str:
    shown = ["" if cell is None else str(cell) for cell in cells]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in shown) + " |"
