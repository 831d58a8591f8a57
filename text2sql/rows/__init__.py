"""Reads rows from .json, .jsonl, .csv and .parquet files, for the whole project.

Rows are mappings from column to value. `read_jsonl` also gives line numbers, for files that a run appends to.

- `csv_tables`: CSV files with any delimiter; `encodings`: text files in any usual encoding; `files`: what a path is;
  `json_text`: JSON without repeated keys; `values`: cells as text.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from text2sql.errors import UserError
from text2sql.rows.csv_tables import read_csv_with_warning
from text2sql.rows.encodings import read_text
from text2sql.rows.files import check_is_file, special_kind
from text2sql.rows.json_text import parse_json
from text2sql.rows.values import json_kind

SourceRow = Mapping[str, Any]
# What a line without a value may hold: spaces, its end, and the bytes of a mark of UTF-8.
_BLANK = b" \t\r\n" + codecs.BOM_UTF8
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


def names_table(path: Path) -> bool:
    """Whether a file's suffix is that of a table, including spreadsheets, which are not supported."""
    return path.suffix.casefold() in (*READERS, *SPREADSHEETS)


def check_present(path: Path, what: str) -> None:
    """Raises UserError if a path is missing, no file, a spreadsheet or empty; `what` as for `read_rows`."""
    if not path.exists():
        remedy = "; set data.path or data.source" if what == "data" else ""
        raise UserError(f"{what}: there is no file {path}{remedy}.")
    # Some programs write a table in parquet as a directory of parts.
    is_in_parts = path.is_dir() and path.suffix.casefold() == ".parquet"
    if (kind := special_kind(path)) is not None and not is_in_parts:
        raise UserError(f"{what}: {path} is {kind}, not a file.")
    _reader(path, what)
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{what}: {path} has no rows.")


def _reader(path: Path, what: str) -> Callable[[Path], Iterator[SourceRow]]:
    """The reader for a file's suffix (UserError if there is none)."""
    suffix = path.suffix.casefold()
    if suffix not in READERS:
        advice = " Save the sheet as CSV." if suffix in SPREADSHEETS else ""
        raise UserError(f'{what}: "{path}" must end in {", ".join(READERS)}.{advice}')
    return READERS[suffix]


def read_rows(path: Path, what: str = "data") -> list[SourceRow]:
    """The rows of a .json, .jsonl, .csv or .parquet file.

    Args:
        path: The file; its suffix determines the format.
        what: The configuration's section or the option that names the file, for messages.

    Raises:
        UserError: The file is missing or malformed; the message starts with `what` and names the file and the line.
    """
    if not names_table(path) and not path.exists():
        raise UserError(f"{what}: there is no file or directory {path}.")
    check_present(path, what)
    reader = _reader(path, what)
    try:
        return list(reader(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: {path} is not a text file in UTF-8; save it as UTF-8 and try again.") from error
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what}: {path} is malformed: {error}") from error


def read_jsonl(
    path: Path, *, appended: bool = False, skipped: list[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers, from 1; blank lines are skipped.

    Args:
        path: The file.
        appended: Whether a process appends to it. Text after the last newline that is no whole object is then an
            interrupted write, and is skipped.
        skipped: If given, malformed lines are skipped, and a message about each is appended to this list.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not a JSON object; the message starts with ``line N``.
    """
    check_is_file(path)
    with path.open("rb") as file:
        # Lines are split as bytes: a JSON text may contain U+2028 and similar characters, and an interrupted write may
        # end within a character.
        for number, line in enumerate(file, start=1):
            if not line.strip(_BLANK) or (appended and not line.endswith(b"\n") and not is_object(line)):
                continue
            try:
                row = _parse_line(line, number)
            except ValueError as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
            else:
                yield number, row


def is_object(line: bytes) -> bool:
    """Whether a line is a whole JSON object: one that only its newline is missing of was written to its end."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse_line(line: bytes, number: int) -> dict[str, Any]:
    try:
        # The first line may start with a byte-order mark.
        value = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number} is not text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"line {number} is {json_kind(value)}, not an object")
    return value


def dump_jsonl(rows: Iterable[SourceRow]) -> str:
    """Rows as the text of a JSON Lines file, without escapes of non-ASCII characters."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read_json(path: Path) -> Iterator[SourceRow]:
    text = _json_text(path)
    values = parse_json(text) if text.strip() else []
    if not isinstance(values, list):
        raise ValueError("it must hold one JSON array of objects; one object a line is .jsonl")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise ValueError(f"row {number} is {json_kind(value)}, not an object")
        yield value


def _read_jsonl(path: Path) -> Iterator[SourceRow]:
    with path.open("rb") as file:
        start = file.read(4)
    if _is_wide(start):
        lines = _json_text(path).split("\n")
        return (_parse_line(line.encode(), number) for number, line in enumerate(lines, start=1) if line.strip())
    return (row for _, row in read_jsonl(path))


def _json_text(path: Path) -> str:
    """The text of a JSON file: UTF-8, as the standard requires, or UTF-16 or UTF-32, as programs on Windows write."""
    raw = path.read_bytes()
    return read_text(path) if _is_wide(raw[:4]) else raw.decode("utf-8-sig")


def _is_wide(start: bytes) -> bool:
    """Whether the first bytes of a JSON text are of UTF-16 or UTF-32: a mark, or the zeros of ASCII characters."""
    return start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start


def _read_csv(path: Path) -> Iterator[SourceRow]:
    return read_csv_with_warning(path).records()


def _read_parquet(path: Path) -> Iterator[SourceRow]:
    import pyarrow.parquet

    return iter(pyarrow.parquet.read_table(path).to_pylist())


READERS: dict[str, Callable[[Path], Iterator[SourceRow]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
