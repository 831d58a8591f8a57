"""What a JSON body must be, before its fields are looked at: JSON by its headers, and JSON that reads in one way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from backends.server.errors import ApiError

Body = TypeVar("Body", bound=BaseModel)

# Of the faults of a body, so many are told.
TOLD = 5


def require_json(headers: Mapping[str, str]) -> None:
    """Refuse (ApiError with 415) a body that its headers call something else than plain JSON."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        raise ApiError(
            415, f'The body is sent as {kind[:100]}; send JSON, with the header "Content-Type: application/json".'
        )
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise ApiError(415, f'Content-Encoding "{encoding[:100]}" is not spoken here; send JSON as it is.')


def check_json(body: bytes) -> None:
    """Refuse (ApiError with 422) what is no JSON, or what two readers would read in two ways."""
    if not body.strip():
        raise ApiError(422, "The body is empty; send a JSON object.")
    try:
        json.loads(
            body.decode(), object_pairs_hook=_once_each, parse_float=_finite, parse_constant=_not_finite, parse_int=_int
        )
    except UnicodeDecodeError as error:
        raise ApiError(422, f"The body is no JSON: it is not UTF-8 ({error.reason} at byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise ApiError(422, f"The body is no JSON: {error}.") from error
    except RecursionError as error:
        raise ApiError(422, "The body is no JSON of a request: it is nested too deeply.") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in pairs:
        if key in read:
            raise ApiError(422, f'The body has the key "{key[:100]}" twice in one object; which is meant?')
        read[key] = value
    return read


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _not_finite(number)


def _not_finite(number: str) -> NoReturn:
    raise ApiError(422, f"The body has the number {number[:50]}, which is not finite; JSON has none.")


def _int(number: str) -> int:
    # Python refuses to read numbers of thousands of digits; none here needs a hundred.
    if len(number) > 100:
        raise ApiError(422, f"The body has a number of {len(number)} digits; none needs so many.")
    return int(number)


def read_model(kind: type[Body], body: bytes) -> Body:
    """A body as one of the protocol's types, whose values must have the types of their fields: "5" is no number.

    Raises:
        ApiError: 422 with what is wrong, field by field.
    """
    check_json(body)
    try:
        return kind.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise ApiError(422, explain(error)) from error


def explain(error: ValidationError) -> str:
    """What is wrong with a body, one field after another."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:TOLD]
    ]
    more = len(faults) - len(told)
    return "; ".join([*told, *([f"and {more} more"] if more else [])])
