"""The commands on what runs have left: compare, download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories; RUN:base means the base model's answers of that run.")
    ],
    html: Annotated[Path, typer.Option(help="The page to write.")] = Path("comparison.html"),
    show: Annotated[int, typer.Option(help="Disagreements of each kind to print.", min=0)] = 3,
) -> None:
    """Put finished runs side by side: configuration, loss, accuracy with paired tests, disagreements, time, cost."""
    from text2sql.compare import compare_runs

    compare_runs(runs, html, show)


def download(run: Annotated[Path, typer.Argument(help="The run's directory.")]) -> None:
    """Fetch a remote run's adapter into RUN/adapter, as a PEFT directory."""
    from text2sql.pipeline.adapter_download import download_run

    download_run(run)
