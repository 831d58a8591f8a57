"""How many rows databases are made for, and what of two queries lies beyond that.

Two queries that differ in a number of rows differ only where that many rows meet: ``LIMIT 50`` from ``LIMIT 60``,
``LAG(x, 11)`` from ``LAG(x, 12)``, ``depth < 9`` from ``depth <= 9``. Databases are made as large as the queries'
numbers ask, up to a bound; beyond it, a number that only one of two queries has leaves them undecided.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.equivalence.databases.phenomena.count_thresholds import MAX_COUNTED_ROWS, CountThreshold
from text2sql.equivalence.databases.phenomena.recursive_chains import MAX_RECURSION_STEPS, read_step_numbers
from text2sql.equivalence.databases.phenomena.window_reach import MAX_WINDOW_ROWS, window_offset


def count_beyond_limit(gold: Sequence[CountThreshold], predicted: Sequence[CountThreshold]) -> int | None:
    """A number beyond `MAX_COUNTED_ROWS` that only one of two queries counts against; None if there is none."""
    for threshold in sorted(set(gold) ^ set(predicted), key=lambda threshold: threshold.number):
        if threshold.number > MAX_COUNTED_ROWS:
            return threshold.number
    return None


def reach_beyond_limit(trees: Sequence[exp.Expr]) -> tuple[str, int, int] | None:
    """What only one of two queries does beyond a bound, how far, and the bound; None if there is nothing."""
    if len(trees) < 2:
        return None
    windows = [{window_offset(window, None) for window in tree.find_all(exp.Window)} for tree in trees]
    for description, limit, (one, other) in (
        ("looks over the rows of a window", MAX_WINDOW_ROWS, windows),
        ("counts the steps of a recursion", MAX_RECURSION_STEPS, [set(read_step_numbers(tree)) for tree in trees]),
    ):
        beyond = [number for number in one ^ other if number > limit]
        if beyond:
            return description, min(beyond), limit
    return None
