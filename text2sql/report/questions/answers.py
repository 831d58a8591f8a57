"""A file of predictions in brief, read as far as it has been written, and one of its lines in full.

A list shows many thousand answers by their question, query and verdict; the rest of an answer, a hundred times as
large, is read from its place in the file when somebody opens it. A run that is going on adds lines to its files, or
puts others in their place: what has been read is read on, or anew.
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
# By which a file is known again that has grown.
_MEMORY = 64
# Characters of a question or query in the list; the answer itself has them all.
_LONGEST = 2000
# Bytes of a line; a longer one is no answer of a model.
_LONGEST_LINE = 64 * 2**20


class _BriefVerdict(Part):
    model_config = ConfigDict(extra="ignore")
    status: Status
    reason: str
    strict: bool
    lenient: bool


class _Brief(Record):
    """The keys of a `Prediction` that a list shows; the others are not even decoded."""

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
        offset: Where its line begins in the file, in bytes.
        id: Of the question.
        question: In natural language.
        gold: The gold query.
        sql: The query in the answer.
        correct: What accuracy counts.
        status: Of the verdict.
        hardness: Spider's level of the gold query.
        labels: In which ways the answer departs from the gold query.
        cluster: The database or domain, where the question has one.
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
        """The row that begins at an offset."""
        verdict = row.verdict
        return cls(
            offset,
            row.id,
            clip(row.question, _LONGEST),
            clip(row.gold, _LONGEST),
            clip(row.sql, _LONGEST),
            verdict.status == "equivalent" and verdict.strict,
            verdict.status,
            row.hardness,
            row.labels,
            row.cluster,
        )


@dataclass
class _Reading:
    """How far a file has been read.

    Attributes:
        generation: Changes whenever what was read before is no longer in the file.
        identity: Device, inode and time of the last change when it was last read to its end.
        end: Bytes read.
        lines: Lines read.
        tail: The last bytes that were read.
        rows: What was in them.
        ids: Questions among them.
        repeated: Answers to a question that had one.
        unreadable: What is wrong with the lines that are left out: how many, and the first in words.
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
    """Some of the rows of a file.

    Attributes:
        generation: Of the file; rows of another generation are no longer in it.
        start: Place of the first of the rows.
        rows: The rows.
        done: Whether the file has no more for now.
        problems: Sentences about what could not be read.
    """

    generation: int
    start: int
    rows: list[BriefAnswer]
    done: bool
    problems: list[str]


class AnswerFile:
    """A file of predictions, as far as it has been written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reading: _Reading | None = None

    def page(self, generation: int, start: int, most: int, seconds: float) -> Page:
        """Rows from a place on, reading the file no longer than some seconds.

        Args:
            generation: Of the rows that the reader has; of another generation the rows begin at the first.
            start: How many rows the reader has.
            most: Rows at most.
            seconds: After which reading stops; what follows comes with the next page.

        Raises:
            UserError: The file cannot be read.
        """
        with self._lock:
            reading, complete = self._read_on(start + most if self._is(generation) else most, seconds)
            start = start if reading.generation == generation else 0
            rows = reading.rows[start : start + most]
            return Page(
                reading.generation,
                start,
                rows,
                complete and start + len(rows) >= len(reading.rows),
                self._problems(reading),
            )

    def full(self, generation: int, offset: int) -> Prediction:
        """The prediction whose line begins at an offset.

        Raises:
            UserError: It is not there any more, or cannot be read.
        """
        with self._lock:
            known = self._is(generation)
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                line = file.readline(_LONGEST_LINE)
            value = json.loads(line.removeprefix(_BOM) if offset == 0 else line)
            if not known or not isinstance(value, dict):
                raise InvalidRecord("was written again")
            return parse(value, Prediction)
        except InvalidRecord as error:
            raise UserError(f"{self.path.name}: this answer {error}.") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path.name}: this answer was written again; the list is read anew.") from error
        except OSError as error:
            raise UserError(f"{self.path.name} cannot be read: {error.strerror or error}.") from error

    def _is(self, generation: int) -> bool:
        return self._reading is not None and self._reading.generation == generation

    def _read_on(self, wanted: int, seconds: float) -> tuple[_Reading, bool]:
        """Read until there are N rows, the file has no more, or the time is over; whether it has no more."""
        until = time.monotonic() + seconds
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                reading = self._same(file, stat)
                file.seek(reading.end)
                while len(reading.rows) < wanted and time.monotonic() < until:
                    line = file.readline(_LONGEST_LINE)
                    # What follows the last newline is still being written.
                    if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                        reading.seen = (stat.st_size, stat.st_mtime_ns)
                        return reading, True
                    _take(reading, line)
                return reading, False
        except OSError as error:
            raise UserError(f"{self.path.name} cannot be read: {error.strerror or error}.") from error

    def _same(self, file: BinaryIO, stat: os.stat_result) -> _Reading:
        """What was read of this file before, or nothing where it is another one by now."""
        reading, identity = self._reading, (stat.st_dev, stat.st_ino)
        if reading is not None and reading.identity == identity and stat.st_size >= reading.end:
            file.seek(reading.end - len(reading.tail))
            touched = reading.seen[0] == stat.st_size and reading.seen[1] != stat.st_mtime_ns
            if not touched and file.read(len(reading.tail)) == reading.tail:
                return reading
        generation = time.time_ns() // 1_000_000
        if reading is not None:
            generation = max(generation, reading.generation + 1)
        self._reading = _Reading(generation, identity)
        return self._reading

    def _problems(self, reading: _Reading) -> list[str]:
        found = []
        amount, first = reading.unreadable
        if amount:
            which = "" if amount == 1 else "the first: "
            found.append(f"{self.path.name}: {pluralize(amount, 'unreadable line')} left out ({which}{first}).")
        if reading.repeated:
            rows = pluralize(reading.repeated, "repeated row")
            found.append(f"{self.path.name}: {rows}; the last one for each id is shown.")
        return found


def _take(reading: _Reading, line: bytes) -> None:
    """Add what one line holds."""
    offset = reading.end
    reading.end += len(line)
    reading.lines += 1
    reading.tail = line[-_MEMORY:]
    text = line.removeprefix(_BOM) if offset == 0 else line
    if not text.strip():
        return
    try:
        row = BriefAnswer.of(offset, _brief(text))
    except (ValueError, RecursionError) as error:
        amount, first = reading.unreadable
        reading.unreadable = (amount + 1, first or clip(f"line {reading.lines} {error}", 300))
        return
    reading.repeated += row.id in reading.ids
    reading.ids.add(row.id)
    reading.rows.append(row)


def _brief(text: bytes) -> _Brief | Prediction:
    """What a line holds (ValueError, whose message goes on from "line 3 ", if it is no prediction)."""
    try:
        row = _Brief.model_validate_json(text)
        if row.format <= FORMAT:
            return row
    except ValidationError:
        # Read again in the slower way, which knows what to say, and takes the odd strings that models write.
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
