"""Two groups of which one wins by one aggregate, and the other by another: COUNT(*) against COUNT(x), SUM against AVG.

Queries that sort or choose groups by different aggregates of a column differ where the order of groups turns. For each
way to turn it there is a database with two such groups and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.values import Value

# What the two groups hold, by place in a list of values that grow; None is NULL. Count and sum, sum and average,
# smallest and largest, average of all and of different ones, all and different ones.
_CONTESTS: tuple[tuple[tuple[int | None, ...], tuple[int | None, ...]], ...] = (
    ((None, None, 0), (0, 1)),
    ((1, 1, 1), (0, 3)),
    ((0, 0, 0), (3, 4)),
    ((0, 8), (1, 2)),
    ((0, 0, 8), (3, 3)),
    ((2, None, None), (1, 1, None)),
)
# Columns that have them.
_MOST = 2


def rival_group_samples(plan: Plan, steps: Callable[[ColumnKey], Sequence[Value]]) -> Iterator[tuple[Sample, ...]]:
    """The databases for a pair that aggregates columns otherwise in one query than in the other.

    Args:
        plan: The compiled pair.
        steps: Of a column, values that grow.
    """
    own = [plan.aggregated.get(query, set()) for query in range(len(plan.queries))]
    if not plan.grouped or len(own) < 2 or own[0] == own[1]:
        return
    differing = [key for _, key in own[0] ^ own[1] if key is not None]
    for key in sorted(set(differing))[:_MOST]:
        rungs = steps(key)
        for groups in _CONTESTS:
            if all(place is None or place < len(rungs) for group in groups for place in group):
                yield tuple(
                    Sample(0, (key,), tuple((None if place is None else rungs[place],) for place in group))
                    for group in groups
                )
