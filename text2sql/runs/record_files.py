"""The one reader of a run's records: a file's JSON is a record, or one sentence says why it is not.

The sentence names file, line, key and format.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from pydantic import JsonValue, ValidationError

import text2sql
from backends.paths import written_aside
from text2sql.config.wording import sentence
from text2sql.errors import UserError
from text2sql.rows import read_jsonl
from text2sql.rows.json_text import parse_json
from text2sql.rows.values import json_kind
from text2sql.runs.records import CHECKPOINTS, FORMAT, R, Record


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
    if not path.is_file():
        return []
    records = []
    try:
        for number, value in read_jsonl(path, appended=True):
            try:
                records.append(parse(value, *kinds))
            except InvalidRecord as error:
                raise record_error(path, f"line {number}", error) from error
    except ValueError as error:
        raise damaged_error(path, str(error)) from error
    return records


def begins_with(path: Path, kind: type[Record]) -> bool:
    """Whether the first record of a JSON Lines file is of a kind; False where there is none.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its first line is no record.
    """
    return any(parse(value, kind) for _, value in islice(read_jsonl(path, appended=True), 1))


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
        value = parse_json(line.decode("utf-8"))
        if isinstance(value, dict):
            parse(value, *kinds)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def _required(kind: type[Record]) -> Sequence[str]:
    return [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
