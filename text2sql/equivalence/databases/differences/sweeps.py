"""Databases through which everything passes on which two queries may part, one value a row, whatever the seed.

Where a query asks something of one row, a row for every value shows it at once: the moments of `calendars`, the texts
that regular expressions match and nearly match. Drawn a few at a time, the one that decides would come up by luck.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.declared import Declared
from text2sql.equivalence.databases.plan import Plan, atoms, subqueries
from text2sql.equivalence.databases.samples import Sample
from text2sql.equivalence.databases.values.moments import (
    between_seconds,
    couples,
    crossings,
    days,
    days_on,
    run,
    written,
)
from text2sql.equivalence.databases.values.time_mentions import TimeMentions
from text2sql.sql.schema import Column
from text2sql.sql.values import Row, Value

_CLOCKS = ("date", "datetime", "moment")
# Columns that hold moments, and couples of them; columns of texts, and the texts of one.
_MOST_COLUMNS, _MOST_COUPLES, _MOST_TEXTS, _LONGEST = 3, 2, 3, 130
# Couples of one column that are a database each.
_MOST_ALONE = 6
# Days in a row, and numbers of days in a row.
_LONGEST_STREAK, _MOST_STREAKS = 40, 2
# Values of a column that follow each other in every order.
_MOST_FOLLOWING = 3
# The length of a run where none is counted.
_RUN = 3


def holds_moments(kind: str) -> bool:
    """Whether a column of a kind holds dates or moments."""
    return kind in _CLOCKS


def sweep_samples(plan: Plan, declared: Declared, columns: Mapping[ColumnKey, Column]) -> list[tuple[Sample, ...]]:
    """The databases for a pair.

    Args:
        plan: The compiled pair.
        declared: Which values suit the columns.
        columns: The columns of the tables that rows are made for.
    """
    found: list[Sample] = []
    groups: list[tuple[Sample, ...]] = []
    if plan.time_mentions is not None:
        timed = [key for key in columns if holds_moments(declared.kinds[key]) and not columns[key].generated]
        found += _timed(plan, plan.time_mentions, declared, timed[:_MOST_COLUMNS])
        if plan.time_mentions.strides:
            groups += _coupled(plan, plan.time_mentions, declared, timed[:_MOST_COLUMNS])
    asked = {plan.column_of(slot) for slot in range(len(plan.slots))}
    fine = [key for key in columns if key[1] in plan.fractional and not columns[key].generated]
    for key in sorted(fine, key=lambda key: key not in asked)[:_MOST_COLUMNS]:
        near = between_seconds(plan.literals, plan.time_mentions, declared.kinds[key])
        found += _both(plan, key, _fitting(declared, (key,), [near]))
    texts = [key for key in columns if key[1] in plan.swept and not holds_moments(declared.kinds[key])]
    for key in [key for key in texts if not columns[key].generated][:_MOST_TEXTS]:
        values = declared.fitting(key, dict.fromkeys(plan.swept[key[1]]))[:_LONGEST]
        found += _both(plan, key, [(value,) for value in values])
    found += _streaks(plan, declared)
    found += _left_out(plan, declared)
    return [*groups, *((sample,) for sample in dict.fromkeys(found))]


def _timed(plan: Plan, mentions: TimeMentions, declared: Declared, keys: Sequence[ColumnKey]) -> Iterator[Sample]:
    for key in keys:
        kind = declared.kinds[key]
        yield from _both(plan, key, _fitting(declared, (key,), [[*written(days(mentions, kind), kind), None]]))
        if mentions.strides:
            rows = _fitting(declared, (key,), [written(run(mentions, kind), kind)])
            yield Sample(plan.reader(key[0]), (key,), rows, apart=True)
    for pair in list(itertools.combinations(keys, 2))[:_MOST_COUPLES]:
        found = couples(mentions)
        found += [couple for couple in crossings(mentions, _coarser(declared, pair)) if couple not in found]
        # Which of the two columns is the later one is not known.
        ways = [[a for a, _ in found] + [b for _, b in found], [b for _, b in found] + [a for a, _ in found]]
        texts = [written(way, declared.kinds[key]) for key, way in zip(pair, ways, strict=True)]
        known = texts[0][0], texts[1][0]
        rows = (*_fitting(declared, pair, texts), (None, known[1]), (known[0], None))
        yield Sample(plan.reader(pair[0][0]), pair, tuple(dict.fromkeys(rows)), apart=True)


def _coarser(declared: Declared, pair: Sequence[ColumnKey]) -> str:
    return "date" if any(declared.kinds[key] == "date" for key in pair) else "datetime"


def _coupled(
    plan: Plan, mentions: TimeMentions, declared: Declared, keys: Sequence[ColumnKey]
) -> Iterator[tuple[Sample, ...]]:
    """Groups of two rows each, between whose moments units begin more or less often than they pass.

    Where all rows are one group, whose ends alone matter, there is a database for each of a few couples.
    """
    parts = [part for query in plan.queries for part in subqueries(query)]
    alone = not any(part.group or part.partition or part.spread for part in parts)
    for key in keys:
        found = [written(couple, declared.kinds[key]) for couple in crossings(mentions, declared.kinds[key])]
        good = set(declared.fitting(key, [text for couple in found for text in couple]))
        rows = [tuple((text,) for text in couple) for couple in found if good.issuperset(couple)]
        samples = [Sample(plan.reader(key[0]), (key,), couple) for couple in rows]
        if samples:
            yield tuple(samples)
        if alone and key in plan.extremes:
            yield from ((sample,) for sample in samples[:_MOST_ALONE])


def _streaks(plan: Plan, declared: Declared) -> Iterator[Sample]:
    """Days, or numbers, in runs without a gap: as many as are counted, one fewer and one more.

    What a window sorts by and a query counts may be days in a row, by their distance from their number.
    """
    counted = [threshold.number for threshold in plan.thresholds if threshold.grouped]
    counted += [_RUN] if plan.runs else []
    lengths = list(dict.fromkeys(number for number in counted if 1 < number <= _LONGEST_STREAK))[:_MOST_STREAKS]
    steps: list[int] = []
    for length in (size for number in lengths for size in (number, number - 1, number + 1)):
        steps += range(start := max(steps, default=0) + 3, start + length)
    for key in sorted(plan.ordered & declared.kinds.keys()) if steps else ():
        kind = declared.kinds[key]
        values = days_on(steps, kind) if holds_moments(kind) else steps if kind == "integer" else []
        rows = _fitting(declared, (key,), [values])
        if rows:
            yield Sample(plan.reader(key[0]), (key,), rows, apart=True)
        if rows and plan.runs:
            # One that comes twice is no gap, but takes a number.
            twice = [row for place, row in enumerate(rows) for row in [row] * (1 + place % 2)]
            yield Sample(plan.reader(key[0]), (key,), tuple(twice), apart=True)


def _left_out(plan: Plan, declared: Declared) -> Iterator[Sample]:
    """Rows in an order in which every three of some values follow each other, where a window is sorted.

    What one query leaves out before its window looks at the row before, the other one leaves out after it.
    """
    for key, literals in _compared(plan).items() if plan.ordered else ():
        order = sorted(own for own in plan.ordered if own[0] == key[0] and own != key and own in declared.kinds)
        values = declared.fitting(key, dict.fromkeys([*literals, "zzz", 0]))[:_MOST_FOLLOWING]
        if len(values) < 2 or not order:
            continue
        followed = [values[place] for place in _every_three(len(values))]
        columns: list[Sequence[Value]] = [followed]
        for own in order:
            kind = declared.kinds[own]
            places = range(1, len(followed) + 1)
            columns.append(days_on(places, kind) if holds_moments(kind) else places if kind == "integer" else [])
        if all(columns):
            yield Sample(plan.reader(key[0]), (key, *order), _fitting(declared, (key, *order), columns), apart=True)


def _compared(plan: Plan) -> dict[ColumnKey, list[Value]]:
    """The literals with which the queries compare each column, of those with which they do not do so alike."""
    found: dict[ColumnKey, list[Value]] = {}
    differing = set[ColumnKey]()
    for node in (node for query in plan.queries for node in atoms(query) if node.kind == "cmp" and node.op == "="):
        key = plan.column_of(node.slots[0])
        found.setdefault(key, []).append(node.literal if not isinstance(node.literal, tuple) else None)
        differing |= {key} if node.differs else set()
    return {key: [value for value in own if value is not None] for key, own in found.items() if key in differing}


def _every_three(size: int) -> list[int]:
    """Numbers below a size in an order in which every three of them follow each other."""
    found = [0, 0]
    seen = set[tuple[int, int, int]]()
    while True:
        # The largest that has not followed these two (https://en.wikipedia.org/wiki/De_Bruijn_sequence).
        ahead = next((n for n in reversed(range(size)) if (found[-2], found[-1], n) not in seen), None)
        if ahead is None:
            return found
        seen.add((found[-2], found[-1], ahead))
        found.append(ahead)


def _both(plan: Plan, key: ColumnKey, rows: Sequence[Row]) -> Iterator[Sample]:
    """All rows in one group, so that what is equal by an expression meets, and each in a group of its own."""
    parts = [part for query in plan.queries for part in subqueries(query)]
    by_it = any(plan.column_of(slot) == key for part in parts for slot in part.group)
    groups = any(part.group or part.spread for part in parts)
    ways = (False,) if by_it else (False, True) if groups else (True,)
    for apart in ways if rows else ():
        yield Sample(plan.reader(key[0]), (key,), tuple(rows), apart=apart)


def _fitting(declared: Declared, keys: Sequence[ColumnKey], values: Sequence[Sequence[Value]]) -> tuple[Row, ...]:
    """Rows of the values, one column each, that all of the columns may hold."""
    good = [set(declared.fitting(key, list(own))) for key, own in zip(keys, values, strict=True)]
    rows = zip(*values, strict=True)
    return tuple(row for row in rows if all(value in own for value, own in zip(row, good, strict=True)))
