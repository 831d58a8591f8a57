"""Finds the files of official archives, and says what was expected if they are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from backends.paths import cache_directory
from text2sql.errors import UserError
from text2sql.rows import SourceRow

# File names in a message.
MAX_NAMES = 12
# The archives' names for the Hub's names of splits.
SPLIT_ALIASES = {"validation": "dev", "train_others": "others"}


def fetch_directory(name: str) -> Path:
    """The directory where `text2sql data fetch` puts a data set."""
    return cache_directory("data", name)


def archive_split(split: str, known: Iterable[str], data_set: str) -> str:
    """The archive's name of a split.

    Args:
        split: `data.hub_split`.
        known: The splits that the archive has.
        data_set: Its title, for the message.

    Raises:
        UserError: The archive has no such split.
    """
    name = SPLIT_ALIASES.get(split, split)
    if name not in known:
        raise UserError(f'data.hub_split: {data_set} has the splits {", ".join(known)}, not "{split}".')
    return name


def check_row(row: SourceRow, names: Sequence[str], index: int, file: Path) -> None:
    """Raises UserError if a row of a file (index from 0) lacks one of the columns."""
    missing = [name for name in names if name not in row]
    if missing:
        raise UserError(f"data.path: row {index + 1} of {file} has no {', '.join(missing)}; it has {', '.join(row)}.")


def find_file(directory: Path, names: Sequence[str], what: str) -> Path:
    """Finds the first existing file or folder of the given names, in a directory or in a folder of it.

    Args:
        directory: The directory of the unpacked archive.
        names: The names in different versions of the archive.
        what: What is looked for, for the message, for example ``"Spider's train split"``.

    Raises:
        UserError: None of them exists.
    """
    for name in names:
        paths = [directory / name, *sorted(directory.glob(f"*/{name}"))]
        found = next((path for path in paths if path.exists()), None)
        if found:
            return found
    wrong_layout(directory, f"{what}: {' or '.join(names)}, in it or in a folder of it")


def wrong_layout(directory: Path, expected: str) -> NoReturn:
    """Raises UserError about what was expected in a directory and what was found."""
    if not directory.is_dir():
        found = "there is no such directory"
    else:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in directory.iterdir())
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        found = f"found {', '.join(names[:MAX_NAMES])}{more}" if names else "it is empty"
    raise UserError(f"data.path: {directory} should hold {expected}; {found}.")


def database_file(directory: Path, db_id: str) -> Path:
    """The SQLite file of a database, in the directory layout of Spider and BIRD."""
    folder = directory / db_id
    return next(
        (f for f in (folder / f"{db_id}.sqlite", folder / f"{db_id}.db") if f.is_file()), folder / f"{db_id}.sqlite"
    )
