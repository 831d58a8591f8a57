"""Rows of a local file: .json, .jsonl, .csv or .parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from text2sql.errors import UserError

Row = Mapping[str, Any]


def read_file(path: Path, what: str = "data") -> list[Row]:
    """The rows of a .json, .jsonl, .csv or .parquet file.

    Raises:
        UserError: It is missing or malformed; the message begins with `what` the file is for.
    """
    reader = READERS.get(path.suffix)
    if reader is None and not path.exists():
        raise UserError(f"{what}: there is no file or directory {path}.")
    if reader is None:
        raise UserError(f'{what}: "{path}" must end in {", ".join(READERS)}.')
    try:
        rows = list(reader(path))
    except FileNotFoundError as error:
        remedy = "; set data.path or data.source" if what == "data" else ""
        raise UserError(f"{what}: there is no file {path}{remedy}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: {path} is not a text file in UTF-8; save it as UTF-8 and try again.") from error
    except OSError as error:
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


KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def kind(value: Any) -> str:
    """What JSON calls a value, with its article."""
    return KINDS.get(type(value), "a number")


READERS: dict[str, Callable[[Path], Iterable[Row]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
