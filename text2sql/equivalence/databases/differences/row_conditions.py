"""Conditions on one column of a row: values on which those of the two queries do not agree.

``strftime('%j', d) > '059'`` and ``strftime('%m', d) >= '03'`` differ on one day in four years, which no literal names.
So the conditions over a column are asked of every day of some years, and of every value that one of them suggests; of
each way in which they do not agree, one value becomes a row of a database. Besides, there are databases with NULL in
the columns that only one query asks about, next to a number that COALESCE puts in its place, with the values that CASE
names, and with nothing but the rows that one query needs.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sqlglot import exp

from text2sql.equivalence.databases.column_constraints import is_storable
from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.differences.collisions import variations
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Condition, Plan, atoms
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Row, Value

# Databases for the conditions on one column.
_MAX_DATABASES = 4
# Values near literals that conditions are asked of, and texts among them whose variations are asked, too.
_MAX_NEAR_LITERALS = 60
_MAX_VARIED_TEXTS = 16
# Years of which every day is asked; two of them always, one of which is a leap year.
_MAX_YEARS = 3
_DEFAULT_YEARS = (2020, 2021)
_YEAR = re.compile(r"(?<!\d)[12]\d{3}(?!\d)")
# Days at the start of a year of which every half hour is asked: all days of the week, twice.
_DAYS_WITH_HOURS = 14
# Columns that are NULL where only one query asks something of them.
_MAX_NULL_COLUMNS = 4
# Values of a column that CASE names.
_MAX_CASE_VALUES = 6
# How far a column's value is from the number that COALESCE puts in place of its NULL.
_DEFAULT_DISTANCE = 5


def row_condition_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """Databases on which what the queries ask of a single row differs."""
    databases = [*_null_samples(plan, domains), *_single_query_samples(plan)]
    # Where a query reads a table twice, a row that is there for one of the references may do for the other.
    read_twice = {name for name in plan.tables if plan.tables.count(name) > len(plan.queries)}
    for key in domains.columns:
        databases += _default_samples(plan, key, domains)
        databases += _case_samples(plan, key, domains)
        conditions = _single_column_conditions(plan, key)
        nodes = [node for own in conditions for node in own]
        if any(node.differs for node in nodes) and (len(nodes) > 1 or key[0] in read_twice):
            databases += _disagreement_samples(plan, key, conditions, domains)
        else:
            databases += _constant_table_samples(plan, key, domains)
    # Once more without other rows in the table.
    again = [
        (replace(samples[0], no_other_rows=True),)
        for samples in databases
        if len(samples) == 1 and {name for name, _ in samples[0].columns} & read_twice
    ]
    return list(dict.fromkeys([*databases, *again]))


def _null_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """A database on which all that a query asks holds; the columns that not every query asks about are NULL."""
    keys = [
        plan.column_of(slot) for query in plan.queries for node in atoms(query) if node.differs for slot in node.slots
    ]
    if any(plan.groups.aggregates.values()):
        # Of no rows there is a count, and no sum; a CASE or FILTER in an aggregate may ask what WHERE asks.
        on_rows = [
            node for query in plan.queries for node in atoms(query) if len(node.slots) == 1 and not node.over_groups
        ]
        keys += [plan.column_of(slot) for node in on_rows for slot in node.slots]
    # So is a column that only one query counts, sums or the like.
    aggregated = [
        {key for _, key in plan.groups.aggregates.get(query, ()) if key} for query in range(len(plan.queries))
    ]
    keys += sorted(key for own in aggregated for key in own if any(key not in other for other in aggregated))
    nullable = [key for key in dict.fromkeys(keys) if key in domains.columns and not domains.columns[key].not_null]
    if nullable:
        chosen = nullable[:_MAX_NULL_COLUMNS]
        yield tuple(Sample(query, (key,), ((None,),)) for query in range(len(plan.queries)) for key in chosen)


def _single_query_samples(plan: Plan) -> Iterator[SampleDatabase]:
    """A database for each query with the rows that it needs and no others, where rows are linked in different ways."""
    links = (node for query in plan.queries for node in atoms(query) if node.kind in ("equal", "relate"))
    if any(node.differs for node in links):
        yield from ((Sample(query, (), ((),)),) for query in range(len(plan.queries)))


def _default_samples(plan: Plan, key: ColumnKey, domains: Domains) -> Iterator[SampleDatabase]:
    """NULL next to a value on either side of the number that COALESCE puts in its place."""
    for default in plan.columns.null_defaults.get(key[1], ()):
        for value in (default - _DEFAULT_DISTANCE, default + _DEFAULT_DISTANCE):
            if len(domains.constraints.allowed(key, [None, value])) == 2:
                rows = ((None,), (value,))
                yield (Sample(plan.first_reader(key[0]), (key,), rows, copies_agree=True),)


def _case_samples(plan: Plan, key: ColumnKey, domains: Domains) -> Iterator[SampleDatabase]:
    """The values that a CASE names, and something else: which branch comes first must show."""
    hints = plan.columns.hints.get(key[1], ())
    named = domains.constraints.allowed(key, dict.fromkeys(value for value in hints if value in plan.literals))
    if len(named) > 1:
        values = domains.constraints.allowed(key, dict.fromkeys([*named[:_MAX_CASE_VALUES], "zzz", 0, None]))
        yield (Sample(plan.first_reader(key[0]), (key,), tuple((value,) for value in values)),)


def _single_column_conditions(plan: Plan, key: ColumnKey) -> list[list[Condition]]:
    """Of each query the conditions over one column alone that SQLite can decide."""
    return [
        [
            node
            for node in atoms(query)
            if len(node.slots) == 1 and not node.over_groups and plan.column_of(node.slots[0]) == key and _sql(node)
        ]
        for query in plan.queries
    ]


def _disagreement_samples(
    plan: Plan, key: ColumnKey, conditions: Sequence[Sequence[Condition]], domains: Domains
) -> list[SampleDatabase]:
    """Values of a column on which the queries' conditions over it do not agree.

    Args:
        plan: The compiled pair.
        key: The column.
        conditions: Of each query its conditions over the column.
        domains: The values of the columns.
    """
    nodes = [node for own in conditions for node in own]
    kind = domains.constraints.kinds[key]
    candidates = (value for node in nodes for value in node.candidates)
    near = [*domains.literals(key)[:_MAX_NEAR_LITERALS], *filter(is_storable, candidates)]
    if kind == "text":
        removed = _literals(plan.columns.functions.get(key[1], ()))
        # The literals of the conditions come first.
        varied = dict.fromkeys([*_literals(node.expression for node in nodes if node.expression), *near])
        texts = list(varied)[:_MAX_VARIED_TEXTS]
        near += [other for value in texts for other in variations(value, "text", removed)]
    values = domains.constraints.allowed(key, dict.fromkeys([*near, *_calendar(kind, nodes)]))
    results = domains.evaluate([_sql(node) for node in nodes], key, values) or ()
    # The rows of a query that asks nothing of the column need not satisfy a condition on it.
    free = [query for query, own in enumerate(conditions) if not any(node.differs for node in own)]
    query = free[0] if free else plan.first_reader(key[0])
    chosen = _disagreeing_values(nodes, zip(values, results, strict=False))
    return [(Sample(query, (key,), ((value,),)),) for value in chosen]


def _literals(expressions: Iterable[exp.Expr]) -> list[Value]:
    """The literals of some expressions, each once."""
    values = (literal_value(part) for expression in expressions for part in expression.find_all(exp.Literal))
    return list(dict.fromkeys(value for value in values if value != ""))


def _disagreeing_values(nodes: Sequence[Condition], results: Iterable[tuple[Value, Row]]) -> list[Value]:
    """One value for each way in which the differing conditions disagree, while the others hold as far as may be.

    Args:
        nodes: The conditions.
        results: Values with the truth of each condition on them.
    """
    best: dict[tuple[bool, ...], tuple[int, Value]] = {}
    for value, row in results:
        truth = [bool(result) for result in row]
        differing = tuple(true for true, node in zip(truth, nodes, strict=True) if node.differs)
        failed = sum(not true for true, node in zip(truth, nodes, strict=True) if not node.differs)
        # A condition that only one query has, and no other like it, decides where all else holds.
        decides_alone = len(differing) == 1 and not failed
        disagree = decides_alone or len(set(differing)) > 1
        if disagree and (differing not in best or failed < best[differing][0]):
            best[differing] = failed, value
    return [value for _, value in sorted(best.values(), key=lambda pair: pair[0])[:_MAX_DATABASES]]


def _constant_table_samples(plan: Plan, key: ColumnKey, domains: Domains) -> Iterator[SampleDatabase]:
    """Rows with the constants of a table that a query computes, if only one query compares a column with them so."""
    differing = [
        node
        for query in plan.queries
        for node in atoms(query)
        if node.source_text and node.differs and plan.column_of(node.slots[0]) == key
    ]
    near = dict.fromkeys(value for node in differing for value in node.candidates)
    for value in domains.constraints.allowed(key, near)[:_MAX_DATABASES]:
        yield (Sample(plan.first_reader(key[0]), (key,), ((value,),)),)


def _calendar(kind: str, nodes: Sequence[Condition]) -> Iterator[Value]:
    """For a column of dates or moments every day of some years: those that the conditions name, and two others."""
    if kind not in ("date", "datetime"):
        return
    named = [int(year) for node in nodes for year in _YEAR.findall(_sql(node))]
    for year in list(dict.fromkeys([*named, *_DEFAULT_YEARS]))[:_MAX_YEARS]:
        day, number = datetime.date(year, 1, 1), 0
        while day.year == year:
            yield day.isoformat() if kind == "date" else f"{day.isoformat()} 12:00:00"
            if kind == "datetime" and number < _DAYS_WITH_HOURS:
                yield from (f"{day.isoformat()} {hour:02d}:{half}:00" for hour in range(24) for half in ("00", "30"))
            day, number = day + datetime.timedelta(1), number + 1


def _sql(node: Condition) -> str:
    """A condition over v0 as SQL text; empty where SQLite alone cannot decide it."""
    if node.kind == "compare":
        return f"v0 {node.op} {to_sqlite(exp.convert(node.literal))}"
    return to_sqlite(node.expression) if node.kind == "expression" and node.expression is not None else ""
