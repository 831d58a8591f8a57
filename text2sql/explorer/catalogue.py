"""What a directory holds that can be looked at: its runs, and in a sentence each what is none or is damaged."""

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

# Directories within directories that are searched: those of a sweep lie one deeper than others.
_DEPTH = 2
_MARKS = ("config.yaml", SUMMARY, METRICS)
# A directory that is no run is named up to N times.
_MOST_OTHERS = 50


@dataclass(frozen=True)
class Entry:
    """One line of the list of runs.

    Attributes:
        id: Its directory, relative to the one that is shown; ``.`` for that itself.
        name: Of the run, else of its directory.
        state: How far it is, in words; empty for what is no run.
        problem: What is wrong with it, in a sentence; empty if nothing is.
        base_model: As its backend calls it; empty where it is not known.
        base: Execution accuracy of the base model.
        tuned: Of the tuned one.
        size: Bytes of its files.
        written: When its files were last written, in seconds since 1970.
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
        directory: Where they are; it may be a run itself.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # By path, with what its files looked like then: looking into every run each few seconds takes long.
        self._known: dict[Path, tuple[object, Entry]] = {}

    def entries(self) -> list[Entry]:
        """Everything that can be looked at, the latest first, then what is no run.

        Raises:
            UserError: The directory cannot be read.
        """
        try:
            found = list(_directories(self.directory, _DEPTH))
        except OSError as error:
            raise UserError(f"{self.directory} cannot be read: {error.strerror or error}.") from error
        listed = [self._entry(path) for path in found]
        runs = sorted((entry for entry in listed if entry.state), key=lambda entry: -entry.written)
        others = [entry for entry in listed if not entry.state]
        return [*runs, *others[:_MOST_OTHERS]]

    def path(self, id: str) -> Path:
        """The directory of a run.

        Raises:
            UserError: There is no such run in the directory that is shown.
        """
        # An id comes from an address that anybody may have written.
        names = [] if id == "." else id.split("/")
        path, inside = self.directory, not is_run(self.directory)
        for place, name in enumerate(names):
            path = path / name
            hidden = not name or name.startswith(".")
            # What is in a run is no run.
            inside = inside and not hidden and path.is_dir() and not path.is_symlink()
            inside = inside and (place == len(names) - 1 or not is_run(path))
        if (inside or not names) and len(names) <= _DEPTH and is_run(path):
            return path
        raise UserError(f'There is no run "{id}" in {self.directory}; it may have been moved or removed.')

    def _id(self, path: Path) -> str:
        return path.relative_to(self.directory).as_posix()

    def _entry(self, path: Path) -> Entry:
        try:
            looks = _looks(path)
            known = self._known.get(path)
            if known is None or known[0] != looks:
                known = self._known[path] = (looks, self._look_into(path))
            return known[1]
        except OSError as error:
            return Entry(self._id(path), path.name, "", f"It cannot be read: {error.strerror or error}.")

    def _look_into(self, path: Path) -> Entry:
        id, name = self._id(path), path.resolve().name
        if not is_run(path):
            return Entry(id, name, "", f"No run: it has none of {', '.join(_MARKS)} and {predictions_file('LABEL')}.")
        return _of(id, name, path, list_run(path))


def _of(id: str, name: str, path: Path, run: ListedRun) -> Entry:
    damage = run.state.startswith("damaged: ")
    summary = run.summary
    headline = summary.headline if summary else None
    return Entry(
        id=id,
        name=summary.name if summary else name,
        state="damaged" if damage else run.state,
        # Which run it is stands next to it.
        problem=run.state.removeprefix("damaged: ").replace(f"{path}/", "") if damage else "",
        base_model=summary.base_model if summary else "",
        base=headline.base if headline else None,
        tuned=headline.tuned if headline else None,
        size=run.size,
        written=run.modified_at,
    )


def is_run(path: Path) -> bool:
    """Whether a directory has something of a run in it."""
    return any((path / name).is_file() for name in _MARKS) or any(path.glob(predictions_file("*")))


def stamps(path: Path) -> dict[str, str]:
    """What each plain file of a run looks like from outside; one that has changed looks different.

    A link may lead anywhere, and a pipe would be waited for.
    """
    found = {}
    with os.scandir(path) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and entry.name.endswith((".jsonl", ".json", ".yaml", ".html")):
                found[entry.name] = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    return found


def _looks(path: Path) -> object:
    return stamps(path), path.stat().st_mtime_ns


def _directories(directory: Path, depth: int) -> Iterator[Path]:
    """Runs, and the directories that hold no run although they are next to some."""
    if is_run(directory):
        yield directory
        return
    with os.scandir(directory) as entries:
        # A link may lead anywhere, and a hidden directory is somebody else's.
        inner = sorted(e.name for e in entries if stat.S_ISDIR(_mode(e)) and not e.name.startswith("."))
    found = False
    for name in inner if depth else ():
        try:
            for path in _directories(directory / name, depth - 1):
                found = True
                yield path
        except OSError:
            yield directory / name
    if not found and depth < _DEPTH:
        yield directory


def _mode(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return 0
