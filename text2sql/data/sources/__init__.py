"""Loads examples from named data sets, local files and the Hugging Face Hub.

- `named`: the data sets that are known by name; `bird`, `bundled`, `spider`, `wikisql`: readers of their own forms.
- `records`: rows as examples by the names of columns; `layout`: files of official archives; `hub`: the Hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from backends.paths import cache_directory
from text2sql.config import SourceConfig, expand_user
from text2sql.data.example import Example
from text2sql.data.sources.hub import read_hub
from text2sql.data.sources.layout import fetch_directory, wrong_layout
from text2sql.data.sources.named import NAMED, NamedSource, find_named
from text2sql.data.sources.records import check_columns, to_examples
from text2sql.errors import UserError
from text2sql.rows import READERS, SourceRow, names_table, read_rows
from text2sql.sql.files import databases_directory

__all__ = ["NAMED", "NamedSource", "find_named", "load_examples", "with_databases"]


def load_examples(data: SourceConfig) -> list[Example]:
    """Loads all rows of the configured source; `text2sql.data.clean` drops unusable ones.

    A named source is read from `path` (a file, or a directory in the layout of the official archive), else from where
    `text2sql data fetch` puts it, else from the Hub.

    Raises:
        UserError: The file, the data set or a column is missing, or the file is malformed.
    """
    named = NAMED.get(data.source)
    if named is not None and named.load is not None:
        return named.load()
    check_columns(data.columns)
    directory = _archive_directory(data, named)
    if directory is not None and named is not None and named.read_directory is not None:
        examples = named.read_directory(directory, data.hub_split)
    else:
        examples = _load_rows(data, named)
    if not examples:
        raise UserError(f"data: {directory or data.path or data.source} has no rows.")
    return _with_unique_ids(examples)


def with_databases(examples: Sequence[Example], data: SourceConfig) -> list[Example]:
    """Adds databases to examples of a source that has them in another form than files, such as WikiSQL's tables."""
    named = NAMED.get(data.source)
    if named is None or named.make_databases is None or (directory := _archive_directory(data, named)) is None:
        return list(examples)
    names = {e.db_id for e in examples if e.db_id}
    files = named.make_databases(directory, data.hub_split, names, cache_directory(data.source))
    return [replace(e, db=str(files[e.db_id])) if e.db_id in files else e for e in examples]


def _archive_directory(data: SourceConfig, named: NamedSource | None) -> Path | None:
    """The directory of the official archive, if there is one."""
    readable = named is not None and named.read_directory is not None
    if not data.path:
        return fetch_directory(data.source) if readable and fetch_directory(data.source).is_dir() else None
    path = expand_user(data.path)
    if not path.is_dir():
        return None
    if not readable:
        kinds = ", ".join(READERS)
        wrong_layout(path, f"nothing: {data.source} is read from one file ({kinds}); give the file")
    return path


def _load_rows(data: SourceConfig, named: NamedSource | None) -> list[Example]:
    """The rows of a file or of the Hub as examples."""
    location = data.path or (named.hub_id if named else None) or data.source
    path = expand_user(location)
    if data.path or names_table(path) or path.exists():
        rows: Iterable[SourceRow] = read_rows(path)
        name = path.stem
    else:
        rows = read_hub(location, data.hub_split, [*NAMED], named.revision if named else None)
        name = location
    if named is not None and named.from_rows is not None and not data.columns:
        return named.from_rows(rows, name, location)
    databases = expand_user(data.databases) if data.databases else None
    if databases is not None and not databases.is_dir():
        raise UserError(f"data.databases: there is no directory {databases}.")
    databases = databases and databases_directory(databases)
    return to_examples(rows, name, location, data.columns, named.aliases if named else {}, databases)


def _with_unique_ids(examples: list[Example]) -> list[Example]:
    """Appends row numbers to ids that are not unique, because predictions are keyed by id."""
    if len({e.id for e in examples}) == len(examples):
        return examples
    return [replace(e, id=f"{e.id}#{index}") for index, e in enumerate(examples)]
