"""Finished runs side by side, on the terminal and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def compare_runs(names: Sequence[str], output: Path, shown: int) -> Path:
    """Print a comparison of runs and write its page.

    Args:
        names: Two or more runs: directories, each with ``:base`` or ``:tuned`` behind it to say which model is meant.
        output: The HTML file.
        shown: How many of the disagreements to print; the page has more.

    Returns:
        The HTML file.

    Raises:
        UserError: There are fewer than two runs, one has no predictions, or the file cannot be written.
    """
    from text2sql.compare.entries import load_entries
    from text2sql.compare.page import write_page
    from text2sql.compare.paired import compare
    from text2sql.compare.terminal import print_comparison

    comparison = compare(load_entries(names))
    print_comparison(comparison, shown)
    return write_page(comparison, output)
