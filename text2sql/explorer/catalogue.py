"""The list of runs in a directory, with a sentence on each directory that is damaged or not a run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from text2sql.errors import UserError
from text2sql.runs.listing import ListedRun, list_run
from text2sql.runs.records import METRICS, predictions_file
from text2sql.runs.summary import SUMMARY, Score

# Levels of directories that are searched; the runs of a sweep are one level deeper than others.
_MAX_DEPTH = 2
_RUN_FILES = ("config.yaml", SUMMARY, METRICS)
# Directories that are not runs in the list.
_MAX_OTHERS = 50


@dataclass(frozen=True)
class Entry:
    """An entry of the list of runs.

    Attributes:
        id: The run's directory, relative to the listed one; ``.`` for that itself.
        name: The name of the run, or of the directory.
        state: The run's progress in words; empty for a directory that is not a run.
        problem: A sentence on what is wrong; empty if nothing is.
        base_model: The backend's name of the base model; empty if unknown.
        base: The execution accuracy of the base model.
        tuned: The execution accuracy of the tuned model.
        size: The size of its files in bytes.
        written: The time of the last write to its files, in seconds since 1970.
    """

    id: str
    name: str
    state: str
    problem: str = ""
    base_model: str = ""
    base: Score | None = None
    tuned: Score | None = None
    size: int = 0
    written: float = 0.0


class Catalogue:
    """The runs in a directory and in the directories within it.

    Args:
        directory: The directory; it may be a run itself.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # By path, with the fingerprint of the files: reading every run each few seconds would take too long.
        self._cache: dict[Path, tuple[object, Entry]] = {}

    def entries(self) -> list[Entry]:
        """The runs, the latest first, then the directories that are not runs.

        Raises:
            UserError: The directory cannot be read.
        """
        try:
            directories = list(_find_directories(self.directory, _MAX_DEPTH))
        except OSError as error:
            raise UserError(f"{self.directory} cannot be read: {error.strerror or error}.") from error
        entries = [self._entry(path) for path in directories]
        runs = sorted((entry for entry in entries if entry.state), key=lambda entry: -entry.written)
        others = [entry for entry in entries if not entry.state]
        return [*runs, *others[:_MAX_OTHERS]]

    def path(self, id: str) -> Path:
        """The directory of a run.

        Raises:
            UserError: There is no such run in the directory.
        """
        # The id comes from a URL that anybody may have written.
        names = [] if id == "." else id.split("/")
        path, is_valid = self.directory, not is_run(self.directory)
        for index, name in enumerate(names):
            path = path / name
            is_hidden = not name or name.startswith(".")
            # A directory within a run is not a run.
            is_valid = is_valid and not is_hidden and path.is_dir() and not path.is_symlink()
            is_valid = is_valid and (index == len(names) - 1 or not is_run(path))
        if (is_valid or not names) and len(names) <= _MAX_DEPTH and is_run(path):
            return path
        raise UserError(f'There is no run "{id}" in {self.directory}; it may have been moved or removed.')

    def _id(self, path: Path) -> str:
        return path.relative_to(self.directory).as_posix()

    def _entry(self, path: Path) -> Entry:
        try:
            fingerprint = _fingerprint(path)
            cached = self._cache.get(path)
            if cached is None or cached[0] != fingerprint:
                cached = self._cache[path] = (fingerprint, self._read_entry(path))
            return cached[1]
        except OSError as error:
            return Entry(self._id(path), path.name, "", f"It cannot be read: {error.strerror or error}.")

    def _read_entry(self, path: Path) -> Entry:
        id, name = self._id(path), path.resolve().name
        if not is_run(path):
            return Entry(
                id, name, "", f"No run: it has none of {', '.join(_RUN_FILES)} and {predictions_file('LABEL')}."
            )
        return _run_entry(id, name, path, list_run(path))


def _run_entry(id: str, name: str, path: Path, run: ListedRun) -> Entry:
    is_damaged = run.state.startswith("damaged: ")
    summary = run.summary
    headline = summary.headline if summary else None
    return Entry(
        id=id,
        name=summary.name if summary else name,
        state="damaged" if is_damaged else run.state,
        # The page shows the run's name next to it.
        problem=run.state.removeprefix("damaged: ").replace(f"{path}/", "") if is_damaged else "",
        base_model=summary.base_model if summary else "",
        base=headline.base if headline else None,
        tuned=headline.tuned if headline else None,
        size=run.size,
        written=run.modified_at,
    )


def is_run(path: Path) -> bool:
    """Whether a directory contains a file of a run."""
    return any((path / name).is_file() for name in _RUN_FILES) or any(path.glob(predictions_file("*")))


def stamps(path: Path) -> dict[str, str]:
    """A stamp of each regular file of a run, which changes when the file does.

    Links are left out because they may lead anywhere, and pipes because reading one would block.
    """
    result = {}
    with os.scandir(path) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and entry.name.endswith((".jsonl", ".json", ".yaml", ".html")):
                result[entry.name] = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    return result


def _fingerprint(path: Path) -> object:
    return stamps(path), path.stat().st_mtime_ns


def _find_directories(directory: Path, depth: int) -> Iterator[Path]:
    """The runs, and the directories next to them that contain no run."""
    if is_run(directory):
        yield directory
        return
    with os.scandir(directory) as entries:
        # Links may lead anywhere, and hidden directories belong to other programs.
        names = sorted(e.name for e in entries if stat.S_ISDIR(_mode(e)) and not e.name.startswith("."))
    has_run = False
    for name in names if depth else ():
        try:
            for path in _find_directories(directory / name, depth - 1):
                has_run = True
                yield path
        except OSError:
            yield directory / name
    if not has_run and depth < _MAX_DEPTH:
        yield directory


def _mode(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return 0
