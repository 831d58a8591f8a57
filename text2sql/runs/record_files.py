"""The one reader of a run's records: a file's JSON is a record, or one sentence says why it is not.

The sentence names file, line, key and format.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import JsonValue, ValidationError

import text2sql
from backends.paths import written_aside
from text2sql.config.wording import sentence
from text2sql.errors import UserError
from text2sql.formats import pluralize
from text2sql.rows import read_jsonl
from text2sql.rows.json_text import parse_json
from text2sql.rows.values import json_kind
from text2sql.runs.records import CHECKPOINTS, FORMAT, R, Record

T = TypeVar("T")


class InvalidRecord(ValueError):
    """An object that is no record of an expected kind; the message continues after "line 3 "."""


class NewerFormat(InvalidRecord):
    """A record of a format that this version does not know."""


def parse(value: Mapping[str, JsonValue], *kinds: type[R]) -> R:
    """A JSON object as a record.

    Args:
        value: The object.
        kinds: The kinds that it may be of. It is taken for the kind of whose required keys it lacks the fewest.

    Raises:
        InvalidRecord: It is of none of them; the message names the key and the format.
    """
    number = value.get("format", 1)
    if not isinstance(number, int) or number > FORMAT:
        raise NewerFormat(f"is of format {number}; text2sql {text2sql.__version__} reads formats up to {FORMAT}")
    missing_keys = {kind: [key for key in _required(kind) if key not in value] for kind in kinds}
    kind = min(kinds, key=lambda kind: len(missing_keys[kind]))
    if missing_keys[kind]:
        raise InvalidRecord(f"has no {', '.join(missing_keys[kind])}, which format {number} needs")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise InvalidRecord(f"is not of format {number}: {key} {sentence(problem)}") from error


def read_records(path: Path, *kinds: type[R]) -> list[R]:
    """The records of a JSON Lines file, none where there is no file; an incomplete last line is left out.

    Raises:
        UserError: A line is not a record of one of these kinds; one sentence names file, line, key and format.
    """
    return [record for _, record in read_numbered(path, *kinds)]


def read_numbered(path: Path, *kinds: type[R]) -> Iterator[tuple[int, R]]:
    """`read_records` one by one, with their line numbers."""
    if not path.is_file():
        return
    try:
        for number, value in read_jsonl(path, appended=True):
            try:
                yield number, parse(value, *kinds)
            except InvalidRecord as error:
                raise record_error(path, f"line {number}", error) from error
    except ValueError as error:
        raise damaged_error(path, str(error)) from error


class Unrepeated(NamedTuple, Generic[T]):
    """Rows of a file without repetitions.

    Attributes:
        rows: The last row of each key, at the position of the first.
        note: A sentence on the rows that repeat another one; empty if there are none.
        conflict: Which line repeats another one with other contents, to go on after "damaged"; empty if none does.
    """

    rows: list[T]
    note: str
    conflict: str


def last_of_each(path: Path, rows: Iterable[tuple[int, T]], key: Callable[[T], Hashable], name: str) -> Unrepeated[T]:
    """The rows of a JSON Lines file, each key once: the one rule for every reader of such files.

    Args:
        path: The file.
        rows: Its rows with their line numbers.
        key: What rows share that are repetitions.
        name: What the key is, for messages.
    """
    kept: dict[Hashable, tuple[int, T]] = {}
    # Lines of repetitions, each with the line before it of the same key.
    repetitions: dict[int, int] = {}
    for number, row in rows:
        if (earlier := kept.get(key(row))) is not None:
            repetitions[number] = earlier[0]
        kept[key(row)] = (number, row)
    unrepeated = [row for _, row in kept.values()]
    if not repetitions:
        return Unrepeated(unrepeated, "", "")
    later, earlier_line = next(iter(repetitions.items()))
    note = (
        f"{path.name}: {pluralize(len(repetitions), 'repeated row')} (line {later} has the {name} of line "
        f"{earlier_line}{', and so on' if len(repetitions) > 1 else ''}); the last one for each {name} counts."
    )
    texts = _read_lines(path, {*repetitions, *repetitions.values()})
    conflict = next((pair for pair in repetitions.items() if texts.get(pair[0]) != texts.get(pair[1])), None)
    if conflict is None:
        return Unrepeated(unrepeated, note, "")
    return Unrepeated(unrepeated, note, f"line {conflict[0]} has the {name} of line {conflict[1]} and differs from it")


def _read_lines(path: Path, numbers: Collection[int]) -> dict[int, JsonValue]:
    """The values of some lines, numbered from 1."""
    with path.open("rb") as file:
        lines = enumerate(islice(file, max(numbers)), start=1)
        return {number: json.loads(line.decode("utf-8-sig")) for number, line in lines if number in numbers}


def begins_with(path: Path, kind: type[Record]) -> bool:
    """Whether a JSON Lines file begins with a record of a kind, or is the start of one; False where there is none.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its first line is no record.
    """
    for _, value in read_jsonl(path, appended=True):
        return bool(parse(value, kind))
    # The very first write may have been broken off.
    name = next(name for name in kind.model_fields if name != "format")
    start = f'{{"{name}": '.encode()
    with path.open("rb") as file:
        found = file.read(len(start))
    return bool(found) and start.startswith(found)


def read_record(path: Path, kind: type[R]) -> R | None:
    """The record in a JSON file, None where there is no file.

    Raises:
        UserError: The file is not that record; one sentence names file, key and format.
    """
    if not path.is_file():
        return None
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise InvalidRecord(f"is {json_kind(value)}, not an object")
        return parse(value, kind)
    except InvalidRecord as error:
        raise record_error(path, "it", error) from error
    except (ValueError, RecursionError) as error:
        raise damaged_error(path, str(error)) from error


def record_error(path: Path, location: str, error: InvalidRecord) -> UserError:
    """The error for a file of a run that has something else than a record at a location, such as "line 3"."""
    if isinstance(error, NewerFormat):
        return UserError(f"{path}: {location} {error}. Install the version that wrote it, or a newer one.")
    return damaged_error(path, f"{location} {error}")


def damaged_error(path: Path, what: str) -> UserError:
    """The error for a file of a run that cannot be read, with the way on that loses least."""
    return UserError(f"{path} is damaged ({what}). Restore it, or {_least_destructive_way(path)}.")


def _least_destructive_way(path: Path) -> str:
    if path.name == "config.yaml":
        return (
            f"write it again: `text2sql config show CONFIG > {path}`, with the overrides that the run was started with"
        )
    if not (path.parent / "config.yaml").is_file():
        return "correct or delete what is named there"
    if path.name == CHECKPOINTS:
        return "delete it and run the same command again: the saved checkpoints are found, and training goes on"
    if path.name.startswith("predictions-"):
        return "delete it and run the same command again: its questions alone are asked once more"
    return (
        "run the run's own command again with on_existing=resume: what can be read of the file stays, and the file is "
        "kept next to it"
    )


def repair(path: Path, *kinds: type[Record]) -> str | None:
    """Drop the lines of a JSON Lines file that cannot be read, or a whole JSON file; the damaged file is kept aside.

    Args:
        path: A file without which a run can go on.
        kinds: The kinds that its records may be of.

    Returns:
        What was dropped and why, in a sentence; None where the file is whole.

    Raises:
        UserError: A line is of a newer format: that is no damage.
    """
    try:
        read_records(path, *kinds) if path.suffix == ".jsonl" else read_record(path, kinds[0])
        return None
    except UserError as error:
        if isinstance(error.__cause__, NewerFormat):
            raise
        why = str(error).partition(" is damaged (")[2].partition("). Restore it")[0]
    lines = path.read_bytes().splitlines(keepends=True) if path.suffix == ".jsonl" else []
    valid = [line.rstrip(b"\n") + b"\n" for line in lines if _is_record(line, *kinds)]
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    # A copy first: after a kill in between the damaged file is found once more.
    shutil.copyfile(path, aside)
    if path.suffix == ".jsonl":
        with written_aside(path, durable=True) as target:
            target.write_bytes(b"".join(valid))
        kept = f"{len(valid):,} of its {len(lines):,} lines are kept"
    else:
        path.unlink()
        kept = "it is made anew"
    return f"{path} was damaged ({why}); {kept}, and the damaged file is {aside.name}."


def _is_record(line: bytes, *kinds: type[Record]) -> bool:
    try:
        value = parse_json(line.decode("utf-8-sig"))
        if isinstance(value, dict):
            parse(value, *kinds)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def _required(kind: type[Record]) -> Sequence[str]:
    return [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
