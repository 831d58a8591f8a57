"""TensorBoard: writes event files into the run's directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from text2sql.trackers.tracker import AnswerTable, Cell

# Rows of a table, which TensorBoard can only display as text.
MAX_TABLE_ROWS = 100


class TensorBoardRun:
    """Event files in one directory; a resumed run adds another file, which TensorBoard reads as the same run.

    Args:
        directory: The run's directory.
    """

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        events_directory = directory / "tensorboard"
        self.id, self.is_new = events_directory.name, not events_directory.exists()
        self._writer = SummaryWriter(str(events_directory))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Adds scalars and flushes them, so that a run can be watched."""
        for key, value in numbers.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def add_table(self, table: AnswerTable, step: int) -> None:
        """Adds the first rows as text."""
        lines = [
            _markdown_row(table.columns),
            _markdown_row(["---"] * len(table.columns)),
            *map(_markdown_row, table.rows[:MAX_TABLE_ROWS]),
        ]
        if len(table.rows) > MAX_TABLE_ROWS:
            lines += ["", f"{MAX_TABLE_ROWS} of {len(table.rows)}; all are in predictions-{table.name}.jsonl."]
        self._writer.add_text(f"predictions/{table.name}", "\n".join(lines), step)

    def add_report(self, page: Path) -> None:
        """Adds the path of the report as text, because TensorBoard stores no files."""
        self._writer.add_text("report", f"`{page}`")

    def close(self, *, failed: bool) -> None:
        """Closes the file."""
        self._writer.close()


def _markdown_row(cells: Sequence[Cell]) -> str:
    texts = ["" if cell is None else str(cell) for cell in cells]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in texts) + " |"
