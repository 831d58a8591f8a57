"""Values of structs, maps and lists as JSON, of their declared types and near the literals of the queries."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from text2sql.engines.declared.types import NESTED, EngineType
from text2sql.engines.values.fitting import fit_value
from text2sql.sql.values import Value

# Values of one column.
_MAX_VALUES = 90
# Values of one part of a nested value.
_MAX_PART_VALUES = 24
# Nested types within nested types.
_MAX_DEPTH = 4
# Values near literals for one part.
_MAX_NEAR_LITERALS = 12
_NUMBERS = ("integer", "real", "decimal")
_USUAL_VALUES: dict[str, tuple[Value, ...]] = {
    "integer": (1, 2, 5, 6),
    "real": (1.5, 2.5, -0.5),
    "decimal": (1.5, 2, 7),
    "boolean": (1, 0),
    "date": ("2001-01-01", "2020-05-05"),
    "datetime": ("2001-01-01 10:00:00", "2020-05-05 00:00:00"),
    "time": ("10:00:00", "08:30:00"),
}


def nested_values(to: EngineType, literals: Sequence[Value], keys: Collection[str]) -> list[Value]:
    """Values for a column of structs, maps or lists; they do not depend on the seed.

    Args:
        to: The type of the column.
        literals: The literals that the queries compare with.
        keys: The keys that the queries look up in maps.
    """
    values = _whole_values(to, literals, sorted(keys), 0)
    texts = dict.fromkeys(json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values)
    return list[Value](texts)[:_MAX_VALUES]


def _part_values(to: EngineType, literals: Sequence[Value], keys: Sequence[str], depth: int) -> list[Any]:
    """Values of one part, including NULL."""
    if to.kind in NESTED:
        return (
            [*_whole_values(to, literals, keys, depth + 1)[:_MAX_PART_VALUES], None] if depth < _MAX_DEPTH else [None]
        )
    near = [value for literal in literals for value in _near(literal, to)][:_MAX_NEAR_LITERALS]
    plain: Sequence[Value] = to.labels or _USUAL_VALUES.get(to.kind, ("a", "b", "A"))
    fitted = dict.fromkeys(value for item in [*near, *plain] if (value := fit_value(item, to)) is not None)
    # NULL comes second, because later values are combined more often.
    return [*list(fitted)[:1], None, *list(fitted)[1:]]


def _near(literal: Value, to: EngineType) -> Iterator[Value]:
    """A literal and its neighbours, if the part's type fits it."""
    if isinstance(literal, (int, float)) and to.kind in _NUMBERS:
        yield from (literal, literal + 1, literal - 1)
    elif isinstance(literal, str) and to.kind not in (*_NUMBERS, "boolean") and not literal.startswith("$"):
        yield literal
        if to.kind == "text" and not to.labels:
            plain = literal.strip("%_")
            yield from (plain, plain.swapcase(), plain + "x")


def _whole_values(to: EngineType, literals: Sequence[Value], keys: Sequence[str], depth: int) -> list[Any]:
    if to.kind == "struct":
        pools = {name: _part_values(kind, literals, keys, depth) for name, kind in to.fields}
        return [dict.fromkeys(pools), *_combinations(pools)]
    element = to.element or EngineType("text", "TEXT")
    parts = _part_values(element, literals, keys, depth)
    if to.kind == "map":
        names = [*keys, *(str(name) for name in ("a", 1) if to.key is None or fit_value(name, to.key) == name)]
        rows = _combinations({name: [*parts, _MISSING, _MISSING] for name in names[:6]})
        return [{}, *({name: part for name, part in row.items() if part is not _MISSING} for row in rows)]
    if to.kind == "array":
        return list(_lists([part for part in parts if part is not None] or [None]))
    return [{}, []]


_MISSING = object()


def _combinations(pools: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Combinations of part values: all of them if they are few, otherwise a sample.

    The sample starts with the first values of all parts, which are near the queries' literals, goes on with every value
    of every part, and ends with random combinations, every second of which changes a single part of the one before.
    """
    if math.prod(map(len, pools.values())) <= _MAX_PART_VALUES:
        yield from (dict(zip(pools, values, strict=True)) for values in itertools.product(*pools.values()))
        return
    for number in range(min(_MAX_PART_VALUES, max(map(len, pools.values()), default=0))):
        yield {
            name: pool[(number + (index * number) // 2) % len(pool)] for index, (name, pool) in enumerate(pools.items())
        }
    for name, pool in pools.items():
        for value in pool[:_MAX_PART_VALUES]:
            yield {other: value if other == name else values[0] for other, values in pools.items()}
    rng, row = random.Random(0), dict[str, Any]()
    for number in range(_MAX_VALUES):
        redrawn = [rng.choice(list(pools))] if number % 2 else list(pools)
        row = row | {name: rng.choice([*pools[name], *pools[name][:3]]) for name in redrawn}
        yield row


def _lists(parts: list[Any]) -> Iterator[list[Any]]:
    """Lists with a value alone, first, later, twice, beside other values or NULL, and in other orders."""
    yield from ([], [None])
    for index, part in enumerate(parts[:_MAX_PART_VALUES]):
        other, third = parts[(index + 1) % len(parts)], parts[(index + 2) % len(parts)]
        yield from ([part], [other, part], [part, part, other], [part, None], [third, other, part, other])
