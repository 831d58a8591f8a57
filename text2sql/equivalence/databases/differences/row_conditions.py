"""Conditions on one column of a row: values on which those of the two queries do not agree.

``strftime('%j', d) > '059'`` and ``strftime('%m', d) >= '03'`` part on one day in four years, which no literal names.
So the conditions over a column are asked of every day of some years, and of every value that one of them suggests; of
each way in which they do not agree, one value becomes a row of a database.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.declared import Declared, fits
from text2sql.equivalence.databases.differences.collisions import Evaluate, variations
from text2sql.equivalence.databases.plan import Condition, Plan, atoms
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.schema import Column
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Row, Value

# Databases for a column, values near literals, and years of which every day is asked. One of the two that are always
# asked is a leap year.
_MOST, _NEAR, _MOST_YEARS, _YEARS = 4, 60, 3, (2020, 2021)
# Texts whose variations are asked, too, and columns that are NULL where only one query asks something of them.
_VARIED, _MOST_NULL = 16, 4
# Values of a column that CASE names.
_MOST_NAMED = 6
_YEAR = re.compile(r"(?<!\d)[12]\d{3}(?!\d)")
# Days of which every half hour is asked: all days of the week twice.
_WHOLE_DAYS = 14


def row_samples(
    plan: Plan,
    declared: Declared,
    columns: Mapping[ColumnKey, Column],
    literals: Callable[[ColumnKey], list[Value]],
    ask: Evaluate,
) -> list[tuple[Sample, ...]]:
    """Databases on which what the queries ask of a single row parts.

    Args:
        plan: The compiled pair.
        declared: Which values suit the columns.
        columns: The columns of the tables that rows are made for.
        literals: Of a column the values near the literals of the queries.
        ask: Puts values of a column through expressions.
    """
    found = [*_without_values(plan, columns), *_alone(plan)]
    # Where a query reads a table twice, a row that is there for one of the places may do for the other.
    twice = {name for name in plan.tables if plan.tables.count(name) > len(plan.queries)}
    for key, column in columns.items():
        query = plan.reader(key[0])
        for default in plan.defaults.get(key[1], ()):
            # With NULL next to a value on either side of what stands for it.
            pairs = [((None,), (default + step,)) for step in (-5, 5)]
            good = [rows for rows in pairs if len(declared.fitting(key, [row[0] for row in rows])) == len(rows)]
            found += [(Sample(query, (key,), rows, alike=True),) for rows in good]
        named = declared.fitting(key, dict.fromkeys(v for v in plan.hints.get(key[1], ()) if v in plan.literals))
        if len(named) > 1:
            # What CASE names, and something else: which comes first must show.
            values = declared.fitting(key, dict.fromkeys([*named[:_MOST_NAMED], "zzz", 0, None]))
            found.append((Sample(query, (key,), tuple((value,) for value in values)),))
        by_query = _conditions(plan, key)
        nodes = [node for own in by_query for node in own]
        if any(node.differs for node in nodes) and (len(nodes) > 1 or key[0] in twice):
            near = [*literals(key)[:_NEAR], *filter(fits, (value for node in nodes for value in node.candidates))]
            if declared.kinds[key] == "text":
                taken_out = _literals(plan.functions.get(key[1], ()))
                # What the conditions compare with comes first.
                varied = dict.fromkeys([*_literals(node.expression for node in nodes if node.expression), *near])
                near += [other for value in list(varied)[:_VARIED] for other in variations(value, "text", taken_out)]
            values = declared.fitting(key, dict.fromkeys([*near, *_calendar(declared.kinds[key], nodes)]))
            results = ask([_text(node) for node in nodes], column, values) or ()
            # What a query does not ask about, its rows need not meet.
            free = [number for number, own in enumerate(by_query) if not any(node.differs for node in own)]
            found += _parted(free[0] if free else query, key, nodes, zip(values, results, strict=False))
        else:
            found += _compared_with_columns(plan, query, key, declared)
    # Once more without other rows in the table.
    again = [
        (replace(one[0], ranked=True),)
        for one in found
        if len(one) == 1 and {name for name, _ in one[0].columns} & twice
    ]
    return list(dict.fromkeys([*found, *again]))


def _literals(expressions: Iterable[exp.Expr]) -> list[Value]:
    found = (literal_value(part) for expression in expressions for part in expression.find_all(exp.Literal))
    return list(dict.fromkeys(value for value in found if value != ""))


def _alone(plan: Plan) -> Iterator[tuple[Sample, ...]]:
    """A database for each query with the rows that it needs and no others, where rows are linked in different ways."""
    linked = (atom for query in plan.queries for atom in atoms(query) if atom.kind in ("eq", "rel"))
    if any(atom.differs for atom in linked):
        yield from ((Sample(number, (), ((),)),) for number in range(len(plan.queries)))


def _without_values(plan: Plan, columns: Mapping[ColumnKey, Column]) -> Iterator[tuple[Sample, ...]]:
    """A database on which all that a query asks holds; what not every query asks about is NULL, column by column."""
    asked = [
        plan.column_of(slot) for query in plan.queries for node in atoms(query) if node.differs for slot in node.slots
    ]
    if any(plan.aggregated.values()):
        # Of no rows there is a count, and no sum; a CASE or a filter in an aggregate asks what WHERE may ask.
        asked += [plan.column_of(slot) for query in plan.queries for node in atoms(query) for slot in node.slots]
    # So is a column that only one query counts, sums or the like.
    own = [{key for _, key in plan.aggregated.get(number, ()) if key} for number in range(len(plan.queries))]
    asked += sorted(key for found in own for key in found if any(key not in other for other in own))
    keys = [key for key in dict.fromkeys(asked) if key in columns and not columns[key].not_null][:_MOST_NULL]
    if keys:
        yield tuple(Sample(query, (key,), ((None,),)) for query in range(len(plan.queries)) for key in keys)


def _compared_with_columns(plan: Plan, query: int, key: ColumnKey, declared: Declared) -> Iterator[tuple[Sample, ...]]:
    """Rows on the constants of a table that a query makes up, if only one query compares a column with them so."""
    differing = [
        node
        for number in plan.queries
        for node in atoms(number)
        if node.spelt and node.differs and plan.column_of(node.slots[0]) == key
    ]
    near = dict.fromkeys(value for node in differing for value in node.candidates)
    for value in declared.fitting(key, near)[:_MOST]:
        yield (Sample(query, (key,), ((value,),)),)


def _conditions(plan: Plan, key: ColumnKey) -> list[list[Condition]]:
    """Of each query the conditions over one column alone."""
    return [
        [
            node
            for node in atoms(query)
            if len(node.slots) == 1 and node.op != "aggregate" and plan.column_of(node.slots[0]) == key and _text(node)
        ]
        for query in plan.queries
    ]


def _parted(
    query: int, key: ColumnKey, nodes: Sequence[Condition], results: Iterable[tuple[Value, Row]]
) -> list[tuple[Sample, ...]]:
    """A row each on which the conditions that differ do not agree, while the others hold as far as may be."""
    best: dict[tuple[bool, ...], tuple[int, Value]] = {}
    for value, row in results:
        truth = [bool(result) for result in row]
        differing = tuple(true for true, node in zip(truth, nodes, strict=True) if node.differs)
        missed = sum(not true for true, node in zip(truth, nodes, strict=True) if not node.differs)
        # A condition that only one query has, and no other like it, parts them where all else holds.
        alone = len(differing) == 1 and not missed
        if (alone or len(set(differing)) > 1) and (differing not in best or missed < best[differing][0]):
            best[differing] = missed, value
    chosen = sorted(best.values(), key=lambda pair: pair[0])[:_MOST]
    return [(Sample(query, (key,), ((value,),)),) for _, value in chosen]


def _calendar(kind: str, nodes: Sequence[Condition]) -> Iterator[Value]:
    """For a column of dates or moments every day of some years: those that the conditions name, and two others."""
    if kind not in ("date", "datetime"):
        return
    named = [int(year) for node in nodes for year in _YEAR.findall(_text(node))]
    for year in list(dict.fromkeys([*named, *_YEARS]))[:_MOST_YEARS]:
        day, number = datetime.date(year, 1, 1), 0
        while day.year == year:
            yield day.isoformat() if kind == "date" else f"{day.isoformat()} 12:00:00"
            if kind == "datetime" and number < _WHOLE_DAYS:
                yield from (f"{day.isoformat()} {hour:02d}:{half}:00" for hour in range(24) for half in ("00", "30"))
            day, number = day + datetime.timedelta(1), number + 1


def _text(node: Condition) -> str:
    """A condition over v0 for SQLite; empty where SQLite alone cannot decide it."""
    if node.kind == "cmp":
        return f"v0 {node.op} {to_sqlite(exp.convert(node.literal))}"
    return to_sqlite(node.expression) if node.kind == "func" and node.expression is not None else ""
