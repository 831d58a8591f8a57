"""From a YAML file and the overrides of a command line to a checked `Config`, or a message that names file and key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, get_args

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from text2sql.config.files import Layer, escape_variables, fill_variables, find_config, merge_layers, read_layers
from text2sql.config.schema import Config
from text2sql.config.section import Section
from text2sql.config.unread import unread_keys
from text2sql.config.wording import sentence
from text2sql.config.yaml import dump_yaml, read_yaml
from text2sql.errors import UserError

S = TypeVar("S", bound=Section)


def load_config(file: str | None, overrides: Sequence[str] = ()) -> Config:
    """Read and check a configuration.

    Args:
        file: Path or shipped name of a YAML file; None for the defaults alone.
        overrides: ``key.sub=value`` each, applied in order; values are read as YAML 1.2 (``5e-4`` is a number).

    Returns:
        The resolved configuration.

    Raises:
        UserError: The file cannot be read, a key is unknown, a value is wrong, keys do not go together, or one is
            set that nothing would read. The message has a line for each problem and names file (or override) and key.
    """
    path = find_config(file) if file is not None else None
    layers = read_layers(path, _sections()) if path else []
    values = merge_layers(layers)
    for override in overrides:
        apply_override(values, override)
    if lines := [f"{_origin(key, layers, overrides)}{key}: {problem}" for key, problem in _unusable_texts(values)]:
        raise UserError("\n".join(lines))
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        lines = [f"{_origin(key, layers, overrides)}{line}" for key, line in explain(error.errors())]
        raise UserError("\n".join(lines)) from error
    if lines := [f"{_origin(unread.key, layers, overrides)}{unread}" for unread in unread_keys(config)]:
        raise UserError("\n".join(lines))
    return config


def _unusable_texts(values: Mapping[str, JsonValue], where: str = "") -> Iterator[tuple[str, str]]:
    """The keys whose text can be no name of anything, and why; what is sent or answered may be any text."""
    for name, value in values.items():
        if isinstance(value, dict):
            if name in ("fake", "extra"):
                continue
            yield from _unusable_texts(value, f"{where}{name}.")
        elif isinstance(value, str) and not value.strip():
            yield f"{where}{name}", "must not be empty; leave it out, or write null where there is none"
        elif isinstance(value, str) and "\0" in value:
            yield f"{where}{name}", "must not hold the character U+0000"


def load_section(section: type[S], values: dict[str, JsonValue], overrides: Sequence[str]) -> S:
    """Build one section from values and overrides, for a command that takes a section without a file.

    Args:
        section: The section's class.
        values: Its keys and values.
        overrides: ``key=value`` each, applied in order over `values`.

    Raises:
        UserError: As `load_config`.
    """
    values = dict(values)
    for override in overrides:
        apply_override(values, override)
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(line for _, line in explain(error.errors(), section))) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out; `load_config` of it gives an equal one."""
    return dump_yaml(escape_variables(config.model_dump(mode="json")))


def _sections() -> list[str]:
    return [name for name, field in Config.model_fields.items() if hasattr(field.annotation, "model_fields")]


def apply_override(values: dict[str, JsonValue], override: str) -> None:
    """Set in `values` what ``key.sub=value`` says, its variables filled in as in a file.

    Raises:
        UserError: It is not of that form, or a variable is not set.
    """
    set_override(values, override, filled=True)


def set_override(values: dict[str, JsonValue], override: str, *, filled: bool) -> None:
    """As `apply_override`; where not `filled`, the value as it would stand in a file, ``${NAME}`` in it."""
    key, equals, text = override.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise UserError(f'"{override}" is not an override; write key=value, for example training.batch_size=32.')
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise UserError(f'The value in "{override}" is not valid YAML: {error}') from error
    if filled:
        value = fill_variables(value, f'override "{override}"')
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        section = values[parent]
        if not isinstance(section, dict):
            raise UserError(f'"{override}": {parent} is a value, not a section.')
        values = section
    values[last] = value


def _origin(key: str, layers: Sequence[Layer], overrides: Sequence[str]) -> str:
    """Where a wrong key was written: an override of the command line, else the file; nothing where there is no file."""
    if not layers:
        return ""
    for override in reversed(overrides):
        given = override.partition("=")[0]
        if key and (key == given or key.startswith(f"{given}.") or given.startswith(f"{key}.")):
            return f'override "{override}": '
    # Without a key the problem is about several keys that do not go together.
    if not key and overrides:
        return f"{layers[-1].path} with the overrides: "
    written = [layer.path for layer in layers if key and layer.holds(key)]
    return f"{written[-1] if written else layers[-1].path}: "


def explain(problems: Sequence[ErrorDetails], root: type[BaseModel] = Config) -> list[tuple[str, str]]:
    """Validation errors as (key, sentence), one for each key; the alternatives of a union are one key's."""
    lines: list[tuple[str, str]] = []
    wrong: dict[str, tuple[list[str], object]] = {}
    for problem in problems:
        location = [str(part) for part in problem["loc"]]
        message = sentence(problem)
        if problem["type"] == "extra_forbidden":
            lines.append((".".join(location), _unknown(location, root)))
        elif not location:
            lines.append(("", message))
        else:
            key = ".".join(
                part for part in location if not part.startswith(("constrained-", "literal[", "float", "int"))
            )
            wrong.setdefault(key, ([], problem["input"]))[0].append(message)
    return lines + [
        (key, f"{key}: {' or '.join(messages)} (got {'nothing' if value is None else repr(value)})")
        for key, (messages, value) in wrong.items()
    ]


def _unknown(location: Sequence[str], root: type[BaseModel]) -> str:
    """What to say of a key that is not there: the same key elsewhere, a similar one here, or all that there are."""
    if "." in location[-1]:
        section, _, key = location[-1].partition(".")
        return f'unknown key "{".".join(location)}". Below its section it is {section}: {{{key}: ...}}.'
    known = _keys(location[:-1], root)
    similar = [".".join([*location[:-1], k]) for k in difflib.get_close_matches(location[-1], known, n=1)]
    near = (_elsewhere(location[-1]) if root is Config else []) or similar
    hint = f' Did you mean "{near[0]}"?' if near else f" Known keys: {', '.join(known)}."
    return f'unknown key "{".".join(location)}".{hint}'


def _keys(location: Sequence[str], root: type[BaseModel] = Config) -> list[str]:
    """Keys of the section at a location."""
    model = root
    for part in location:
        # A place in a list, whose type the section before it has given.
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if section is None:
            return []
        model = section
    return list(model.model_fields)


def _elsewhere(key: str) -> list[str]:
    """The key with this name at the top or in another section."""
    own = [key] if key in Config.model_fields else []
    return [*own, *(f"{section}.{key}" for section in _sections() if key in _keys([section]))]
