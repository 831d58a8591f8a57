"""What every section of a configuration has in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from backends.options import Changes, bounded, without_secret
from text2sql.errors import UserError

T = TypeVar("T")


class Section(BaseModel):
    """A part of the configuration: a pydantic model that refuses unknown keys, huge numbers and passwords.

    A number may stand for a text (``name: 2024``), but not true or false for a number.

    Attributes:
        CHANGES: What those keys change that do not say it themselves (`text2sql.config.changes`).
    """

    CHANGES: ClassVar[Changes] = "both"

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and not _takes_booleans(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("must not be true or false")
        return without_secret(value)

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: T) -> T:
        return bounded(value)


def _takes_booleans(annotation: object) -> bool:
    return annotation is bool or any(_takes_booleans(part) for part in get_args(annotation))


def expand_user(path: str) -> Path:
    """A path from a configuration: ``~`` and environment variables expanded.

    Raises:
        UserError: It begins with the home directory of somebody who is not known here.
    """
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no home directory of that name here; write the path out.") from error
