"""YAML as a reader expects it, in both directions: the core schema of YAML 1.2.

PyYAML follows YAML 1.1, in which ``on`` is true, ``5e-4`` is a string, ``010`` is eight, ``2024-01-01`` is a date and
the second of two equal keys silently wins. Here only ``true`` and ``false`` are booleans, ``5e-4`` is a number, dates
are text, and a key that is given twice is refused.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import JsonValue

_INT = r"[-+]?[0-9]+"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_DIGITS = [*"-+0123456789"]
# Tag, pattern and first characters of each kind of scalar; the first that matches wins.
_RESOLVERS = [
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", _INT, _DIGITS),
    ("float", _FLOAT, [*_DIGITS, "."]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("merge", r"<<", ["<"]),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # filled below, by PyYAML's own function

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f'the key "{key.value}" is given twice', key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read back as text."""


for _tag, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    # PyYAML's own constructor reads 010 as eight.
    return int(loader.construct_scalar(node))


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Between single quotes PyYAML folds Unicode's own line breaks into spaces.
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Dumper.add_representer(str, _represent_text)


def read_yaml(text: str) -> JsonValue:
    """The value of a YAML text.

    Raises:
        ValueError: It is not valid YAML; the message, on one line, says where.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        # PyYAML names the text that it was given after its type.
        raise ValueError(" ".join(str(error).replace(' in "<unicode string>",', " at").split())) from error


def dump_yaml(value: JsonValue) -> str:
    """A value as YAML, keys in their own order; `read_yaml` gives it back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
