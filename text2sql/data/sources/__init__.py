"""Where examples come from: the bundled set, known data sets in each of their forms, files, the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.paths import cache_directory
from text2sql.config import SourceConfig, expand_user
from text2sql.data.example import Example
from text2sql.data.sources import bird, spider, wikisql
from text2sql.data.sources.hub import read_hub
from text2sql.data.sources.layout import fetched, wrong_layout
from text2sql.data.sources.records import check_columns, to_examples
from text2sql.errors import UserError
from text2sql.rows import READERS, Row, read_rows

__all__ = ["NAMED", "NamedSource", "load_examples", "with_databases"]


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A data set known by name.

    Attributes:
        about: What it is, with its licence.
        hub_id: The data set on the Hub.
        revision: Branch of it.
        aliases: Columns that it names otherwise, by field.
        read_directory: Reads a split of its official archive.
        from_rows: Makes examples of rows whose form is its own.
    """

    about: str
    hub_id: str
    revision: str | None = None
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    read_directory: Callable[[Path, str], list[Example]] | None = None
    from_rows: Callable[[Iterable[Row], str, str], list[Example]] | None = None


NAMED = {
    "sql-create-context": NamedSource(
        "78,577 questions on CREATE TABLE statements, from WikiSQL and Spider (CC-BY-4.0)",
        "b-mc2/sql-create-context",
    ),
    "spider": NamedSource(
        "7,000 training and 1,034 dev questions on 166 databases (CC-BY-SA-4.0)",
        "xlangai/spider",
        aliases={"answer": ("query",)},
        read_directory=spider.read_directory,
    ),
    "bird": NamedSource(
        "9,428 training and 1,534 dev questions on large databases, with external knowledge (CC-BY-SA-4.0)",
        "birdsql/bird23-train-filtered",
        aliases={"answer": ("SQL", "query")},
        read_directory=bird.read_directory,
    ),
    "wikisql": NamedSource(
        "80,654 questions on single tables, structured queries made SQL (BSD-3-Clause)",
        "Salesforce/wikisql",
        revision="refs/convert/parquet",
        read_directory=wikisql.read_directory,
        from_rows=wikisql.from_rows,
    ),
    "wikisql-instruct": NamedSource(
        "WikiSQL as instruction, input and output: queries that do not run, repaired or refused (BSD-3-Clause)",
        "htriedman/wikisql",
        from_rows=wikisql.from_rows,
    ),
    "gretel": NamedSource(
        "100,000 training and 5,851 test questions, synthetic (Apache-2.0)",
        "gretelai/synthetic_text_to_sql",
        aliases={"question": ("sql_prompt",), "context": ("sql_context",), "answer": ("sql",)},
    ),
}


def load_examples(data: SourceConfig) -> list[Example]:
    """All rows of the configured source, as they are; `text2sql.data.clean` judges them.

    A named source is read from `path` (a file, or a directory in the official archive's layout), else from where
    `text2sql data fetch` puts it, else from the Hub.

    Raises:
        UserError: The file, the data set or a column is missing, or the file is malformed.
    """
    if data.source == "bundled":
        from text2sql.data.sources.bundled import load_bundled

        return [*load_bundled("train"), *load_bundled("test")]
    check_columns(data.columns)
    named = NAMED.get(data.source)
    directory = _archive(data, named)
    if directory is not None and named is not None and named.read_directory is not None:
        examples = named.read_directory(directory, data.hub_split)
    else:
        examples = _from_rows(data, named)
    if not examples:
        raise UserError(f"data: {directory or data.path or data.source} has no rows.")
    return _with_unique_ids(examples)


def _archive(data: SourceConfig, named: NamedSource | None) -> Path | None:
    """The directory of an official archive to read, if there is one."""
    if data.path:
        path = expand_user(data.path)
        if not path.is_dir():
            return None
        if named is None or named.read_directory is None:
            kinds = ", ".join(READERS)
            wrong_layout(path, f"nothing: {data.source} is read from one file ({kinds}); give the file")
        return path
    if named is not None and named.read_directory is not None and fetched(data.source).is_dir():
        return fetched(data.source)
    return None


def _from_rows(data: SourceConfig, named: NamedSource | None) -> list[Example]:
    location = data.path or (named.hub_id if named else data.source)
    path = expand_user(location)
    if data.path or path.suffix in READERS or path.exists():
        rows: Iterable[Row] = read_rows(path)
        name = path.stem
    else:
        rows = read_hub(location, data.hub_split, ["bundled", *NAMED], named.revision if named else None)
        name = location
    if named is not None and named.from_rows is not None and not data.columns:
        return named.from_rows(rows, name, location)
    databases = expand_user(data.databases) if data.databases else None
    if databases is not None and not databases.is_dir():
        raise UserError(f"data.databases: there is no directory {databases}.")
    return to_examples(rows, name, location, data.columns, named.aliases if named else {}, databases)


def with_databases(examples: Sequence[Example], data: SourceConfig) -> list[Example]:
    """The examples with databases to run on, where a source has them in another form than files (WikiSQL's tables)."""
    directory = _archive(data, NAMED.get(data.source)) if data.source == "wikisql" else None
    if directory is None:
        return list(examples)
    names = {e.db_id for e in examples if e.db_id}
    files = wikisql.build_databases(directory, data.hub_split, names, cache_directory("wikisql"))
    return [replace(e, db=str(files[e.db_id])) if e.db_id in files else e for e in examples]


def _with_unique_ids(examples: list[Example]) -> list[Example]:
    """Predictions are keyed by id: a column of ids that repeat is replaced by row numbers."""
    if len({e.id for e in examples}) == len(examples):
        return examples
    return [replace(e, id=f"{e.id}#{index}") for index, e in enumerate(examples)]
