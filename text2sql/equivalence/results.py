"""Compares results: as bags, in order up to ties, through a LIMIT that cuts a tie, and leniently.

Values are equal as SQLite has them, except that floating-point numbers may differ by rounding: 1 equals 1.0, '1' does
not equal 1, NULL equals NULL.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.sql.values import Row, Value

# Differences between numbers that are rounding.
RELATIVE = 1e-6
ABSOLUTE = 1e-9
# Partial assignments of columns that are tried before columns that look alike are taken to be the same.
_PERMUTATION_BUDGET = 2000


def close(a: Value, b: Value) -> bool:
    """Whether two values are the same up to rounding."""
    if a == b:
        return type(a) is type(b) or not isinstance(a, (str, bytes))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and (isinstance(a, float) or isinstance(b, float)):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return False


def _rounded(value: Value) -> Value:
    """A number that all close values mostly share: nine significant digits, whole numbers as int."""
    if isinstance(value, float):
        if math.isinf(value) or math.isnan(value):
            return value
        value = float(f"{value:.9g}")
        return 0 if abs(value) < ABSOLUTE else value
    return value


def _rounded_row(row: Row) -> Row:
    return tuple(_rounded(value) if isinstance(value, float) else value for value in row)


def _sort_key(row: Row) -> tuple[tuple[int, float, str], ...]:
    """A total order on rows, for pairing those that rounding keeps apart."""
    keys = []
    for value in row:
        if value is None:
            keys.append((0, 0.0, ""))
        elif isinstance(value, (int, float)):
            keys.append((1, float(f"{value:.5g}") if abs(value) < 1e300 else float("inf"), ""))
        else:
            keys.append((2, 0.0, value if isinstance(value, str) else value.hex()))
    return tuple(keys)


def _has_float(rows: Sequence[Row]) -> bool:
    return any(isinstance(value, float) for row in rows for value in row)


def same_bag(a: Sequence[Row], b: Sequence[Row]) -> bool:
    """Whether two results hold the same rows equally often, in whatever order."""
    if len(a) != len(b):
        return False
    if Counter(a) == Counter(b):
        return True
    if not (_has_float(a) or _has_float(b)):
        return False
    if Counter(map(_rounded_row, a)) == Counter(map(_rounded_row, b)):
        return True
    pairs = zip(sorted(a, key=_sort_key), sorted(b, key=_sort_key), strict=True)
    return all(len(x) == len(y) and all(map(close, x, y)) for x, y in pairs)


def sub_bag(part: Sequence[Row], whole: Sequence[Row]) -> bool:
    """Whether the rows of ``part`` can be taken from ``whole``."""
    return Counter(map(_rounded_row, part)) <= Counter(map(_rounded_row, whole))


@dataclass(frozen=True)
class AllowedResults:
    """All results that a query allows on one database.

    Attributes:
        rows: Every row, as if there were no LIMIT, in order.
        group_ends: Where the groups of rows that tie in the ORDER BY end, ascending; the last is ``len(rows)``.
        offset: Rows that OFFSET skips.
        limit: Rows that LIMIT keeps, None for all.
    """

    rows: list[Row]
    group_ends: list[int]
    offset: int = 0
    limit: int | None = None

    @property
    def end(self) -> int:
        """The index after that of the last row kept."""
        return len(self.rows) if self.limit is None else min(len(self.rows), self.offset + self.limit)

    @property
    def window(self) -> list[Row]:
        """One of the allowed results: the one that SQLite gave."""
        return self.rows[self.offset : max(self.end, self.offset)]

    def includes(self, other: Sequence[Row]) -> bool:
        """Whether another result is among those allowed."""
        if len(other) != len(self.window):
            return False
        start = 0
        for stop in self.group_ends:
            low, high = max(start, self.offset), min(stop, self.end)
            if low < high:
                part = other[low - self.offset : high - self.offset]
                group = self.rows[start:stop]
                if not (same_bag(part, group) if high - low == stop - start else sub_bag(part, group)):
                    return False
            start = stop
        return True


def is_informative(rows: Sequence[Row]) -> bool:
    """Whether a result says anything: agreement on no rows, on NULLs or on a count of zero proves nothing."""
    return any(value is not None and (value != 0 or len(rows) > 1) for row in rows for value in row)


class LenientComparison:
    """Equality as sets of rows, with one renumbering of the columns that fits all databases seen so far."""

    def __init__(self) -> None:
        # For each column of the gold query, the columns of the prediction that may stand for it.
        self._allowed: list[set[int]] | None = None

    def same(self, gold: Sequence[Row], predicted: Sequence[Row], width: int, other_width: int) -> bool:
        """Whether some renumbering of the columns makes the results equal as sets."""
        if width != other_width:
            return False
        a, b = {_rounded_row(row) for row in gold}, {_rounded_row(row) for row in predicted}
        if (not a) != (not b):
            return False
        if self._allowed is None:
            self._allowed = [set(range(width)) for _ in range(width)]
        values_a = [frozenset(row[i] for row in a) for i in range(width)]
        values_b = [frozenset(row[j] for row in b) for j in range(width)]
        allowed = [{j for j in self._allowed[i] if values_a[i] == values_b[j]} for i in range(width)]
        self._budget = _PERMUTATION_BUDGET
        if not self._search(allowed, [], a, b):
            return False
        self._allowed = allowed
        return True

    def _search(self, allowed: list[set[int]], chosen: list[int], a: set[Row], b: set[Row]) -> bool:
        """Assigns columns one by one; a partial choice must already agree on the columns chosen."""
        depth = len(chosen)
        self._budget -= 1
        if self._budget < 0:
            # Too many look-alike columns to try them all: they hold the same values.
            return True
        if chosen and {row[:depth] for row in a} != {tuple(row[j] for j in chosen) for row in b}:
            return False
        if depth == len(allowed):
            return True
        # The same position first: most predictions keep the order.
        candidates = sorted(allowed[depth] - set(chosen), key=lambda j: (j != depth, j))
        return any(self._search(allowed, [*chosen, j], a, b) for j in candidates)
