"""Two groups of which one wins by one aggregate, and the other by another: COUNT(*) against COUNT(x), SUM against AVG.

Queries that sort or select groups by different aggregates of a column differ where the order of the groups reverses.
For each way to reverse it there is a database with two such groups and no others.
"""

from __future__ import annotations

from collections.abc import Iterator

from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample, SampleDatabase

# What the two groups hold, by index in a list of ascending values; None is NULL. They reverse count and sum, sum and
# average, smallest and largest, the average of all values and of different ones, all values and different ones.
_CONTESTS: tuple[tuple[tuple[int | None, ...], tuple[int | None, ...]], ...] = (
    ((None, None, 0), (0, 1)),
    ((1, 1, 1), (0, 3)),
    ((0, 0, 0), (3, 4)),
    ((0, 8), (1, 2)),
    ((0, 0, 8), (3, 3)),
    ((2, None, None), (1, 1, None)),
)
# Columns that have such databases.
_MAX_COLUMNS = 2


def competing_aggregate_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """The databases for a pair whose queries aggregate columns differently."""
    aggregates = [plan.groups.aggregates.get(query, set()) for query in range(len(plan.queries))]
    if not plan.groups.compete or len(aggregates) < 2 or aggregates[0] == aggregates[1]:
        return
    differing = {key for _, key in aggregates[0] ^ aggregates[1] if key is not None}
    for key in sorted(differing)[:_MAX_COLUMNS]:
        values = domains.growing_values(key)
        for groups in _CONTESTS:
            if all(index is None or index < len(values) for group in groups for index in group):
                yield tuple(
                    Sample(0, (key,), tuple((None if index is None else values[index],) for index in group))
                    for group in groups
                )
