"""Sums over the rows of a window that pass a number on the way and come back before the end.

An account that was overdrawn once, and is no longer: ``MIN`` of the running balance shows it and the last balance does
not. Where both rows are of one day, it depends on whether the window is sorted by the day alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.phenomena.running_sums import RunningSum
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.sql.values import Value

# How far a sum comes back after it has passed its number.
_RETURN = 6
# Sums of one pair that have databases.
_MAX_SUMS = 3


def running_sum_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """Two rows whose sum passes the number and comes back, at one value of the order and at two."""
    for running in list(dict.fromkeys(plan.windows.running_sums))[:_MAX_SUMS]:
        for table in dict.fromkeys(name for name, column in domains.columns if column == running.column):
            yield from _samples_in(table, running, plan, domains)


def _samples_in(table: str, running: RunningSum, plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """The samples for a sum over the rows of one table."""
    order = [(table, name) for name in running.order if (table, name) in domains.columns]
    keys = [key for key in order if (key[1],) not in plan.schema.tables[table].keys][:1]
    summed = (table, running.column)
    compared = _compared_column_values(running, domains)
    if compared is None:
        return
    order_values = [list(dict.fromkeys(domains.start_values(key)))[:2] for key in keys]
    for sign in (1, -1):
        summands = [running.number + sign, -sign * _RETURN]
        if len(domains.constraints.allowed(summed, summands)) < len(summands) or summed in keys:
            continue
        # Which of the two values of the order each row has.
        for indices in ((0, 0), (0, 1)) if all(len(values) > 1 for values in order_values) else ((0, 0),):
            rows = tuple(
                (*(values[index] for values in order_values), summand, *compared.values())
                for index, summand in zip(indices, summands, strict=True)
            )
            columns = (*keys, summed, *compared)
            yield (Sample(plan.first_reader(table), columns, rows, constant_columns=frozenset(compared)),)


def _compared_column_values(running: RunningSum, domains: Domains) -> dict[ColumnKey, Value] | None:
    """What the column holds that the sum is compared with; empty for a literal, None where it may not hold that."""
    if not running.compared_column:
        return {}
    key = next((key for key in domains.columns if key[1] == running.compared_column), None)
    value = -running.number if running.negated else running.number
    suits = key is not None and key[1] != running.column and domains.constraints.allows(key, value)
    return {key: value} if key is not None and suits else None
