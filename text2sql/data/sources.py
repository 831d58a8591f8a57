"""Where examples come from: the bundled set, named data sets, files, the Hugging Face Hub."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from text2sql.config import DataConfig, expand_user
from text2sql.data.examples import Example
from text2sql.errors import UserError

FIELDS = ("question", "context", "answer")
OPTIONAL_FIELDS = ("id", "db", "db_id", "evidence")


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A data set known by name."""

    hub_id: str
    about: str
    columns: Mapping[str, str]


NAMED = {
    "sql-create-context": NamedSource(
        "b-mc2/sql-create-context",
        "78,577 questions on CREATE TABLE statements, from WikiSQL and Spider (CC-BY-4.0)",
        {},
    ),
}

Row = Mapping[str, Any]


def load_examples(data: DataConfig) -> list[Example]:
    """All rows of the configured source, as they are; `text2sql.data.clean` judges them.

    Raises:
        UserError: The file, the data set or a column is missing, or the file is malformed.
    """
    if data.source == "bundled":
        from text2sql.data.bundled import load_bundled

        return [*load_bundled("train"), *load_bundled("test")]
    named = NAMED.get(data.source)
    location = data.path or (named.hub_id if named else data.source)
    columns = {**(named.columns if named else {}), **data.columns}
    _check_columns(columns)
    path = expand_user(location)
    if data.path or path.suffix in READERS or path.exists():
        rows: Iterable[Row] = read_file(path)
        name = path.stem
    else:
        rows, name = _read_hub(location, data.hub_split), location
    examples = [_example(row, index, columns, name, location) for index, row in enumerate(rows)]
    if not examples:
        raise UserError(f"data: {location} has no rows.")
    return _with_unique_ids(examples)


def _with_unique_ids(examples: list[Example]) -> list[Example]:
    """Predictions are keyed by id: a column of ids that repeat is replaced by row numbers."""
    if len({e.id for e in examples}) == len(examples):
        return examples
    return [replace(e, id=f"{e.id}#{index}") for index, e in enumerate(examples)]


def _check_columns(columns: Mapping[str, str]) -> None:
    for field in columns:
        if field not in (*FIELDS, *OPTIONAL_FIELDS):
            raise UserError(
                f'data.columns: there is no field "{field}"; fields are {", ".join((*FIELDS, *OPTIONAL_FIELDS))}.'
            )


def _example(row: Any, index: int, columns: Mapping[str, str], name: str, location: str) -> Example:
    if not isinstance(row, Mapping):
        raise UserError(f"data.source: row {index + 1} of {location} is a {type(row).__name__}, not an object.")
    values: dict[str, str | None] = {}
    for field in FIELDS:
        column = columns.get(field, field)
        if column not in row:
            raise UserError(
                f'data.columns: {location} has no column "{column}" for {field} in row {index + 1}; it has '
                f"{', '.join(map(str, row))}. Map it with data.columns.{field}=NAME."
            )
        values[field] = _text(row[column])
    for field in OPTIONAL_FIELDS:
        value = row.get(columns.get(field, field))
        values[field] = None if value is None else str(value)
    values["id"] = values["id"] or f"{name}/{index}"
    return Example(**{field: value or "" if field in FIELDS else value for field, value in values.items()})  # type: ignore[arg-type]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def read_file(path: Path, what: str = "data") -> list[Row]:
    """The rows of a .json, .jsonl, .csv or .parquet file.

    Raises:
        UserError: It is missing or malformed; the message begins with `what` the file is for.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise UserError(f'{what}: "{path}" must end in {", ".join(READERS)}.')
    try:
        rows = list(reader(path))
    except FileNotFoundError as error:
        remedy = "; set data.path or data.source" if what == "data" else ""
        raise UserError(f"{what}: there is no file {path}{remedy}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what}: {path} cannot be read: {error}") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{what}: {path} is malformed: {error}") from error
    return rows


def _read_json(path: Path) -> Iterable[Row]:
    text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        return []
    values = json.loads(text)
    if not isinstance(values, list):
        raise ValueError("it must hold one JSON array of objects; one object a line is .jsonl")
    return values


def _read_jsonl(path: Path) -> Iterable[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error


def _read_csv(path: Path) -> Iterable[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:  # a spreadsheet puts a mark in front
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if None in row:
                raise ValueError(
                    f"line {reader.line_num} has more values than the header has columns; quote values with commas"
                )
            yield row


def _read_parquet(path: Path) -> Iterable[Row]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


READERS: dict[str, Callable[[Path], Iterable[Row]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _read_hub(location: str, split: str) -> Iterable[Row]:
    if location.count("/") != 1:
        import difflib

        known = ["bundled", *NAMED]
        near = difflib.get_close_matches(location, known, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise UserError(
            f'data.source: "{location}" is not a named source ({", ".join(known)}), not a file that exists, and not '
            f"a Hub id like owner/name.{hint}"
        )
    import datasets

    try:
        return datasets.load_dataset(location, split=split)
    except Exception as error:  # datasets raises many kinds for an absent set, split, network or licence
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f'data.source: the Hugging Face Hub did not give us "{location}" (split "{split}"): {reason}. Check the '
            "name, data.hub_split and the network, or give a downloaded file with data.path."
        ) from error
