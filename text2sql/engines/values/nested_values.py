"""Values of structs, maps and lists, as JSON: of the types that they are declared with, and near what queries ask."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from text2sql.engines.declared.types import NESTED, EngineType
from text2sql.engines.values.fitting import fit
from text2sql.sql.values import Value

# Values of one column, of one part of a value, and how deep types are followed.
_MOST, _MOST_PARTS, _DEEPEST = 90, 24, 4
# Of one part, values near literals.
_MOST_NEAR = 12
_NUMBERS = ("integer", "real", "decimal")
_PLAIN: dict[str, tuple[Value, ...]] = {
    "integer": (1, 2, 5, 6),
    "real": (1.5, 2.5, -0.5),
    "decimal": (1.5, 2, 7),
    "boolean": (1, 0),
    "date": ("2001-01-01", "2020-05-05"),
    "datetime": ("2001-01-01 10:00:00", "2020-05-05 00:00:00"),
    "time": ("10:00:00", "08:30:00"),
}


def nested_values(to: EngineType, literals: Sequence[Value], keys: Collection[str]) -> list[Value]:
    """Values for a column of structs, maps or lists; the same for every seed.

    Args:
        to: The column's type.
        literals: What the queries compare with.
        keys: The names that the queries look up in maps.
    """
    found = _several(to, literals, sorted(keys), 0)
    texts = dict.fromkeys(json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in found)
    return list[Value](texts)[:_MOST]


def _parts(to: EngineType, literals: Sequence[Value], keys: Sequence[str], depth: int) -> list[Any]:
    """Values of a part, NULL among them."""
    if to.kind in NESTED:
        return [*_several(to, literals, keys, depth + 1)[:_MOST_PARTS], None] if depth < _DEEPEST else [None]
    near = [value for literal in literals for value in _near(literal, to)][:_MOST_NEAR]
    plain: Sequence[Value] = to.labels or _PLAIN.get(to.kind, ("a", "b", "A"))
    fitted = dict.fromkeys(value for item in [*near, *plain] if (value := fit(item, to)) is not None)
    # NULL comes early, so that few values have it.
    return [*list(fitted)[:1], None, *list(fitted)[1:]]


def _near(literal: Value, to: EngineType) -> Iterator[Value]:
    """A literal and its neighbours, where a part holds such values."""
    if isinstance(literal, (int, float)) and to.kind in _NUMBERS:
        yield from (literal, literal + 1, literal - 1)
    elif isinstance(literal, str) and to.kind not in (*_NUMBERS, "boolean") and not literal.startswith("$"):
        yield literal
        if to.kind == "text" and not to.labels:
            plain = literal.strip("%_")
            yield from (plain, plain.swapcase(), plain + "x")


def _several(to: EngineType, literals: Sequence[Value], keys: Sequence[str], depth: int) -> list[Any]:
    if to.kind == "struct":
        pools = {name: _parts(kind, literals, keys, depth) for name, kind in to.fields}
        return [dict.fromkeys(pools), *_rows(pools)]
    element = to.element or EngineType("text", "TEXT")
    parts = _parts(element, literals, keys, depth)
    if to.kind == "map":
        names = [*keys, *(str(name) for name in ("a", 1) if to.key is None or fit(name, to.key) == name)]
        rows = _rows({name: [*parts, _MISSING, _MISSING] for name in names[:6]})
        return [{}, *({name: part for name, part in row.items() if part is not _MISSING} for row in rows)]
    if to.kind == "array":
        return list(_lists([part for part in parts if part is not None] or [None]))
    return [{}, []]


_MISSING = object()


def _rows(pools: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Combinations of the values of some parts.

    All of them where they are few. Else first the first values of all, which are what the queries ask for, then every
    value of every part, then others by chance, every other one of which differs from the one before in one part alone.
    """
    if math.prod(map(len, pools.values())) <= _MOST_PARTS:
        yield from (dict(zip(pools, values, strict=True)) for values in itertools.product(*pools.values()))
        return
    for number in range(min(_MOST_PARTS, max(map(len, pools.values()), default=0))):
        yield {
            name: pool[(number + (place * number) // 2) % len(pool)] for place, (name, pool) in enumerate(pools.items())
        }
    for name, pool in pools.items():
        for value in pool[:_MOST_PARTS]:
            yield {other: value if other == name else values[0] for other, values in pools.items()}
    rng, row = random.Random(0), dict[str, Any]()
    for number in range(_MOST):
        fresh = [rng.choice(list(pools))] if number % 2 else list(pools)
        row = row | {name: rng.choice([*pools[name], *pools[name][:3]]) for name in fresh}
        yield row


def _lists(parts: list[Any]) -> Iterator[list[Any]]:
    """Lists in which a value stands alone, first, later, twice, beside others or NULL, and in other orders."""
    yield from ([], [None])
    for place, part in enumerate(parts[:_MOST_PARTS]):
        other, third = parts[(place + 1) % len(parts)], parts[(place + 2) % len(parts)]
        yield from ([part], [other, part], [part, part, other], [part, None], [third, other, part, other])
