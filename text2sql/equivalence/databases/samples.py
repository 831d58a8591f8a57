"""Rows made on purpose, few enough to be tried whole: a group at the boundary of a comparison, two values that meet.

What a group comes out at is found by asking SQLite: many small groups are put through the very comparison, and those
that meet its boundary, and those that miss it by the least, become rows of a database each, whatever the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from text2sql.equivalence.databases.boundaries import Boundary, ColumnKey
from text2sql.equivalence.databases.values.column_values import derived
from text2sql.sql.values import Row, Value

Group = tuple[Row, ...]
# Values of a column for tuples of values, for groups of one value, and for groups of two.
_TUPLED, _UNIFORM, _MIXED = 7, 64, 9
# Numbers that arithmetic leads to.
_MOST_NUMBERS = 48
# How often each of two values is in a group.
_MIXES = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2), (1, 4), (4, 1))
# Rows of a group, rows of all groups of a search, and the denominator of a share that is looked for.
_LARGEST, _MOST_ROWS, _FINEST = 60, 4000, 50

# Puts groups through expressions; None where SQLite does not say.
Ask = Callable[[Sequence[str], Boundary, Sequence[Group]], "list[Row] | None"]
# Of a column the values, among those given, that it may hold; and whether a value meets what is asked of a single row.
Fitting = Callable[[ColumnKey, Iterable[Value]], list[Value]]
Meets = Callable[[ColumnKey, Value], bool]


@dataclass(frozen=True)
class Sample:
    """Rows that one scenario of a query has.

    Attributes:
        query: The number of the query.
        columns: The columns that are given.
        rows: Their values, one row for each copy of the scenario.
        once: Those of the columns that have one value for all copies.
        alike: Whether the copies agree in all else that may be equal.
        ranked: Whether each of the rows is compared with all of them, so that no others may be there.
        holds: Whether the comparison holds of it.
        apart: Whether each copy is a separate group, so that only a partition is kept.
    """

    query: int
    columns: tuple[ColumnKey, ...]
    rows: Group
    once: frozenset[ColumnKey] = frozenset()
    alike: bool = False
    ranked: bool = False
    holds: bool = False
    apart: bool = False


def boundary_samples(
    query: int, boundary: Boundary, pools: dict[ColumnKey, list[Value]], fitting: Fitting, meets: Meets, ask: Ask
) -> list[tuple[Sample, ...]]:
    """Databases for a boundary: a group that meets it, one on each side, and all of them together.

    Args:
        query: The number of the query.
        boundary: What it asks of a group.
        pools: Ordinary values of its columns.
        fitting: Says which values a column may hold.
        meets: Says whether a row with a value is seen at all.
        ask: Puts groups through expressions.
    """
    found: dict[str, list[tuple[tuple[float, ...], Group]]] = {"equal": [], "above": [], "below": []}
    met: set[Group] = set()
    for signed in (False, True):
        if signed and (all(found.values()) or not boundary.signed):
            break
        groups = _candidates(boundary, pools, fitting, signed=signed)
        texts = [boundary.equal, boundary.holds, boundary.distance, boundary.context or "1"]
        for group, (equal, holds, distance, context) in zip(groups, ask(texts, boundary, groups) or [], strict=False):
            seen = all(meets(key, value) for row in group for key, value in zip(boundary.columns, row, strict=True))
            far = abs(distance) if isinstance(distance, (int, float)) else 0.0
            rank = (float(not context), float(not seen), 0.0 if equal else far, float(len(group)))
            met.update([group] if holds and context else [])
            found["equal" if equal else "above" if holds else "below"].append((rank, group))
    chosen = [sorted(side, key=lambda pair: pair[0])[0][1] for side in found.values() if side]
    # A second group at the boundary, of another size: where a key is counted the first may be too small, or too large.
    others = [pair for pair in found["equal"] if len(pair[1]) != len(chosen[0])] if found["equal"] else []
    samples = [_sample(query, boundary, group, group in met) for group in chosen]
    if boundary.ranked:
        return [(sample,) for sample in samples[:1]]
    further = [_sample(query, boundary, min(others, key=lambda pair: pair[0])[1], False)] if others else []
    return [*((sample,) for sample in samples), tuple(samples), *((sample,) for sample in further)]


def parting_samples(
    query: int,
    boundary: Boundary,
    apart: str,
    pools: dict[ColumnKey, list[Value]],
    fitting: Fitting,
    meets: Meets,
    ask: Ask,
) -> list[tuple[Sample, ...]]:
    """Databases for two comparisons: the smallest groups on which they do not agree, one for each way round.

    Args:
        query: The number of the query whose rows these are.
        boundary: The first comparison, over the columns of both.
        apart: That the comparisons do not agree.
        pools: As in `boundary_samples`, like the rest.
        fitting: See there.
        meets: See there.
        ask: See there.
    """
    groups = _candidates(boundary, pools, fitting, signed=boundary.signed)
    found: dict[object, tuple[tuple[bool, int], Group]] = {}
    for group, (differs, holds) in zip(groups, ask([apart, boundary.whole], boundary, groups) or [], strict=False):
        if differs:
            seen = all(meets(key, value) for row in group for key, value in zip(boundary.columns, row, strict=True))
            rank = (not seen, len(group))
            if holds not in found or rank < found[holds][0]:
                found[holds] = rank, group
    return [(_sample(query, boundary, group, bool(holds)),) for holds, (_, group) in found.items()]


def _sample(query: int, boundary: Boundary, group: Group, holds: bool) -> Sample:
    return Sample(query, boundary.columns, group, boundary.once, ranked=boundary.ranked, holds=holds)


def _candidates(
    boundary: Boundary, pools: dict[ColumnKey, list[Value]], fitting: Fitting, *, signed: bool
) -> list[Group]:
    numbers = _reached(boundary.numbers)
    values = {key: _values(key, boundary, numbers, pools[key], fitting) for key in boundary.columns}
    if signed:
        values = {key: fitting(key, dict.fromkeys([*_signed(numbers), *own])) for key, own in values.items()}
    return list(_limited(_groups(boundary, values, numbers)))


def _reached(numbers: Sequence[int | float]) -> list[int | float]:
    """The numbers of a comparison, and what arithmetic with the others makes of the first in two steps."""
    if not numbers:
        return []
    first, *others = numbers[:4]
    found: list[int | float] = list(numbers)
    for other in others:
        for once in _combined(first, other):
            found.append(once)
            found += [twice for third in others if third is not other for twice in _combined(once, third)]
    whole = [int(value) if float(value).is_integer() else value for value in found if abs(value) < 2**53]
    return list(dict.fromkeys(whole))[:_MOST_NUMBERS]


def _combined(one: int | float, other: int | float) -> list[int | float]:
    return [one + other, one - other, one * other, *([one / other] if other else [])]


def _values(
    key: ColumnKey,
    boundary: Boundary,
    numbers: Sequence[int | float],
    pool: list[Value],
    fitting: Fitting,
) -> list[Value]:
    """Values for one column, those near the numbers first."""
    near: list[Value] = []
    for number in numbers[:_MIXED]:
        whole = int(number // 1)
        near += [number, whole, whole + 1, whole - 1]
    near += numbers[_MIXED:]
    parts = [number / size for size in _sizes(boundary) for number in boundary.numbers[:2] if size > 1]
    near += [int(value) if value.is_integer() else value for value in parts]
    texts = [
        value for literal in boundary.literals if isinstance(literal, str) for value in derived(literal, "text")[:6]
    ]
    # A row that is as far from the average of two as the number says is twice as far from the other one.
    near = [*(2 * number for number in boundary.numbers[:1] if boundary.ranked), *near]
    # NULL among the first: what an aggregate leaves out, COUNT(*) counts.
    return fitting(
        key, dict.fromkeys([*texts, *boundary.numbers[:5], *near[:4], 0, 1, None, *near[4:], 2, 3, *pool[:10]])
    )


def _signed(numbers: Sequence[int | float]) -> list[Value]:
    """Values on either side of zero, those near the numbers first."""
    near = [sign * (number + step) for number in numbers[:1] for step in (0, 1) for sign in (-1, 1)]
    return [*near, 0, -1, 1, -2, 2, None, -5, 5]


def _sizes(boundary: Boundary) -> list[int]:
    """How many rows groups have: a few, or as many as are counted."""
    sizes = [*range(1, 4), *(int(n) + step for n in boundary.numbers for step in (0, 1, -1, 2)), *range(4, 9)]
    return [size for size in dict.fromkeys(sizes) if 1 <= size <= _LARGEST]


def _groups(
    boundary: Boundary, values: dict[ColumnKey, list[Value]], numbers: Sequence[int | float]
) -> Iterator[Group]:
    """Small groups, the simplest first."""
    sizes = _sizes(boundary)
    if not boundary.columns:
        counted = [int(n) + step for n in numbers for step in (0, 1, -1)]
        yield from (
            ((),) * size for size in dict.fromkeys([*sizes, *range(1, 40), *counted]) if 1 <= size <= _LARGEST * 5
        )
        return
    if len(boundary.columns) == 1:
        singles: list[Row] = [(value,) for value in values[boundary.columns[0]][:_UNIFORM]]
    else:
        singles = list(itertools.product(*(values[key][:_TUPLED] for key in boundary.columns)))[: _UNIFORM * 2]
    known = [row for row in singles if None not in row]
    fixed = [place for place, key in enumerate(boundary.columns) if key in boundary.once]
    for size in sizes:
        yield from ((row,) * size for row in singles[: _UNIFORM if size <= 3 else _MIXED])
        if size > 3 and len(boundary.columns) == 1:
            # Of N rows with this value, the sum is a number of the comparison.
            shares = {number / size for number in boundary.numbers[:2]}
            yield from (((value,),) * size for value in values[boundary.columns[0]] if value in shares)
        # Every row another: what is counted may be distinct values.
        alike = [row for row in known if all(row[place] == known[0][place] for place in fixed)][:size]
        if len(alike) == size > 1:
            yield tuple(alike)
    fractions = [
        Fraction(n).limit_denominator(_FINEST) for n in numbers if not float(n).is_integer() and abs(n) < 2**31
    ]
    parts = list(dict.fromkeys((share.numerator % share.denominator, share.denominator) for share in fractions))[:4]
    mixes = dict.fromkeys([*(mix for a, b in parts if a for mix in ((a, b - a), (b - a, a))), *_MIXES])
    few = singles[:_MIXED] if len(boundary.columns) == 1 else singles[: _MIXED + 4]
    for distinct, size in parts:
        # A share of different values among all.
        if 1 <= distinct <= min(size, len(known)) and not fixed:
            yield (*known[:distinct], *(known[0],) * (size - distinct))
    for first, second in itertools.permutations(few, 2):
        if all(first[place] == second[place] for place in fixed):
            yield from ((first,) * a + (second,) * b for a, b in mixes if a <= b or (a, b) not in _MIXES)


def _limited(groups: Iterable[Group]) -> Iterator[Group]:
    rows = 0
    for group in groups:
        rows += len(group)
        if rows > _MOST_ROWS:
            return
        yield group


def meeting_samples(
    query: int, key: ColumnKey, results: Sequence[Sequence[Value]], values: Sequence[Value]
) -> list[tuple[Sample, ...]]:
    """Databases for expressions over one column: two values that one of them takes for equal and another does not.

    Args:
        query: The number of the query.
        key: The column.
        results: Of each value what each of the expressions makes of it, in the order of the values.
        values: The values; the identity is an expression, too.
    """
    found: list[tuple[Sample, ...]] = []
    if not results:
        return found
    told = [[(type(v).__name__, v) for v in row] for row in results]
    named = [[*row, (type(value).__name__, value)] for row, value in zip(told, values, strict=True)]
    width = len(named[0])
    for merging, parting in itertools.permutations(range(width), 2):
        first: dict[tuple[str, Value], int] = {}
        for at, row in enumerate(named):
            if row[merging][1] is None:
                continue
            other = first.setdefault(row[merging], at)
            if named[other][parting] != row[parting]:
                rows = ((values[other],), (values[at],))
                found.append((Sample(query, (key,), rows, alike=True),))
                break
    return list(dict.fromkeys(found))
