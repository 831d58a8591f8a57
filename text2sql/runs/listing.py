"""The runs in a directory: how far each is, its results, and its size on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from text2sql.errors import UserError
from text2sql.runs.claim import empty_run
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import predictions_file
from text2sql.runs.summary import Summary

# Levels of directories that are searched: the runs of a sweep are one level deeper than others.
_MAX_DEPTH = 2


@dataclass(frozen=True)
class ListedRun:
    """One run.

    Attributes:
        path: The run's directory.
        state: How far the run is, in words.
        summary: The run's results; None before the end of its first stage, or where the file cannot be read.
        size: Size of its files in bytes.
        modified_at: Time of the last change of its files, in seconds since 1970.
    """

    path: Path
    state: str
    summary: Summary | None
    size: int
    modified_at: float


def list_runs(directory: Path) -> list[ListedRun]:
    """The runs in a directory and in the directories within it, the latest last.

    Raises:
        UserError: There is no such directory.
    """
    if not directory.is_dir():
        raise UserError(f"There is no directory {directory}. Runs are made in runs/ unless output_dir says otherwise.")
    return sorted((list_run(path) for path in _runs(directory, _MAX_DEPTH)), key=lambda run: run.modified_at)


def check_removable(path: Path) -> None:
    """Raise UserError where there is no run to remove."""
    if not RunDirectory(path).file("config.yaml").is_file():
        raise UserError(f"{path} is not removed: there is no run in it.")


def remove_run(path: Path) -> None:
    """Remove a run's directory.

    Raises:
        UserError: It is no run, or another process has locked it.
    """
    check_removable(path)
    run = RunDirectory(path)
    run.lock()
    try:
        empty_run(run)
    finally:
        run.unlock()
    (path / ".lock").unlink(missing_ok=True)
    path.rmdir()


def _runs(directory: Path, depth: int) -> Iterator[Path]:
    if (directory / "config.yaml").is_file():
        yield directory
    elif depth:
        for entry in sorted(directory.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                yield from _runs(entry, depth - 1)


def list_run(path: Path) -> ListedRun:
    """One run; where its files cannot be read, its state says why."""
    files = [file.lstat() for file in path.rglob("*") if file.is_symlink() or file.is_file()]
    run = RunDirectory(path)
    try:
        summary = run.summary()
        state = _state(run, summary)
    except UserError as error:
        summary, state = None, f"damaged: {error}"
    return ListedRun(
        path=path,
        state=state,
        summary=summary,
        size=sum(file.st_size for file in files),
        modified_at=max((file.st_mtime for file in files), default=0.0),
    )


def _state(run: RunDirectory, summary: Summary | None) -> str:
    stages = set(summary.stages) if summary else set()
    if {"train", "evaluate"} <= stages:
        return "finished"
    if "train" in stages:
        return "trained, not evaluated"
    if "evaluate" in stages:
        # An adapter that was trained elsewhere.
        return "evaluated"
    if run.has_tuned_answers():
        return "trained, evaluation begun" if run.has_trained() else "evaluation begun"
    if run.has_trained():
        steps = [row.step for row in run.metrics()]
        return f"training, step {max(steps)}" if steps else "training begun"
    if stages:
        return "base model evaluated"
    if any(run.path.glob(predictions_file("*"))):
        return "evaluation of the base model begun"
    return "begun" if run.has_results() else "nothing yet"
