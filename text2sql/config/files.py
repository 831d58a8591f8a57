"""The files of configurations: where they are found, what they take from others, and from the environment."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from text2sql.config.yaml import read_yaml
from text2sql.errors import UserError
from text2sql.rows.values import json_kind

PACKAGE = Path(__file__).parent.parent
SHIPPED = PACKAGE / "configs"
# In an editable install the files are still where they are written.
if not SHIPPED.is_dir():
    SHIPPED = PACKAGE.parent / "configs"

# The key of a file that names the one it adds to.
EXTENDS = "extends"
# ``${NAME}`` or ``${NAME:-value}``; ``$${`` is ``${`` itself.
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def find_config(name: str) -> Path:
    """The file that a path, or the bare name of a shipped configuration, means.

    Args:
        name: Path of a YAML file; or ``quickstart``, ``quickstart.yaml`` or ``configs/quickstart.yaml`` for a shipped
            one. A file that exists wins over a shipped one.

    Returns:
        Path of an existing file.

    Raises:
        UserError: There is no such file; the message names the nearest shipped configuration.
    """
    path = Path(name)
    if not name.strip():
        raise UserError("The name of the configuration is empty; give a YAML file, or the name of a shipped one.")
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path.name.removesuffix('.yaml')}.yaml"
    if shipped.is_file() and path.parent in (Path(), Path("configs")):
        return shipped
    if (path / "config.yaml").is_file():
        raise UserError(f"{name} is the directory of a run; its configuration is {path / 'config.yaml'}.")
    if path.is_dir():
        raise UserError(f"{name} is a directory, not a configuration file.")
    known = shipped_names()
    near = difflib.get_close_matches(path.stem, known, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise UserError(f"There is no configuration file {name}.{hint} Shipped with text2sql: {', '.join(known)}.")


def shipped_names() -> list[str]:
    """The names of the configurations that come with the program."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


@dataclass(frozen=True)
class Layer:
    """What one file says: its keys and values, without those of the file that it extends."""

    path: Path
    values: dict[str, JsonValue]

    def holds(self, key: str) -> bool:
        """Whether the file gives a dotted key, or a section of it."""
        found: JsonValue = self.values
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                return False
            found = found[part]
        return True


def read_layers(path: Path, sections: Sequence[str]) -> list[Layer]:
    """A file and the files that it extends, the first of them first.

    Args:
        path: The file.
        sections: Keys that hold keys; null means an empty one, as where all its keys are commented out.

    Raises:
        UserError: A file cannot be read, is not keys and values, extends itself, or names a variable that is not set.
    """
    layers: list[Layer] = []
    following: Path | None = path
    while following is not None:
        chain = [layer.path for layer in layers]
        if any(following.resolve() == file.resolve() for file in chain):
            raise UserError(f"{path}: extends goes in a circle: {' -> '.join(map(str, [*chain, following]))}.")
        values = _read(following)
        filled = {key: fill_variables(value, f"{following}: {key}") for key, value in values.items()}
        extended = filled.pop(EXTENDS, None)
        own = {key: {} if value is None and key in sections else value for key, value in filled.items()}
        layers.append(Layer(following, own))
        following = None if extended is None else _extended(following, extended)
    return layers[::-1]


def merge_layers(layers: Sequence[Layer]) -> dict[str, JsonValue]:
    """The keys and values of all layers, the later over the earlier."""
    values: dict[str, JsonValue] = {}
    for layer in layers:
        values = _merged(values, layer.values)
    return values


def _merged(below: Mapping[str, JsonValue], above: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Section by section; a list, as any other value, is replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _read(path: Path) -> dict[str, JsonValue]:
    try:
        text = path.read_text(encoding="utf-8")
        values = read_yaml(text)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path} cannot be read: line {line} is not UTF-8; save the file as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    # Whose keys are all commented out is meant so; a file that was never written is not.
    if not text.strip():
        raise UserError(f"{path} is empty; `text2sql config new FILE` writes a configuration to begin with.")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, not {json_kind(values)}.")
    return values


def _extended(path: Path, name: JsonValue) -> Path:
    """The file that a file extends: next to it, else as `find_config`."""
    if not isinstance(name, str):
        raise UserError(f"{path}: extends must be the name of one file (got {name!r}).")
    neighbour = path.parent / name
    try:
        return neighbour if neighbour.is_file() else find_config(name)
    except UserError as error:
        raise UserError(f"{path}: extends: {error}") from error


def fill_variables(value: JsonValue, where: str) -> JsonValue:
    """A value with ``${NAME}`` replaced by environment variables, in texts at any depth.

    A text that is one variable alone is read as YAML, so that a number is a number.

    Args:
        value: As read from a file.
        where: File and key, for the message.

    Raises:
        UserError: A variable is not set and has no value to fall back to.
    """
    if isinstance(value, dict):
        return {key: fill_variables(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [fill_variables(item, where) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def filled(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        found = os.environ.get(match[2], match[3])
        if found is None:
            raise UserError(
                f"{where}: the environment variable {match[2]} is not set. Set it, give a value to fall back to as "
                f"${{{match[2]}:-value}}, or write $${{ where the text itself is meant."
            )
        return found

    text = _VARIABLE.sub(filled, value)
    alone = _VARIABLE.fullmatch(value)
    try:
        return read_yaml(text) if alone and alone[2] else text
    except ValueError:
        return text


def escape_variables(value: JsonValue) -> JsonValue:
    """A value as it stands in a file, so that `fill_variables` finds no variable in it."""
    return _replaced(value, "${", "$${")


def unescape_variables(value: JsonValue) -> JsonValue:
    """The value that was escaped."""
    return _replaced(value, "$${", "${")


def _replaced(value: JsonValue, old: str, new: str) -> JsonValue:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value
