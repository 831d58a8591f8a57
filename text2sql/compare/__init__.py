"""Finished runs side by side, on the terminal and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from text2sql.errors import UserError


def compare_runs(
    names: Sequence[str], output: Path, shown: int, *, as_json: Path | None = None, as_csv: Path | None = None
) -> Path:
    """Print a comparison of runs and write its page.

    Args:
        names: Two or more runs: directories, each with ``:base`` or ``:tuned`` behind it to say which model is meant. A
            directory of runs, such as a sweep's, stands for all of them.
        output: The HTML file.
        shown: How many of the disagreements to print; the page has more.
        as_json: Where to write the numbers, if anywhere.
        as_csv: Where to write the common questions with everybody's answers, if anywhere.

    Returns:
        The HTML file.

    Raises:
        UserError: There are fewer than two runs, one has no predictions, or the file cannot be written.
    """
    names = [run for name in names for run in _runs_within(name)]
    check_number(names)
    # What follows loads the libraries of statistics and of figures.
    from text2sql.compare.entries import load_entries
    from text2sql.compare.files import write_csv, write_json
    from text2sql.compare.page import write_page
    from text2sql.compare.paired import compare
    from text2sql.compare.terminal import print_comparison

    comparison = compare(load_entries(names))
    if as_json:
        write_json(comparison, as_json)
    if as_csv:
        write_csv(comparison, as_csv)
    print_comparison(comparison, shown)
    return write_page(comparison, output)


def _runs_within(name: str) -> list[str]:
    """The runs in a directory that is none itself; else what was named."""
    path = Path(name)
    if not path.is_dir() or (path / "config.yaml").is_file():
        return [name]
    return sorted(str(entry) for entry in path.iterdir() if (entry / "config.yaml").is_file()) or [name]


def check_number(names: Sequence[str]) -> None:
    """Raise UserError if there is nothing to compare."""
    if len(names) < 2:
        raise UserError("Name at least two runs to compare; RUN:base is the base model of a run.")
