"""Reads tables in CSV files, for the whole project.

The standard library parses the cells; this module finds the delimiter. `csv.Sniffer` uses letter frequencies, may take
any quote or letter for a delimiter, and is wrong on lists in brackets and on texts with commas.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from text2sql.rows.encodings import decode
from text2sql.rows.files import read_bytes

LOG = logging.getLogger(__name__)

DELIMITERS = (",", ";", "\t", "|")
# A cell may be a whole schema, which is larger than the parser's default limit of 131,072 characters.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class CsvTable:
    """A CSV table, which is parsed when its rows are read.

    Attributes:
        header: The stripped names in the first line; empty for an empty file.
        text: The file's text.
        delimiter: The delimiter of the cells.
        skip_space: Whether a space may precede a quoted cell.
        strict: Whether the closing quote must end the cell.
        note: A note for the user on how the file was read; empty if there is none.
    """

    header: list[str]
    text: str
    delimiter: str
    skip_space: bool
    strict: bool
    note: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows after the header, each with the number of its last line; blank lines are skipped.

        Raises:
            ValueError: A row is malformed; the message begins with ``line N``.
        """
        rows = _parse(self.text, self.delimiter, self.skip_space, self.strict)
        next(rows, None)
        return rows

    def records(self) -> Iterator[dict[str, str | None]]:
        """The rows as mappings from the header's names; missing cells of short rows are None.

        Raises:
            ValueError: A row is malformed or has more cells than the header, or a name is in the header twice.
        """
        names = [name for name in self.header if name]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"line 1 names a column twice ({', '.join(duplicates)}); rename or delete one")
        for line, row in self.rows():
            if len(row) > len(self.header):
                raise ValueError(
                    f"line {line} has more values than the header has columns ({len(row)}, {len(self.header)}); quote "
                    f"values that hold {self.delimiter!r}"
                )
            yield dict.fromkeys(self.header) | dict(zip(self.header, row, strict=False))


def read_csv(path: Path, *, loose: bool = False) -> CsvTable:
    r"""Reads a CSV file in any usual encoding (`text2sql.rows.encodings.decode`) and with any usual delimiter.

    The delimiter is the one of ``, ; tab |`` that is in the header. If several are, it is the one with which every row
    has as many cells as the header, and of these the one with the most columns. A first line ``sep=;``, as Excel writes
    it, names the delimiter. Cells may be quoted with ``"`` and then contain delimiters and line breaks; a quote inside
    is doubled.

    Args:
        path: The file.
        loose: Whether to read a malformed file as well as possible, with a note, instead of raising an error.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not text, or its header is malformed.
    """
    decoded = decode(read_bytes(path))
    text, note = decoded.text, decoded.note
    separator_line = re.match(r"sep=([^\w\s]|\t)\r?\n", text, re.IGNORECASE)
    if separator_line:
        text = text[separator_line.end() :]
    delimiter, skip_space = (separator_line[1], False) if separator_line else _find_delimiter(text)
    strict = True
    if loose and (problem := _find_problem(text, delimiter, skip_space)):
        strict = False
        note = "; ".join(filter(None, (note, f"it is malformed ({problem}) and read as well as it can be")))
    header = next(_parse(text, delimiter, skip_space, strict), (1, []))[1]
    return CsvTable([name.strip() for name in header], text, delimiter, skip_space, strict, note)


def read_csv_with_warning(path: Path, *, loose: bool = False) -> CsvTable:
    """`read_csv` that logs the note as a warning."""
    table = read_csv(path, loose=loose)
    if table.note:
        LOG.warning("%s: %s.", path, table.note)
    return table


def _find_delimiter(text: str) -> tuple[str, bool]:
    """The delimiter, and whether a space follows it before quotes."""
    readings = []
    for delimiter in DELIMITERS:
        for skip_space in (False, True) if f'{delimiter} "' in text else (False,):
            try:
                _, header = next(_parse(text, delimiter, skip_space, True), (1, []))
            except ValueError:
                continue
            if len(header) > 1:
                readings.append((delimiter, skip_space, len(header)))
    if len(readings) > 1:
        # If no delimiter fits every row, the widest header decides, and malformed rows are reported later.
        readings = [reading for reading in readings if _fits(text, *reading)] or readings
    delimiter, skip_space, _ = max(readings, key=lambda reading: reading[2], default=(",", False, 1))
    return delimiter, skip_space


def _fits(text: str, delimiter: str, skip_space: bool, width: int) -> bool:
    try:
        return all(len(row) == width for _, row in _parse(text, delimiter, skip_space, True))
    except ValueError:
        return False


def _find_problem(text: str, delimiter: str, skip_space: bool) -> str | None:
    try:
        for _ in _parse(text, delimiter, skip_space, True):
            pass
    except ValueError as error:
        return str(error)
    return None


def _parse(text: str, delimiter: str, skip_space: bool, strict: bool) -> Iterator[tuple[int, list[str]]]:
    # `newline=""` keeps line breaks within quotes as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=skip_space, strict=strict)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
