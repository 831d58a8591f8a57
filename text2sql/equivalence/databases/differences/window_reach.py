"""Partitions longer than windows look away, as for ``LAG(x, 11)``, ``ROWS 5 PRECEDING``, ranks and shares.

``LAG(x, 11)`` differs from ``LAG(x, 12)`` where a partition is that long. Partitions are made as long as the queries'
numbers ask, up to `MAX_WINDOW_ROWS`, of values that grow, that come twice, or of which some stand out.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.phenomena.window_reach import MAX_WINDOW_ROWS, WindowReach
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.equivalence.databases.values.progressions import progression
from text2sql.sql.values import Value

# A window that looks less far away than that needs no long partition.
_MIN_OFFSET = 2
# Rows that a partition has beyond the largest offset.
_ROWS_BEYOND = 3
# Shares among the queries' literals that partitions are made for.
_MAX_SHARES = 2
# The largest denominator of a share: 0.01 is one row of 100.
_MAX_DENOMINATOR = 100


def window_reach_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """Partitions longer than any window looks away."""
    reaches = plan.windows.reaches
    if not reaches:
        return []
    counted = [threshold.number for threshold in plan.count_thresholds if threshold.grouped]
    # Ranks and counts are compared with these numbers.
    highest = max((number for number in counted if number <= MAX_WINDOW_ROWS), default=0)
    offsets = [max(reach.offset, highest if reach.kind == "rank" else 0) for reach in reaches]
    longest = min(max(offsets, default=0), MAX_WINDOW_ROWS)
    share_sizes = _share_sizes(plan.literals)
    samples: dict[Sample, None] = {}
    for reach, offset in zip(reaches, offsets, strict=True):
        sizes = share_sizes if reach.kind == "share" else [longest + _ROWS_BEYOND] if offset >= _MIN_OFFSET else []
        is_rank = reach.kind == "rank" and offset > 0
        if sizes or is_rank:
            samples.update(dict.fromkeys(_partitions(reach, offset if is_rank else 0, longest, sizes, domains)))
    return [(sample,) for sample in samples]


def _share_sizes(literals: Sequence[Value]) -> list[int]:
    """How many rows a partition needs for the shares that the queries name."""
    shares = [Fraction(value).limit_denominator(_MAX_DENOMINATOR) for value in literals if isinstance(value, float)]
    return [size for share in shares[:_MAX_SHARES] for size in (share.denominator, share.denominator + 1)]


def _partitions(reach: WindowReach, rank: int, longest: int, sizes: Sequence[int], domains: Domains) -> list[Sample]:
    """The partitions for one window.

    Args:
        reach: The window.
        rank: Up to which rank rows are numbered; 0 for a window that numbers none.
        longest: How far the windows of the pair look away.
        sizes: Numbers of rows of partitions of different values.
        domains: The values of the columns.
    """
    length = max([3 * (longest + 4), *sizes])
    keys = tuple(key for key, _ in reach.order)
    ascending = [_ascending(reach.query, key, length, domains, spread=not alone) for key, alone in reach.order]
    samples = [Sample(reach.query, keys, _rows(ascending, size), separate_groups=True) for size in sizes]
    if rank:
        # Every value twice: numbers, ranks and dense ranks of rows differ where some are equal.
        twice = [[value for value in values for _ in range(2)] for values in ascending]
        samples.append(Sample(reach.query, keys, _rows(twice, 2 * (rank + 2)), separate_groups=True))
    others = [key for key in reach.measured if key not in keys]
    if others and reach.kind == "offset":
        # As many rows as there are different values in the order.
        length = min(3 * (longest + 4), max((len(values) for values in ascending), default=longest * 4))
        spikes = [_with_spikes(*domains.outliers(key), longest + 4) for key in others]
        rows = _rows([*ascending, *spikes], length)
        samples.append(Sample(reach.query, (*keys, *others), rows, separate_groups=True))
    return samples


def _ascending(query: int, key: ColumnKey, length: int, domains: Domains, *, spread: bool) -> list[Value]:
    """Values of a column that a query sees, in ascending order; NULL alone if there are none."""

    def visible(values: Sequence[Value]) -> list[Value]:
        return domains.visible_values(query, key, values)

    return progression(domains.start_values(key), length, visible, spread=spread) or [None]


def _rows(columns: Sequence[Sequence[Value]], length: int) -> Group:
    """Rows of the values of some columns, each repeated from its start where it is too short."""
    return tuple(tuple(column[index % len(column)] for column in columns) for index in range(length))


def _with_spikes(ordinary: list[Value], low: Value, high: Value, distance: int) -> list[Value]:
    """Ordinary values, among them the largest value of all and, some rows behind it, the smallest."""
    values = [ordinary[number * number % len(ordinary)] for number in range(2 * distance)]
    values[1], values[1 + distance] = high, low
    return values
