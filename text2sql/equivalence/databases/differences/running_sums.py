"""Sums over the rows of a window that pass a number on the way and come back before the end.

An account that was overdrawn once, and is no longer: ``MIN`` of the running balance shows it and the last balance does
not. Where both rows are of one day, it depends on whether the window is sorted by the day alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.runs import Running
from text2sql.equivalence.databases.samples import Fitting, Sample
from text2sql.sql.schema import Column
from text2sql.sql.values import Value

# How far a sum comes back, and sums of one pair that do.
_BACK, _MOST = 6, 3


def running_samples(
    plan: Plan, columns: Mapping[ColumnKey, Column], fitting: Fitting, bases: Callable[[ColumnKey], list[Value]]
) -> Iterator[tuple[Sample, ...]]:
    """Databases with such sums, on two places of the order and on one.

    Args:
        plan: The compiled pair.
        columns: The columns of the tables that rows are made for.
        fitting: Says which values a column may hold.
        bases: Of a column some values.
    """
    for running in list(dict.fromkeys(plan.running))[:_MOST]:
        for table in dict.fromkeys(name for name, column in columns if column == running.summed):
            order = [(table, name) for name in running.order if (table, name) in columns]
            keys = [key for key in order if (key[1],) not in plan.schema.tables[table].keys][:1]
            summed = (table, running.summed)
            held = _held(running, columns, fitting)
            if held is None:
                continue
            places = [list(dict.fromkeys(bases(key)))[:2] for key in keys]
            for sign in (1, -1):
                values = [running.number + sign, -sign * _BACK]
                if len(fitting(summed, values)) < len(values) or summed in keys:
                    continue
                for at in ((0, 0), (0, 1)) if all(len(own) > 1 for own in places) else ((0, 0),):
                    rows = tuple(
                        (*(own[n] for own in places), value, *held.values())
                        for n, value in zip(at, values, strict=True)
                    )
                    yield (Sample(plan.reader(table), (*keys, summed, *held), rows, once=frozenset(held)),)


def _held(running: Running, columns: Mapping[ColumnKey, Column], fitting: Fitting) -> dict[ColumnKey, Value] | None:
    """What the column holds that the sum is compared with; empty where that is a number, None where it cannot."""
    if not running.against:
        return {}
    key = next((key for key in columns if key[1] == running.against), None)
    value = -running.number if running.negated else running.number
    return {key: value} if key is not None and key[1] != running.summed and fitting(key, [value]) else None
