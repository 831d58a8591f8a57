"""Carries out the runs of a sweep one after another, and prints their results."""

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
    """Carry out the runs that are not finished, then print and write the table of all finished ones.

    If a run fails, the others are carried out all the same.

    Returns:
        The table's file, ``sweep.json`` in the directory of the sweep.

    Raises:
        UserError: A run failed, or two runs would share a directory; what was finished is kept, and the same command
            goes on.
    """
    directories = [run.config.directory for run in runs]
    if len(set(directories)) < len(directories):
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
                # An error before the first result would stop all of the runs.
                raise
            failed[run.label] = str(error)
            console.print(f"Failed: {error}", style="red")
    finished = [run for run in runs if run.label not in failed]
    if finished:
        # Imported here, as the statistics take a second to load, which errors in the sweep must not wait for.
        from text2sql.sweep.table import gather, print_table, write_table

        results = gather(finished)
        print_table(results)
        table = write_table(results, directories[0].parent)
        console.print(f"Table: {table}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed: "
            + "; ".join(f"{label}: {reason}" for label, reason in failed.items())
            + " What was finished is kept; the same command tries the failed ones again."
        )
    return table


def _finished(run: PlannedRun) -> bool:
    directory = RunDirectory(run.config.directory)
    return {"train", "evaluate"} <= directory.stages() and not any(
        change.about.changes != "reports" for change in differences(directory, run.config)
    )
