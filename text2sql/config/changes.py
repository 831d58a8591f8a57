"""How two configurations differ, and what each differing key changes.

What a key changes stands next to it, as an `About` in its annotation; a section says it for those of its keys that do
not (``CHANGES``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from backends.options import About
from text2sql.config.schema import Config

# Characters of a value in a message.
_MAX_SHOWN = 80


@dataclass(frozen=True)
class Change:
    """A key that has another value than before.

    Attributes:
        key: Dotted, as on a command line.
        old: Its value before.
        new: Its value now.
        about: What it changes.
    """

    key: str
    old: Any
    new: Any
    about: About

    @property
    def learnt(self) -> bool:
        """Whether what is learnt depends on it."""
        return self.about.changes in ("learning", "both")

    @property
    def measured(self) -> bool:
        """Whether the evaluations depend on it."""
        return self.about.changes in ("measuring", "both")

    def __str__(self) -> str:
        return f"{self.key} was {_shown(self.old)}, is {_shown(self.new)}"


def _shown(value: Any) -> str:
    """A value as a configuration may write it, a section or a long text cut short."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def differences(old: Any, new: Config) -> list[Change]:
    """The keys in which a configuration differs from the values of an earlier one.

    Args:
        old: The earlier one as plain values; a key that is unknown today is a difference too.
        new: The configuration.
    """
    return list(_differences(old, new.model_dump(mode="json"), "", Config, None))


def _differences(old: Any, new: Any, key: str, section: type[BaseModel], above: About | None) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        field = section.model_fields.get(name)
        said = _said(field) or above
        inner = _section(field.annotation) if field else None
        path, before, after = f"{key}.{name}" if key else name, old.get(name), new.get(name)
        if inner and isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, path, inner, said)
        # A section that was null, or is, is one change.
        elif before != after:
            yield Change(path, before, after, said or About(getattr(inner or section, "CHANGES", "both")))


def _said(field: FieldInfo | None) -> About | None:
    return next((note for note in field.metadata if isinstance(note, About)), None) if field else None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation stands for, also where it may be null."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
