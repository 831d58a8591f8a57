"""The one reader of a run's records: a file's JSON is a record, or one sentence says why it is not.

The sentence names file, line, key and format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

import text2sql
from text2sql.config.wording import sentence
from text2sql.errors import UserError
from text2sql.rows import read_jsonl
from text2sql.rows.values import json_kind
from text2sql.runs.records import FORMAT, R, Record


class NotARecord(ValueError):
    """An object that is no record of the kind asked for; the message goes on from "line 3 "."""


class NewerFormat(NotARecord):
    """A record of a format that this version does not know."""


def parse(value: Mapping[str, JsonValue], *kinds: type[R]) -> R:
    """A JSON object as a record.

    Args:
        value: The object.
        kinds: What it may be. It is taken for the kind of whose required keys it lacks the fewest.

    Raises:
        NotARecord: It is none of them; the message names the key and the format.
    """
    number = value.get("format", 1)
    if not isinstance(number, int) or number > FORMAT:
        raise NewerFormat(f"is of format {number}; text2sql {text2sql.__version__} reads formats up to {FORMAT}")
    lacking = {kind: [key for key in _required(kind) if key not in value] for kind in kinds}
    kind = min(kinds, key=lambda kind: len(lacking[kind]))
    if lacking[kind]:
        raise NotARecord(f"has no {', '.join(lacking[kind])}, which format {number} needs")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise NotARecord(f"is not of format {number}: {key} {sentence(problem)}") from error


def read_records(path: Path, *kinds: type[R]) -> list[R]:
    """The records of a JSON Lines file, none where there is no file; an incomplete last line is left out.

    Raises:
        UserError: A line is not a record of one of these kinds; one sentence names file, line, key and format.
    """
    if not path.is_file():
        return []
    found = []
    try:
        for number, value in read_jsonl(path, appended=True):
            try:
                found.append(parse(value, *kinds))
            except NotARecord as error:
                raise refusal(path, f"line {number}", error) from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return found


def read_record(path: Path, kind: type[R]) -> R | None:
    """The record in a JSON file, None where there is no file.

    Raises:
        UserError: The file is not that record; one sentence names file, key and format.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise NotARecord(f"is {json_kind(value)}, not an object")
        return parse(value, kind)
    except NotARecord as error:
        raise refusal(path, "it", error) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def refusal(path: Path, place: str, error: NotARecord) -> UserError:
    """The error for a file of a run with something else than a record at a place in it."""
    if isinstance(error, NewerFormat):
        return UserError(f"{path}: {place} {error}. Install the version that wrote it, or a newer one.")
    return damaged(path, f"{place} {error}")


def damaged(path: Path, what: str) -> UserError:
    """The error for a file of a run that cannot be used as it is."""
    return UserError(f"{path} is damaged ({what}). Restore it, or start anew with on_existing=overwrite.")


def _required(kind: type[Record]) -> Sequence[str]:
    return [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
