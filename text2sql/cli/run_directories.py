"""The commands on run directories: list, remove."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from text2sql.console import console, printable

app = typer.Typer(help="The runs of a directory: how far they are, what they came to, what they take.")


@app.callback(invoke_without_command=True)
def runs(context: typer.Context) -> None:
    """List the runs in runs/; `runs list DIRECTORY` those elsewhere."""
    if context.invoked_subcommand is None:
        list_runs()


@app.command("list")
def list_runs(
    directory: Annotated[Path, typer.Argument(help="Where the runs are, or the directories of sweeps.")] = Path("runs"),
) -> None:
    """List runs, the latest last."""
    from rich import box
    from rich.table import Table

    from text2sql.formats import MISSING, percent, size
    from text2sql.runs import listing

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("run", "state", "base", "tuned", "on disk", "written"):
        table.add_column(column, overflow="fold")
    listed = listing.list_runs(directory)
    for run in listed:
        headline = run.summary.headline if run.summary else None
        scores = [headline.base, headline.tuned] if headline else [None, None]
        modified = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.modified_at))
        accuracies = [percent(score.accuracy) if score else MISSING for score in scores]
        table.add_row(str(run.path), run.state, *accuracies, size(run.size), modified)
    if listed:
        console.print(table)
    console.print(f"{len(listed)} in {directory}, {size(sum(run.size for run in listed))} in all")


@app.command()
def remove(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove runs with all that is in them, checkpoints too."""
    from text2sql.runs.listing import check_removable, remove_run

    for run in runs:
        check_removable(run)
    if not yes:
        typer.confirm(printable(f"Remove {', '.join(map(str, runs))} for good?"), abort=True)
    for run in runs:
        remove_run(run)
        console.print(f"removed {run}", soft_wrap=True)
