"""Runs of rows: such as follow each other without a gap, and sums that go from row to row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.values.thresholds import RANKS
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value
from text2sql.sql.values import Value

# How far from the number that a running sum is compared with its summands are.
_STEPS = (0, 1, -1, 10, -10)
# Names of names.
_DEEPEST = 3


def finds_runs(tree: exp.Expr) -> bool:
    """Whether a query computes with the numbers of rows: what has the same distance from its number is one run."""
    numbers = {
        fold(item.alias)
        for item in tree.find_all(exp.Alias)
        if isinstance(item.this, exp.Window) and isinstance(item.this.this, RANKS)
    }
    ranked: list[exp.Expr] = [node for node in tree.find_all(exp.Window) if isinstance(node.this, RANKS)]
    ranked += [column for column in tree.find_all(exp.Column) if fold(column.name) in numbers]
    return any(_computed(node) for node in ranked)


def _computed(node: exp.Expr) -> bool:
    """Whether arithmetic or a function takes a value."""
    place = node.parent
    while isinstance(place, exp.Paren):
        place = place.parent
    return isinstance(place, (exp.Binary, exp.Func, exp.Interval)) and not isinstance(
        place, (exp.Predicate, exp.Connector, exp.AggFunc)
    )


@dataclass(frozen=True)
class Running:
    """A sum over the rows of a window whose result is compared with a number.

    Attributes:
        summed: The lower-case name of the column that is added up.
        order: Those of the columns that the window is sorted by.
        number: What a query compares the sum with, or the smallest or last of the sums.
        against: The lower-case name of the column that it is compared with instead, which holds the number or, where
            it is negated, the number's opposite; empty for none.
        negated: Whether it is negated.
    """

    summed: str
    order: tuple[str, ...]
    number: int | float
    against: str = ""
    negated: bool = False


# Of a column that a sum is compared with, what it holds.
_HELD = 10


def _compared_with(other: exp.Expr) -> tuple[int | float, str, bool] | None:
    """The number that a sum is compared with, and the column that holds it; None where that is not known."""
    number, plain = literal_value(other), other.unnest()
    if isinstance(number, (int, float)):
        return number, "", False
    negated = isinstance(plain, exp.Neg)
    column = plain.this.unnest() if negated else plain
    if isinstance(column, exp.Column):
        return -_HELD if negated else _HELD, fold(column.name), negated
    return None


def running_sums(tree: exp.Expr) -> Iterator[Running]:
    """The sums that windows carry from row to row, however the smallest, the largest or the last one is asked for."""
    windows = {fold(item.alias): item.this for item in tree.find_all(exp.Alias) if item.find(exp.Window) is not None}
    for node in tree.find_all(*COMPARISONS) if windows or tree.args.get("qualify") else ():
        for side, other in ((node.this, node.expression), (node.expression, node.this)):
            compared = _compared_with(other)
            if compared is not None:
                for window in _windows(side, windows, _DEEPEST):
                    order = window.args.get("order")
                    terms = [term.this for term in order.expressions] if order else []
                    names = tuple(fold(term.name) for term in terms if isinstance(term, exp.Column))
                    summed = window.this.find(exp.Sum, exp.Avg, exp.Min, exp.Max)
                    columns = summed.find_all(exp.Column) if summed is not None else ()
                    yield from (Running(fold(column.name), names, *compared) for column in columns)


def _windows(side: exp.Expr, windows: dict[str, exp.Expr], deep: int) -> Iterator[exp.Window]:
    """The windows behind an expression."""
    yield from side.find_all(exp.Window)
    for column in side.find_all(exp.Column) if deep else ():
        named = windows.get(fold(column.name))
        if named is not None:
            yield from _windows(named, windows, deep - 1)


def near_running(sums: Sequence[Running]) -> Iterator[tuple[str, list[Value]]]:
    """By name of a column that is added up, values next to what the sum is compared with, so that it goes both ways."""
    for running in sums:
        yield running.summed, [running.number + step for step in _STEPS]
