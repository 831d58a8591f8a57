"""Carries out the runs of a sweep one after another, and shows what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends.interface import BackendError
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.claim import differences
from text2sql.runs.directory import RunDirectory
from text2sql.sweep.plan import PlannedRun


def run_sweep(runs: Sequence[PlannedRun]) -> Path:
    """Carry out what is not finished, then print and write the table of all that is.

    A run that fails does not keep the others from running.

    Returns:
        The table's file, ``sweep.json`` in the directory of the sweep.

    Raises:
        UserError: A run failed, or two runs would share a directory; what was finished is kept, and the same command
            goes on.
    """
    places = [run.config.directory for run in runs]
    if len(set(places)) < len(places):
        raise UserError("Two runs of this sweep would have the same directory; run them as two sweeps.")
    failed: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        console.rule(f"run {number} of {len(runs)}: {run.label}")
        if _finished(run):
            console.print(f"Finished already: {run.config.directory}")
            continue
        try:
            run_pipeline(run.config)
        except (UserError, BackendError) as error:
            if number == 1 and not RunDirectory(run.config.directory).has_results():
                # What stops a run before its first result stops all of them.
                raise
            failed[run.label] = str(error)
            console.print(f"Failed: {error}", style="red")
    finished = [run for run in runs if run.label not in failed]
    if finished:
        # Statistics take a second to load, and what is wrong with a sweep is to be said before.
        from text2sql.sweep.table import gather, print_table, write_table

        results = gather(finished)
        print_table(results)
        written = write_table(results, places[0].parent)
        console.print(f"Table: {written}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed: "
            + "; ".join(f"{label}: {reason}" for label, reason in failed.items())
            + " What was finished is kept; the same command tries the failed ones again."
        )
    return written


def _finished(run: PlannedRun) -> bool:
    directory = RunDirectory(run.config.directory)
    return {"train", "evaluate"} <= directory.stages() and not any(
        change.about.changes != "reports" for change in differences(directory, run.config)
    )
