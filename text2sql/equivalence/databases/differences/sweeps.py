"""Sweeps: one row for each of many values on which two queries may differ, whatever the seed.

Where a query asks something of one row, a row for every value shows it at once: the moments of `values.moments`, the
texts that regular expressions match and nearly match. Drawn a few at a time, the value that decides would come up by
luck.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from text2sql.equivalence.databases.column_constraints import ColumnConstraints
from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.differences.moments import (
    format_moments,
    moment_pairs,
    progression_of_moments,
    turning_moments,
    unit_crossings,
    within_seconds,
)
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.phenomena.time_mentions import TimeMentions
from text2sql.equivalence.databases.plan import Plan, query_tree
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.sql.values import Row, Value

_DATE_KINDS = ("date", "datetime", "moment")
# Columns of dates, and of fractions of a second, that are swept.
_MAX_COLUMNS = 3
# Pairs of such columns.
_MAX_COLUMN_PAIRS = 2
# Columns of texts that are swept.
_MAX_TEXT_COLUMNS = 3
# Texts of one column.
_MAX_TEXTS = 130
# Pairs of moments that are a database each.
_MAX_SINGLE_PAIRS = 6


def holds_dates(kind: str) -> bool:
    """Whether a column of a kind holds dates or moments."""
    return kind in _DATE_KINDS


def sweep_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """The sweeps of a pair: of moments, of fractions of a second, and of texts."""
    constraints = domains.constraints
    given = [key for key, column in domains.columns.items() if not column.generated]
    databases: list[SampleDatabase] = []
    samples: list[Sample] = []
    if plan.time_mentions is not None:
        dates = [key for key in given if holds_dates(constraints.kinds[key])][:_MAX_COLUMNS]
        samples += _moment_samples(plan, plan.time_mentions, constraints, dates)
        if plan.time_mentions.compare_rows:
            databases += _crossing_samples(plan, plan.time_mentions, constraints, dates)
    read = {plan.column_of(slot) for slot in range(len(plan.slots))}
    fractional = sorted((key for key in given if key[1] in plan.columns.fractional), key=lambda key: key not in read)
    for key in fractional[:_MAX_COLUMNS]:
        moments = within_seconds(plan.literals, plan.time_mentions, constraints.kinds[key])
        samples += _in_groups(plan, key, allowed_rows(constraints, (key,), [moments]))
    sweep_values = plan.columns.sweep_values
    texts = [key for key in given if key[1] in sweep_values and not holds_dates(constraints.kinds[key])]
    for key in texts[:_MAX_TEXT_COLUMNS]:
        values = constraints.allowed(key, dict.fromkeys(sweep_values[key[1]]))[:_MAX_TEXTS]
        samples += _in_groups(plan, key, [(value,) for value in values])
    return [*databases, *((sample,) for sample in dict.fromkeys(samples))]


def _moment_samples(
    plan: Plan, mentions: TimeMentions, constraints: ColumnConstraints, keys: Sequence[ColumnKey]
) -> Iterator[Sample]:
    """Moments in each column of dates, and pairs of moments in each two of them."""
    for key in keys:
        kind = constraints.kinds[key]
        moments = [*format_moments(turning_moments(mentions, kind), kind), None]
        yield from _in_groups(plan, key, allowed_rows(constraints, (key,), [moments]))
        if mentions.compare_rows:
            ascending = format_moments(progression_of_moments(mentions, kind), kind)
            rows = allowed_rows(constraints, (key,), [ascending])
            yield Sample(plan.first_reader(key[0]), (key,), rows, separate_groups=True)
    for columns in list(itertools.combinations(keys, 2))[:_MAX_COLUMN_PAIRS]:
        pairs = moment_pairs(mentions)
        crossings = unit_crossings(mentions, _coarser_kind(constraints, columns))
        pairs += [pair for pair in crossings if pair not in pairs]
        # Which of the two columns is the later one is not known.
        first, second = [a for a, _ in pairs], [b for _, b in pairs]
        orders = [first + second, second + first]
        texts = [format_moments(order, constraints.kinds[key]) for key, order in zip(columns, orders, strict=True)]
        known = texts[0][0], texts[1][0]
        rows = (*allowed_rows(constraints, columns, texts), (None, known[1]), (known[0], None))
        yield Sample(plan.first_reader(columns[0][0]), columns, tuple(dict.fromkeys(rows)), separate_groups=True)


def _coarser_kind(constraints: ColumnConstraints, keys: Sequence[ColumnKey]) -> str:
    return "date" if any(constraints.kinds[key] == "date" for key in keys) else "datetime"


def _crossing_samples(
    plan: Plan, mentions: TimeMentions, constraints: ColumnConstraints, keys: Sequence[ColumnKey]
) -> Iterator[SampleDatabase]:
    """Groups of two rows each, between whose moments units begin more or less often than they pass.

    Where all rows are one group, of which only the ends matter, each of a few pairs has a database.
    """
    parts = [part for query in plan.queries for part in query_tree(query)]
    one_group = not any(part.group_by or part.partition_by or part.one_row_per_group for part in parts)
    for key in keys:
        kind = constraints.kinds[key]
        pairs = [format_moments(pair, kind) for pair in unit_crossings(mentions, kind)]
        allowed = set(constraints.allowed(key, [text for pair in pairs for text in pair]))
        groups = [tuple((text,) for text in pair) for pair in pairs if allowed.issuperset(pair)]
        samples = [Sample(plan.first_reader(key[0]), (key,), group) for group in groups]
        if samples:
            yield tuple(samples)
        if one_group and key in plan.groups.extreme_columns:
            yield from ((sample,) for sample in samples[:_MAX_SINGLE_PAIRS])


def _in_groups(plan: Plan, key: ColumnKey, rows: Sequence[Row]) -> Iterator[Sample]:
    """All rows in one group, so that what an expression makes equal meets, and each row in a group of its own."""
    parts = [part for query in plan.queries for part in query_tree(query)]
    grouped_by = any(plan.column_of(slot) == key for part in parts for slot in part.group_by)
    has_groups = any(part.group_by or part.one_row_per_group for part in parts)
    if not rows:
        return
    # Of rows that are grouped by the column itself, each is a group of its own anyway.
    choices = (False,) if grouped_by else (False, True) if has_groups else (True,)
    for separate in choices:
        yield Sample(plan.first_reader(key[0]), (key,), tuple(rows), separate_groups=separate)


def allowed_rows(
    constraints: ColumnConstraints, keys: Sequence[ColumnKey], columns: Sequence[Sequence[Value]]
) -> Group:
    """Rows of the values of some columns that all of the columns may hold.

    Args:
        constraints: Which values the columns may hold.
        keys: The columns.
        columns: The values of each column, one for each row.
    """
    allowed = [set(constraints.allowed(key, list(values))) for key, values in zip(keys, columns, strict=True)]
    rows = zip(*columns, strict=True)
    return tuple(row for row in rows if all(value in own for value, own in zip(row, allowed, strict=True)))
