"""What a shell offers at Tab: configurations and their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def complete_config(incomplete: str) -> list[str]:
    """Shipped names and YAML files that begin so, or, where none does, keys: the first argument may be an override."""
    from text2sql.config.files import shipped_names

    folder, _, name = incomplete.rpartition("/")
    files = [str(path) for path in sorted(Path(folder or ".").glob("*.y*ml")) if path.name.startswith(name)]
    named = [shipped for shipped in shipped_names() if shipped.startswith(incomplete)]
    return [*named, *files] or complete_override(incomplete)


def complete_override(incomplete: str) -> list[str]:
    """The keys that begin so, each with its equals sign; of a single one its default too."""
    from text2sql.config import Config

    found = {key: value for key, value in _flat(Config().model_dump(mode="json")) if key.startswith(incomplete)}
    offered = [f"{key}=" for key in found]
    # To what is offered alone a shell adds a space, and the value would be another word.
    return offered + [f"{key}={_written(value)}" for key, value in found.items()] if len(found) == 1 else offered


def _flat(section: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
