"""Windows that look some rows away: ``LAG(x, 11)``, ``ROWS 5 PRECEDING``, ranks and shares of a partition.

``LAG(x, 11)`` differs from ``LAG(x, 12)`` where a partition is that long. Partitions are made as long as the queries'
numbers ask, up to `MAX_WINDOW_ROWS`, of values that grow, that come twice, or of which some stand out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sqlglot import exp

from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import ColumnKey, Plan
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.equivalence.databases.values.progressions import progression
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

# Rows that a window looks away on databases made for it.
MAX_WINDOW_ROWS = 250
# A window that looks less far away than that needs no long partition.
_MIN_OFFSET = 2
# Rows that a partition has beyond the largest offset.
_ROWS_BEYOND = 3
# Shares among the queries' literals that partitions are made for.
_MAX_SHARES = 2
# The largest denominator of a share: 0.01 is one row of 100.
_MAX_DENOMINATOR = 100
_FRAME_BOUNDS = ("start", "end")

# offset: looks N rows away. rank: numbers or counts rows. share: says which share of the rows comes before.
WindowKind = Literal["offset", "rank", "share"]


@dataclass(frozen=True)
class WindowReach:
    """A window that looks some rows away.

    Attributes:
        query: The number of the query.
        kind: What it asks of the rows of its partition, see `WindowKind`.
        offset: How many rows away it looks; 0 where its text does not say.
        order: The columns that it is sorted by, or whose groups are its rows; whether each stands there alone.
        measured: The columns whose values it shows.
    """

    query: int
    kind: WindowKind
    offset: int
    order: tuple[tuple[ColumnKey, bool], ...]
    measured: tuple[ColumnKey, ...]


def window_kind(window: exp.Window) -> WindowKind:
    """What a window asks of the rows of its partition."""
    function = _window_function(window)
    if isinstance(function, (exp.PercentRank, exp.CumeDist)):
        return "share"
    return "rank" if isinstance(function, (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Count)) else "offset"


def window_offset(window: exp.Window, named: exp.Window | None) -> int:
    """How many rows away a window looks, as far as its text says; 0 where it does not.

    Args:
        window: The window.
        named: The window that it names, of ``WINDOW w AS (...)``; None if it names none.
    """
    function = _window_function(window)
    texts = [function.args.get("offset")] if isinstance(function, (exp.Lag, exp.Lead, exp.NthValue)) else []
    texts += [function.this] if isinstance(function, exp.Ntile) else []
    for part in (window, named):
        frame = part.args.get("spec") if part is not None else None
        if frame is not None and str(frame.args.get("kind")).upper() != "RANGE":
            texts += [frame.args.get(side) for side in _FRAME_BOUNDS if isinstance(frame.args.get(side), exp.Expr)]
    numbers = [value for text in texts if isinstance(value := literal_value(text), int)]
    return max((abs(number) for number in numbers), default=0)


def _window_function(window: exp.Window) -> exp.Expr:
    """The function of a window, without its FILTER or IGNORE NULLS."""
    function: exp.Expr = window.this
    if isinstance(function, (exp.Filter, exp.IgnoreNulls)):
        function = function.this
    return function


def named_windows(select: exp.Select) -> dict[str, exp.Window]:
    """The windows that a SELECT names, by lower-case name."""
    return {fold(window.this.name): window for window in select.args.get("windows") or ()}


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
