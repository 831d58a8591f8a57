"""How far a query reaches from one row to others: windows of N rows, recursion of N steps.

``LAG(x, 11)`` differs from ``LAG(x, 12)`` where a partition is that long, ``depth < 9`` from ``depth <= 9`` where rows
follow each other that often. Partitions and chains are made as long as the queries' numbers ask, up to a bound; beyond
it, a number that only one of two queries has leaves them undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.samples import Sample
from text2sql.equivalence.databases.values.progressions import progression
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value
from text2sql.sql.values import Row, Value

# Rows that a window looks away, and steps that a recursion goes, on databases made on purpose.
MOST_ROWS, MOST_STEPS = 250, 100
# What looks less far away than that needs no separate partition.
_FEW = 2
# Shares that partitions are made for, and the largest of their denominators.
_SHARES, _FINEST = 2, 100
_FRAMES = ("start", "end")


@dataclass(frozen=True)
class Reach:
    """A window that looks some rows away.

    Attributes:
        query: The number of the query.
        way: rows for a window that looks N rows away, rank for one that numbers or counts rows, share for one
            that says which share of them comes before.
        number: How many rows.
        order: The columns that it is sorted by, or whose groups are its rows; whether each stands there alone.
        measured: The columns whose values it shows.
    """

    query: int
    way: str
    number: int
    order: tuple[tuple[ColumnKey, bool], ...]
    measured: tuple[ColumnKey, ...]


def window_way(window: exp.Window) -> str:
    """What a window asks of the rows of its partition, see `Reach`."""
    inner = window.this.this if isinstance(window.this, (exp.Filter, exp.IgnoreNulls)) else window.this
    if isinstance(inner, (exp.PercentRank, exp.CumeDist)):
        return "share"
    return "rank" if isinstance(inner, (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Count)) else "rows"


def window_reach(window: exp.Window, named: exp.Window | None) -> int:
    """How many rows away a window looks, as far as its text says.

    Args:
        window: The window.
        named: What it names, of ``WINDOW w AS (...)``.
    """
    inner = window.this.this if isinstance(window.this, (exp.Filter, exp.IgnoreNulls)) else window.this
    texts = [inner.args.get("offset")] if isinstance(inner, (exp.Lag, exp.Lead, exp.NthValue)) else []
    texts += [inner.this] if isinstance(inner, exp.Ntile) else []
    for part in (window, named):
        spec = part.args.get("spec") if part is not None else None
        if spec is not None and str(spec.args.get("kind")).upper() != "RANGE":
            texts += [spec.args.get(side) for side in _FRAMES if isinstance(spec.args.get(side), exp.Expr)]
    numbers = [value for text in texts if isinstance(value := literal_value(text), int)]
    return max((abs(number) for number in numbers), default=0)


def named_windows(select: exp.Select) -> dict[str, exp.Window]:
    """The windows that a SELECT names, by lower-case name."""
    return {fold(window.this.name): window for window in select.args.get("windows") or ()}


def _computed(cte: exp.CTE) -> Iterator[tuple[str, exp.Expr, set[str]]]:
    """The columns of a recursive CTE that a step computes from their own value, how, and the other columns in it."""
    step = cte.this.right if isinstance(cte.this, exp.SetOperation) else None
    items = step.expressions if isinstance(step, exp.Select) else ()
    for name, item in zip(column_names(cte), items, strict=False):
        inner = item.unalias().unnest()
        if isinstance(inner, (exp.Add, exp.Sub)) and name in _names(inner):
            own = [column for column in inner.find_all(exp.Column) if fold(column.name) == name]
            # Of two columns of that name, one is the other table's.
            yield name, inner, _names(inner) - ({name} if len(own) < 2 else set())


def column_names(cte: exp.CTE) -> list[str]:
    """The names of the columns of a CTE, as far as they are written there."""
    alias, body = cte.args.get("alias"), cte.this
    if alias is not None and alias.columns:
        return [fold(column.name) for column in alias.columns]
    while isinstance(body, (exp.SetOperation, exp.Subquery)):
        body = body.this
    return [fold(item.alias_or_name) for item in body.expressions] if isinstance(body, exp.Select) else []


def steps(tree: exp.Expr) -> list[int]:
    """The numbers of steps that a query's recursions are compared with."""
    found: list[int] = []
    for cte in recursive_ctes(tree):
        names = {name for name, _, others in _computed(cte) if not others}
        found += [int(number) for number in _compared(tree, names)]
        # A recursion that counts down begins at its number.
        first = cte.this.left if names and isinstance(cte.this, exp.SetOperation) else None
        values = [literal_value(item.unalias()) for item in first.expressions] if isinstance(first, exp.Select) else []
        found += [value for value in values if isinstance(value, int)]
    return [abs(number) for number in found]


def totals(tree: exp.Expr) -> dict[str, list[int | float]]:
    """By name the columns that a recursion adds up from row to row, and the numbers that it compares the sum with."""
    return {
        other: _compared(tree, {name})
        for cte in recursive_ctes(tree)
        for name, _, others in _computed(cte)
        for other in others
    }


def _compared(tree: exp.Expr, names: set[str]) -> list[int | float]:
    """The numbers that expressions over some columns are compared with."""
    found: list[int | float] = []
    for node in tree.find_all(*COMPARISONS, exp.Between, exp.In) if names else ():
        sides = [node.this, node.expression] if isinstance(node, exp.Binary) else [node.this]
        if any(side is not None and _names(side) & names for side in sides):
            texts = [*sides, *node.expressions, node.args.get("low"), node.args.get("high")]
            found += [value for value in map(literal_value, texts) if isinstance(value, (int, float))]
    return found


def _names(node: exp.Expr) -> set[str]:
    return {fold(column.name) for column in node.find_all(exp.Column)}


def recursive_ctes(tree: exp.Expr) -> Iterator[exp.CTE]:
    """The CTEs of a query that read themselves and something else: what they make up alone is computed."""
    for with_ in tree.find_all(exp.With):
        for cte in with_.expressions if with_.args.get("recursive") else ():
            names = {fold(table.name) for table in cte.find_all(exp.Table)}
            if fold(cte.alias) in names and len(names) > 1:
                yield cte


def out_of_sight(trees: Sequence[exp.Expr]) -> tuple[str, int, int] | None:
    """What only one of two queries does beyond a bound, how far, and the bound; None if there is nothing."""
    if len(trees) < 2:
        return None
    windows = [{window_reach(window, None) for window in tree.find_all(exp.Window)} for tree in trees]
    for what, most, (one, other) in (
        ("looks over the rows of a window", MOST_ROWS, windows),
        ("counts the steps of a recursion", MOST_STEPS, [set(steps(tree)) for tree in trees]),
    ):
        beyond = [number for number in one ^ other if number > most]
        if beyond:
            return what, min(beyond), most
    return None


class Values(Protocol):
    """What the columns of a pair may hold."""

    def bases(self, key: ColumnKey) -> list[Value]:
        """Where a run of values of a column may begin."""

    def seen(self, query: int, key: ColumnKey, values: Sequence[Value]) -> list[Value]:
        """Those of some values that a column may hold and that a query does not leave out."""

    def standing_out(self, key: ColumnKey) -> tuple[list[Value], Value, Value]:
        """Ordinary values of a column, one below all of them and one above."""


def reach_samples(
    reaches: Sequence[Reach], counted: Sequence[int], literals: Sequence[Value], values: Values
) -> list[tuple[Sample, ...]]:
    """Databases with a partition longer than any window looks away: of values that grow, that come twice, or stand out.

    Args:
        reaches: The windows.
        counted: Numbers that ranks and counts are compared with.
        literals: Those of the queries: shares are among them.
        values: What the columns hold.
    """
    highest = max((number for number in counted if number <= MOST_ROWS), default=0)
    far = [max(reach.number, highest if reach.way == "rank" else 0) for reach in reaches]
    longest = min(max(far, default=0), MOST_ROWS)
    parts = [Fraction(share).limit_denominator(_FINEST) for share in literals if isinstance(share, float)]
    shares = [size for part in parts[:_SHARES] for size in (part.denominator, part.denominator + 1)]
    found: dict[Sample, None] = {}
    for reach, number in zip(reaches, far, strict=True):
        sizes = shares if reach.way == "share" else [longest + 3] if number >= _FEW else []
        ranked = reach.way == "rank" and number > 0
        if not sizes and not ranked:
            continue
        length = max([3 * (longest + 4), *sizes])
        rungs = [_ladder(reach.query, key, length, values, spread=not alone) for key, alone in reach.order]
        keys = tuple(key for key, _ in reach.order)
        for size in sizes:
            found[Sample(reach.query, keys, _rows(rungs, size), apart=True)] = None
        if ranked:
            # Every place twice: numbers, ranks and dense ranks of rows differ where some are equal.
            twice = [[value for value in rung for _ in range(2)] for rung in rungs]
            found[Sample(reach.query, keys, _rows(twice, 2 * (number + 2)), apart=True)] = None
        others = [key for key in reach.measured if key not in keys]
        if others and reach.way == "rows":
            # As many rows as there are different places in the order.
            length = min(3 * (longest + 4), max((len(rung) for rung in rungs), default=longest * 4))
            spikes = [_spiked(*values.standing_out(key), longest + 4) for key in others]
            found[Sample(reach.query, (*keys, *others), _rows([*rungs, *spikes], length), apart=True)] = None
    return [(sample,) for sample in found]


def _ladder(query: int, key: ColumnKey, length: int, values: Values, *, spread: bool) -> list[Value]:
    return progression(values.bases(key), length, lambda rungs: values.seen(query, key, rungs), spread=spread) or [None]


def _rows(columns: Sequence[Sequence[Value]], length: int) -> tuple[Row, ...]:
    return tuple(tuple(column[at % len(column)] for column in columns) for at in range(length))


def _spiked(ordinary: list[Value], low: Value, high: Value, distance: int) -> list[Value]:
    """Values of which one in N is the largest there is, and then the smallest."""
    made = [ordinary[number * number % len(ordinary)] for number in range(2 * distance)]
    made[1], made[1 + distance] = high, low
    return made
