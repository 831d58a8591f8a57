"""Downloads of a remote run's adapter as a PEFT directory."""

from __future__ import annotations

from pathlib import Path

from backends import open_backend
from backends.exporting import download_adapter
from backends.interface import BackendError
from backends.paths import directory_written_aside
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.session import close_service

# Directory of the adapter within that of the run.
ADAPTER = "adapter"


def download_run(directory: Path) -> Path:
    """Download the adapter of a run into ``RUN/adapter``, unless it is there.

    Raises:
        UserError: The run has no checkpoint, or the directory cannot be written.
        BackendError: The checkpoint cannot be downloaded; it may have expired.
    """
    from text2sql.export import ExportOptions, export_run

    target = directory / ADAPTER
    if target.is_dir():
        console.print(f"{target} is there already.")
        return target
    return export_run(directory, ExportOptions(output=target))


def download_path(path: str, target: Path) -> None:
    """Download an adapter from a Tinker server by its ``tinker://`` path, without a run.

    Raises:
        UserError: The directory exists already, or cannot be written.
        BackendError: The server cannot be reached, or has no such checkpoint.
    """
    if target.exists():
        raise UserError(f"--output: {target} exists already; give another directory, or remove it first.")
    service = open_backend("tinker")
    try:
        with directory_written_aside(target) as aside:
            download_adapter(service, path, aside)
    except OSError as error:
        raise UserError(f"--output: writing {target} failed: {error.strerror or error}. Nothing was kept.") from error
    finally:
        close_service(service, "success")
    console.print(f"Downloaded to {target}", soft_wrap=True)


def download_at_the_end(run: RunDirectory) -> None:
    """Download the adapter of a run that has just finished; a failure is printed, and the run counts as finished."""
    try:
        download_run(run.path)
    # The SDK raises ValueError for a response that it cannot parse.
    except (UserError, BackendError, ValueError, OSError) as error:
        console.print(f"The adapter was not downloaded: {error} `text2sql download {run.path}` tries again.")
