"""Gaps and islands: rows that follow each other without a gap, found by their distance from their row number.

``day - ROW_NUMBER() OVER (ORDER BY day)`` is the same for all days in a row. Queries that count such days, or tell them
apart by their numbers, differ on runs that are as long as is counted, one shorter or one longer, and on runs in which
one value comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from text2sql.equivalence.databases.differences.moments import days_after_start
from text2sql.equivalence.databases.differences.sweeps import holds_dates
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample, SampleDatabase

# Rows of the longest run.
_MAX_LENGTH = 40
# Lengths that are counted; each has three runs.
_MAX_LENGTHS = 2
# The length of a run where none is counted.
_DEFAULT_LENGTH = 3
# Steps from the end of one run to the start of the next: a gap.
_GAP = 3


def island_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """Runs of days, or of numbers, in the columns that windows are sorted by.

    Each length that is counted has a run of it, one that is shorter by one and one that is longer by one.
    """
    steps = _run_steps(plan)
    kinds = domains.constraints.kinds
    for key in sorted(plan.windows.order_columns & kinds.keys()) if steps else ():
        days = holds_dates(kinds[key])
        values = days_after_start(steps, kinds[key]) if days else steps if kinds[key] == "integer" else []
        allowed = set(domains.constraints.allowed(key, list(values)))
        rows = tuple((value,) for value in values if value in allowed)
        if rows:
            yield (Sample(plan.first_reader(key[0]), (key,), rows, separate_groups=True),)
        if rows and plan.windows.find_islands:
            # A value that comes twice is no gap, but takes a row number.
            twice = [row for index, row in enumerate(rows) for row in [row] * (1 + index % 2)]
            yield (Sample(plan.first_reader(key[0]), (key,), tuple(twice), separate_groups=True),)


def _run_steps(plan: Plan) -> list[int]:
    """The numbers of all runs, in ascending order, with gaps between the runs."""
    counted = [threshold.number for threshold in plan.count_thresholds if threshold.grouped]
    counted += [_DEFAULT_LENGTH] if plan.windows.find_islands else []
    lengths = list(dict.fromkeys(number for number in counted if 1 < number <= _MAX_LENGTH))[:_MAX_LENGTHS]
    steps: list[int] = []
    for length in (length for number in lengths for length in (number, number - 1, number + 1)):
        start = max(steps, default=0) + _GAP
        steps += range(start, start + length)
    return steps
