"""Comparison of finished runs, on the terminal and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from text2sql.console import console
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.outputs import Output, check_outputs


def compare_runs(
    names: Sequence[str], output: Path, max_printed: int, *, as_json: Path | None = None, as_csv: Path | None = None
) -> Path:
    """Print a comparison of runs and write its page.

    Args:
        names: Two or more run directories, each with an optional ``:base`` or ``:tuned`` to select the model. A
            directory of runs, such as a sweep's, stands for all of them.
        output: The HTML file.
        max_printed: How many disagreements of each kind to print; the page has more.
        as_json: A file for the numbers, if wanted.
        as_csv: A file for the common questions with all answers, if wanted.

    Returns:
        The HTML file.

    Raises:
        UserError: There are fewer than two runs, one has no predictions, or the file cannot be written.
    """
    names = [run for name in names for run in _answered(name)]
    check_run_count(names)
    # Imported here, as these modules load the libraries for statistics and figures.
    from text2sql.compare.entries import load_entries
    from text2sql.compare.files import is_numbers, is_questions, write_csv, write_json
    from text2sql.compare.page import is_page, write_page
    from text2sql.compare.paired import compare
    from text2sql.compare.terminal import print_comparison

    check_outputs(
        [
            Output("--html", output, is_page),
            *([Output("--json", as_json, is_numbers)] if as_json else []),
            *([Output("--csv", as_csv, is_questions)] if as_csv else []),
        ],
        inputs=(),
    )
    comparison = compare(load_entries(names))
    if as_json:
        write_json(comparison, as_json)
    if as_csv:
        write_csv(comparison, as_csv)
    print_comparison(comparison, max_printed)
    return write_page(comparison, output)


def _answered(name: str) -> list[str]:
    """The runs that a name stands for; of a directory of runs, those without answers yet are named and left out."""
    runs = _runs_within(name)
    if runs == [name]:
        return runs
    answered = [run for run in runs if (directory := RunDirectory(Path(run))).count_answered(directory.compared_side())]
    if left_out := [run for run in runs if run not in answered]:
        console.print(f"Left out, as they are not finished: {', '.join(left_out)}.", markup=False, soft_wrap=True)
    return answered


def _runs_within(name: str) -> list[str]:
    """The runs in a directory of runs; the name itself if it is anything else."""
    path = Path(name)
    if not path.is_dir() or (path / "config.yaml").is_file():
        return [name]
    return sorted(str(entry) for entry in path.iterdir() if (entry / "config.yaml").is_file()) or [name]


def check_run_count(names: Sequence[str]) -> None:
    """Raise UserError if there are fewer than two runs."""
    if len(names) < 2:
        raise UserError("Name at least two runs to compare; RUN:base is the base model of a run.")
