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


_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
# What people write, with two orders of magnitude to spare.
_MAX_LEVELS, _MAX_VALUES = 50, 100_000
# Digits of a number.
_MAX_DIGITS = 300
# PyYAML's tags of what is no value of JSON.
_OTHER_TAGS = ("binary", "timestamp", "set", "omap", "pairs")


class _Loader(yaml.SafeLoader):
    """Reads what a configuration may hold: texts, numbers, lists and keys with values, of a size that people write."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # filled below, by PyYAML's own function

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # Of each node that is complete: how many values it stands for with its aliases written out, and its levels.
        self._extent: dict[int, tuple[int, int]] = {}
        self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        self._level += 1
        _check(self._level <= _MAX_LEVELS, f"values are nested more than {_MAX_LEVELS} deep", event)
        node = super().compose_node(parent, index)
        self._level -= 1
        if isinstance(event, yaml.AliasEvent):
            _check(id(node) in self._extent, f"*{event.anchor} stands inside of what it names", event)
        else:
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [part for value in parts for part in (value if isinstance(value, tuple) else (value,))]
            sizes, levels = zip(*(self._extent[id(part)] for part in inner), strict=True) if inner else ([0], [0])
            self._extent[id(node)] = extent = (1 + sum(sizes), 1 + max(levels))
            is_small = extent[0] <= _MAX_VALUES and extent[1] <= _MAX_LEVELS
            _check(is_small, "with its aliases written out, this is too large for a configuration", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        # Before anything is constructed: the keys of a mapping that is merged into another stand in it too, by then.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            _check(isinstance(key, yaml.ScalarNode), "a key must be one word, not a list or further keys", key)
            if key.tag != _MERGE:
                _check(key.value not in seen, f'the key "{key.value}" is given twice', key)
                seen.add(key.value)
                # A key is its text, also where it looks like a number.
                key.tag = _TEXT
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        _check(isinstance(node, yaml.MappingNode), "keys and values are expected here", node)
        return super().construct_mapping(node, deep)


def _check(holds: bool, problem: str, place: Any) -> None:
    """Raise the error of a node or an event unless a condition holds."""
    if not holds:
        raise yaml.constructor.ConstructorError(None, None, problem, place.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read back as text."""


for _tag, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    # PyYAML's own constructor reads 010 as eight.
    text = loader.construct_scalar(node)
    _check(len(text) <= _MAX_DIGITS, f"a number has {len(text):,} digits", node)
    return int(text)


def _refuse_tag(loader: _Loader, node: yaml.Node) -> None:
    _check(False, f"{node.tag.replace('tag:yaml.org,2002:', '!!')} is no value of a configuration", node)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Between single quotes PyYAML folds Unicode's own line breaks into spaces.
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
for _name in _OTHER_TAGS:
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _refuse_tag)
_Loader.add_constructor(None, _refuse_tag)
_Dumper.add_representer(str, _represent_text)


def read_yaml(text: str) -> JsonValue:
    """The value of a YAML text.

    Raises:
        ValueError: It is not valid YAML; the message, on one line, says where.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(where + _in_words(error)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: the character U+{error.character:04X} may not stand in it") from error
    # `!!int x` and the like: PyYAML's constructors take the tag's word for it.
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("a tag (!!) does not go with its value") from error


def _in_words(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's problem without its view of the text, which repeats what may be a password."""
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    if problem == "mapping values are not allowed here":
        return 'a colon that does not follow a key; write quotes around a text with ": " in it'
    return " ".join(filter(None, [error.context, problem]))


def dump_yaml(value: JsonValue) -> str:
    """A value as YAML, keys in their own order; `read_yaml` gives it back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
