"""The commands on what runs have left: report, compare, download, bill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from text2sql.errors import UserError


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run directories, or one that holds several; RUN:base means the base model's answers of that run."
        ),
    ],
    html: Annotated[Path, typer.Option(help="The page to write.")] = Path("comparison.html"),
    show: Annotated[int, typer.Option(help="Disagreements of each kind to print.", min=0)] = 3,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")] = None,
    as_csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the common questions with all answers to this file.")
    ] = None,
) -> None:
    """Put finished runs side by side: configuration, loss, accuracy with paired tests, disagreements, time, cost."""
    from text2sql.compare import compare_runs

    compare_runs(runs, html, show, as_json=as_json, as_csv=as_csv)


def report(run: Annotated[Path, typer.Argument(help="The run's directory.")]) -> None:
    """Write a run's report.html and figures again, from the files of its directory."""
    from text2sql.console import console
    from text2sql.runs.directory import RunDirectory

    # Checked before the libraries for reports are loaded.
    if not RunDirectory(run).has_results():
        raise UserError(
            f"Nothing to report in {run}: no summary.json, metrics.jsonl or predictions. `text2sql run` makes them."
        )
    from text2sql.report.page import write_report

    console.print(f"Report: {write_report(run)}", markup=False, soft_wrap=True)


def download(
    run: Annotated[str, typer.Argument(help="The run's directory, or a tinker:// path.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With a tinker:// path: directory to make.")
    ] = None,
) -> None:
    """Fetch a remote run's adapter into RUN/adapter, or that of a tinker:// path, as a PEFT directory."""
    from backends.checkpoint_paths import SCHEME, CheckpointPath

    if run.startswith(SCHEME):
        if output is None:
            raise UserError(f"Say with --output where {run} is to go.")
        try:
            CheckpointPath.parse(run)
        except ValueError as error:
            raise UserError(f"{run} is no path of a checkpoint; they look like tinker://RUN/weights/NAME.") from error
        from backends import check_backend

        check_backend("tinker", None, None)
        from text2sql.pipeline.adapter_download import download_path

        download_path(run, output)
        return
    if output is not None:
        raise UserError("--output goes with a tinker:// path; a run's adapter goes into the run's directory.")
    from text2sql.pipeline.preflight import check_weights

    check_weights(Path(run))
    from text2sql.pipeline.adapter_download import download_run

    download_run(Path(run))


def bill(run: Annotated[Path, typer.Argument(help="The run's directory.")]) -> None:
    """Show what the Tinker service has billed for a run, next to the run's own count of tokens and cost."""
    from text2sql.pipeline.preflight import check_finished_run

    check_finished_run(run)
    from text2sql.commands.bill import print_bill

    print_bill(run)
