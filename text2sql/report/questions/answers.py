"""Incremental reader of a prediction file: rows for a list, and single predictions in full.

A list shows many thousand answers by question, query and verdict; the rest of an answer, a hundred times as large, is
read from its offset in the file when it is opened. A run in progress appends to its files or replaces them: reading
then continues, or starts again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import ConfigDict, ValidationError

from text2sql.equivalence.verdict import Status
from text2sql.errors import UserError
from text2sql.formats import clip, pluralize
from text2sql.rows.values import json_kind
from text2sql.runs.record_files import InvalidRecord, parse
from text2sql.runs.records import FORMAT, JsonTuple, Part, Prediction, Record
from text2sql.sql.hardness import Hardness

_BOM = b"\xef\xbb\xbf"
# Number of last bytes read, by which a file that has grown is recognised.
_TAIL_BYTES = 64
# Characters of a question or query in the list.
_MAX_CHARACTERS = 2000
# Bytes of a line; a longer one is no answer of a model.
_MAX_LINE_BYTES = 64 * 2**20


class _BriefVerdict(Part):
    model_config = ConfigDict(extra="ignore")
    status: Status
    reason: str
    strict: bool
    lenient: bool


class _Brief(Record):
    """The keys of a `Prediction` that a list shows; the others are not decoded."""

    model_config = ConfigDict(extra="ignore")
    id: str
    question: str
    gold: str
    sql: str
    labels: JsonTuple[str]
    hardness: Hardness
    cluster: str | None
    verdict: _BriefVerdict


@dataclass(frozen=True, slots=True)
class BriefAnswer:
    """One answer as a list shows it.

    Attributes:
        offset: Offset of its line in the file, in bytes.
        id: The id of the question.
        question: The question in natural language.
        gold: The gold query.
        sql: The query in the answer.
        correct: Whether it counts as correct in the accuracy.
        status: Status of the verdict.
        hardness: Spider's level of the gold query.
        labels: Error labels.
        cluster: The database or domain of the question, if it has one.
    """

    offset: int
    id: str
    question: str
    gold: str
    sql: str
    correct: bool
    status: Status
    hardness: Hardness
    labels: tuple[str, ...]
    cluster: str | None

    @classmethod
    def of(cls, offset: int, row: _Brief | Prediction) -> BriefAnswer:
        """Convert the row whose line begins at an offset."""
        verdict = row.verdict
        return cls(
            offset,
            row.id,
            clip(row.question, _MAX_CHARACTERS),
            clip(row.gold, _MAX_CHARACTERS),
            clip(row.sql, _MAX_CHARACTERS),
            verdict.status == "equivalent" and verdict.strict,
            verdict.status,
            row.hardness,
            row.labels,
            row.cluster,
        )


@dataclass
class _Reading:
    """The state of reading a file.

    Attributes:
        generation: Changes whenever the rows read before are no longer in the file.
        identity: Device and inode of the file.
        end: Number of bytes read.
        lines: Number of lines read.
        tail: The last bytes read.
        rows: The rows read.
        ids: The ids of their questions.
        repeated: Number of rows for a question that had one before.
        unreadable: Number of lines that are left out, and the problem of the first one.
        seen: Size and modification time in ns of the file when it was last read to its end.
    """

    generation: int
    identity: tuple[int, int]
    end: int = 0
    lines: int = 0
    tail: bytes = b""
    rows: list[BriefAnswer] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    repeated: int = 0
    unreadable: tuple[int, str] = (0, "")
    seen: tuple[int, int] = (-1, -1)


@dataclass(frozen=True)
class Page:
    """Consecutive rows of a file.

    Attributes:
        generation: Generation of the rows; those of another generation are no longer in the file.
        start: Index of the first row.
        rows: The rows.
        done: Whether the file has no more rows for now.
        problems: Sentences about what could not be read.
    """

    generation: int
    start: int
    rows: list[BriefAnswer]
    done: bool
    problems: list[str]


class AnswerFile:
    """A prediction file that may still be written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reading: _Reading | None = None

    def page(self, generation: int, start: int, max_rows: int, seconds: float) -> Page:
        """Return rows from an index on, reading the file for a limited time.

        Args:
            generation: Generation of the rows that the caller has; if it is another one, the page begins at row 0.
            start: Number of rows that the caller has.
            max_rows: Maximum number of rows.
            seconds: Time after which reading stops; the rest comes with the next page.

        Raises:
            UserError: The file cannot be read.
        """
        with self._lock:
            reading, complete = self._read_on(start + max_rows if self._is_current(generation) else max_rows, seconds)
            start = start if reading.generation == generation else 0
            rows = reading.rows[start : start + max_rows]
            return Page(
                reading.generation,
                start,
                rows,
                complete and start + len(rows) >= len(reading.rows),
                self._problems(reading),
            )

    def full(self, generation: int, offset: int) -> Prediction:
        """Read the prediction whose line begins at an offset.

        Raises:
            UserError: It is no longer in the file, or cannot be read.
        """
        with self._lock:
            is_current = self._is_current(generation)
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                line = file.readline(_MAX_LINE_BYTES)
            value = json.loads(line.removeprefix(_BOM) if offset == 0 else line)
            if not is_current or not isinstance(value, dict):
                raise InvalidRecord("was written again")
            return parse(value, Prediction)
        except InvalidRecord as error:
            raise UserError(f"{self.path.name}: this answer {error}.") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path.name}: this answer was written again; the list is read anew.") from error
        except OSError as error:
            raise UserError(f"{self.path.name} cannot be read: {error.strerror or error}.") from error

    def _is_current(self, generation: int) -> bool:
        return self._reading is not None and self._reading.generation == generation

    def _read_on(self, rows: int, seconds: float) -> tuple[_Reading, bool]:
        """Read until there are this many rows, the file ends, or the time is over.

        Returns:
            The state, and whether the file has been read to its end.
        """
        deadline = time.monotonic() + seconds
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                reading = self._resume(file, stat)
                file.seek(reading.end)
                while len(reading.rows) < rows and time.monotonic() < deadline:
                    line = file.readline(_MAX_LINE_BYTES)
                    # A line without its newline is still being written.
                    if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
                        reading.seen = (stat.st_size, stat.st_mtime_ns)
                        return reading, True
                    _add_line(reading, line)
                return reading, False
        except OSError as error:
            raise UserError(f"{self.path.name} cannot be read: {error.strerror or error}.") from error

    def _resume(self, file: BinaryIO, stat: os.stat_result) -> _Reading:
        """The state of reading this file; a new one if the file was replaced or rewritten."""
        reading, identity = self._reading, (stat.st_dev, stat.st_ino)
        if reading is not None and reading.identity == identity and stat.st_size >= reading.end:
            file.seek(reading.end - len(reading.tail))
            rewritten = reading.seen[0] == stat.st_size and reading.seen[1] != stat.st_mtime_ns
            if not rewritten and file.read(len(reading.tail)) == reading.tail:
                return reading
        generation = time.time_ns() // 1_000_000
        if reading is not None:
            generation = max(generation, reading.generation + 1)
        self._reading = _Reading(generation, identity)
        return self._reading

    def _problems(self, reading: _Reading) -> list[str]:
        problems = []
        unreadable, first = reading.unreadable
        if unreadable:
            which = "" if unreadable == 1 else "the first: "
            problems.append(f"{self.path.name}: {pluralize(unreadable, 'unreadable line')} left out ({which}{first}).")
        if reading.repeated:
            rows = pluralize(reading.repeated, "repeated row")
            problems.append(f"{self.path.name}: {rows}; the last one for each id is shown.")
        return problems


def _add_line(reading: _Reading, line: bytes) -> None:
    """Add the row of one line."""
    offset = reading.end
    reading.end += len(line)
    reading.lines += 1
    reading.tail = line[-_TAIL_BYTES:]
    text = line.removeprefix(_BOM) if offset == 0 else line
    if not text.strip():
        return
    try:
        row = BriefAnswer.of(offset, _parse_line(text))
    except (ValueError, RecursionError) as error:
        unreadable, first = reading.unreadable
        reading.unreadable = (unreadable + 1, first or clip(f"line {reading.lines} {error}", 300))
        return
    reading.repeated += row.id in reading.ids
    reading.ids.add(row.id)
    reading.rows.append(row)


def _parse_line(text: bytes) -> _Brief | Prediction:
    """Parse a line (ValueError, with a message that continues "line 3 ...", if it is no prediction)."""
    try:
        row = _Brief.model_validate_json(text)
        if row.format <= FORMAT:
            return row
    except ValidationError:
        # The slower parser below has better messages, and accepts the lone surrogates that models write.
        pass
    try:
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise InvalidRecord("is not text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRecord(f"is {json_kind(value)}, not an object")
    return parse(value, Prediction)
