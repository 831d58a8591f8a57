"""Finding the files of an official archive, and saying what was expected where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from backends.paths import cache_directory
from text2sql.errors import UserError
from text2sql.rows import SourceRow

# Names in a message.
SHOWN = 12
# What the Hub and the archives call one split.
SPLIT_ALIASES = {"validation": "dev", "train_others": "others"}


def fetched(name: str) -> Path:
    """Where `text2sql data fetch` puts a data set."""
    return cache_directory("data", name)


def archive_split(split: str, known: Iterable[str], data_set: str) -> str:
    """The name of a split in an archive, for the name that the user gave it.

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
    """Raise UserError for the row of that index (from 0) of a file if it lacks one of these columns."""
    missing = [name for name in names if name not in row]
    if missing:
        raise UserError(f"data.path: row {index + 1} of {file} has no {', '.join(missing)}; it has {', '.join(row)}.")


def find(directory: Path, names: Sequence[str], what: str) -> Path:
    """The first of these files or folders, in a directory or in a folder of it.

    Args:
        directory: Where an archive was unpacked.
        names: Names that versions of the archive give the same thing.
        what: What is looked for, for the message, for example ``"Spider's train split"``.

    Raises:
        UserError: None of them is there.
    """
    for name in names:
        places = [directory / name, *sorted(directory.glob(f"*/{name}"))]
        found = next((place for place in places if place.exists()), None)
        if found:
            return found
    wrong_layout(directory, f"{what}: {' or '.join(names)}, in it or in a folder of it")


def wrong_layout(directory: Path, expected: str) -> NoReturn:
    """Say what was expected in a directory and what was found (UserError)."""
    if not directory.is_dir():
        found = "there is no such directory"
    else:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in directory.iterdir())
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        found = f"found {', '.join(names[:SHOWN])}{more}" if names else "it is empty"
    raise UserError(f"data.path: {directory} should hold {expected}; {found}.")


def database(directory: Path, db_id: str) -> Path:
    """The SQLite file of a database in a directory of them, laid out as Spider and BIRD lay theirs out."""
    folder = directory / db_id
    return next(
        (f for f in (folder / f"{db_id}.sqlite", folder / f"{db_id}.db") if f.is_file()), folder / f"{db_id}.sqlite"
    )
