"""Tables in CSV files: the one reader of them in this project.

The standard library's parser reads the cells; which sign separates them is found here. `csv.Sniffer` looks at letter
frequencies, takes any quote or letter for a delimiter, and is wrong on lists in brackets and on texts with commas.
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

LOG = logging.getLogger(__name__)

DELIMITERS = (",", ";", "\t", "|")
# A schema may be one cell, and is larger than the parser's own limit of 131,072 characters.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class CsvTable:
    """A table as text, parsed when its rows are asked for.

    Attributes:
        header: The names in its first line, without spaces around them; empty for an empty file.
        text: The file's text.
        delimiter: What separates the cells.
        skip_space: Whether a space may stand between a delimiter and a quoted cell.
        strict: Whether a quoted cell must end where the cell does.
        note: What a reader must know of how the file was read; empty if nothing.
    """

    header: list[str]
    text: str
    delimiter: str
    skip_space: bool
    strict: bool
    note: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows after the header, each with the number of its last line; blank lines are left out.

        Raises:
            ValueError: A row is malformed; the message begins with ``line N``.
        """
        rows = _parse(self.text, self.delimiter, self.skip_space, self.strict)
        next(rows, None)
        return rows

    def records(self) -> Iterator[dict[str, str | None]]:
        """The rows by the names of the header; what a short row lacks is None.

        Raises:
            ValueError: A row is malformed or has more cells than the header, or a name stands twice in the header.
        """
        named = [name for name in self.header if name]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"line 1 names a column twice ({', '.join(twice)}); rename or delete one")
        for line, row in self.rows():
            if len(row) > len(self.header):
                raise ValueError(
                    f"line {line} has more values than the header has columns ({len(row)}, {len(self.header)}); quote "
                    f"values that hold {self.delimiter!r}"
                )
            yield dict.fromkeys(self.header) | dict(zip(self.header, row, strict=False))


def read_csv(path: Path, *, loose: bool = False) -> CsvTable:
    r"""Read a CSV file in any usual encoding (`text2sql.rows.encodings.decode`) and with any usual delimiter.

    The header says what the delimiter is: of ``, ; tab |``, the one that stands in it. If several do, it is the one by
    which every row has as many cells as the header, and of these the one that makes most columns. A first line
    ``sep=;``, as Excel writes it, says it itself. Cells may be quoted with ``"`` and then hold delimiters and line
    breaks; a quote inside is doubled.

    Args:
        path: The file.
        loose: Whether a malformed file is read as far as it can be, with a note, in place of an error.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not text, or its header is malformed.
    """
    decoded = decode(path.read_bytes())
    text, note = decoded.text, decoded.note
    said = re.match(r"sep=([^\w\s]|\t)\r?\n", text, re.IGNORECASE)
    if said:
        text = text[said.end() :]
    delimiter, skip_space = (said[1], False) if said else _find_delimiter(text)
    strict = True
    if loose and (problem := _malformed(text, delimiter, skip_space)):
        strict, note = (
            False,
            "; ".join(filter(None, (note, f"it is malformed ({problem}) and read as well as it can be"))),
        )
    header = next(_parse(text, delimiter, skip_space, strict), (1, []))[1]
    return CsvTable([name.strip() for name in header], text, delimiter, skip_space, strict, note)


def read_csv_said(path: Path, *, loose: bool = False) -> CsvTable:
    """`read_csv`, with its note logged as a warning that names the file."""
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
        # Without a reading that fits every row, the widest header decides, and the rows at fault are named later.
        readings = [reading for reading in readings if _fits(text, *reading)] or readings
    delimiter, skip_space, _ = max(readings, key=lambda reading: reading[2], default=(",", False, 1))
    return delimiter, skip_space


def _fits(text: str, delimiter: str, skip_space: bool, width: int) -> bool:
    try:
        return all(len(row) == width for _, row in _parse(text, delimiter, skip_space, True))
    except ValueError:
        return False


def _malformed(text: str, delimiter: str, skip_space: bool) -> str | None:
    try:
        for _ in _parse(text, delimiter, skip_space, True):
            pass
    except ValueError as error:
        return str(error)
    return None


def _parse(text: str, delimiter: str, skip_space: bool, strict: bool) -> Iterator[tuple[int, list[str]]]:
    # `newline=""` keeps the line breaks inside quotes as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=skip_space, strict=strict)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
