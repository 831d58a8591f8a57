"""Shell completion of configurations and their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def complete_config(incomplete: str) -> list[str]:
    """Complete shipped names and YAML files, or else keys, as the first argument may be an override."""
    from text2sql.config.files import shipped_names

    folder, _, name = incomplete.rpartition("/")
    files = [str(path) for path in sorted(Path(folder or ".").glob("*.y*ml")) if path.name.startswith(name)]
    names = [shipped for shipped in shipped_names() if shipped.startswith(incomplete)]
    return [*names, *files] or complete_override(incomplete)


def complete_override(incomplete: str) -> list[str]:
    """Complete keys, each with its equals sign; a single match also with its default."""
    from text2sql.config import Config

    matches = {key: value for key, value in _flatten(Config().model_dump(mode="json")) if key.startswith(incomplete)}
    keys = [f"{key}=" for key in matches]
    if len(matches) != 1:
        return keys
    # Two candidates, as a shell adds a space behind a single one, and the value would be another word.
    return keys + [f"{key}={_to_text(value)}" for key, value in matches.items()]


def _flatten(section: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
