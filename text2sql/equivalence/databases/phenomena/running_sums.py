"""Sums over the rows of a window that a query compares with a number, or the smallest, largest or last of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value
from text2sql.sql.values import Value

# How far the summands are from the number that a running sum is compared with.
_HINT_STEPS = (0, 1, -1, 10, -10)
# Times that names are replaced by what they stand for: an alias may be defined by another alias.
_MAX_ALIAS_DEPTH = 3
# What a column holds that a sum is compared with.
_COMPARED_COLUMN_VALUE = 10


@dataclass(frozen=True)
class RunningSum:
    """A sum over the rows of a window whose result is compared with a number.

    Attributes:
        column: The lower-case name of the column that is added up.
        order: The lower-case names of the columns that the window is sorted by.
        number: What a query compares the sum with, or the smallest or last of the sums.
        compared_column: The lower-case name of the column that it is compared with instead, which holds the number or,
            where it is negated, the number's opposite; empty for a literal number.
        negated: Whether that column is negated.
    """

    column: str
    order: tuple[str, ...]
    number: int | float
    compared_column: str = ""
    negated: bool = False


def read_running_sums(tree: exp.Expr) -> Iterator[RunningSum]:
    """The sums that windows carry from row to row, however the smallest, the largest or the last one is asked for."""
    aliases = {fold(item.alias): item.this for item in tree.find_all(exp.Alias) if item.find(exp.Window) is not None}
    for node in tree.find_all(*COMPARISONS) if aliases or tree.args.get("qualify") else ():
        for side, other in ((node.this, node.expression), (node.expression, node.this)):
            compared = _compared_with(other)
            if compared is None:
                continue
            for window in _windows_behind(side, aliases, _MAX_ALIAS_DEPTH):
                order = window.args.get("order")
                terms = [term.this for term in order.expressions] if order else []
                names = tuple(fold(term.name) for term in terms if isinstance(term, exp.Column))
                aggregate = window.this.find(exp.Sum, exp.Avg, exp.Min, exp.Max)
                columns = aggregate.find_all(exp.Column) if aggregate is not None else ()
                yield from (RunningSum(fold(column.name), names, *compared) for column in columns)


def _compared_with(other: exp.Expr) -> tuple[int | float, str, bool] | None:
    """The number that a sum is compared with, the column that holds it and whether that is negated; None if unknown."""
    number, inner = literal_value(other), other.unnest()
    if isinstance(number, (int, float)):
        return number, "", False
    negated = isinstance(inner, exp.Neg)
    column = inner.this.unnest() if negated else inner
    if isinstance(column, exp.Column):
        return -_COMPARED_COLUMN_VALUE if negated else _COMPARED_COLUMN_VALUE, fold(column.name), negated
    return None


def _windows_behind(side: exp.Expr, aliases: Mapping[str, exp.Expr], depth: int) -> Iterator[exp.Window]:
    """The windows in an expression, and in what its names stand for."""
    yield from side.find_all(exp.Window)
    for column in side.find_all(exp.Column) if depth else ():
        named = aliases.get(fold(column.name))
        if named is not None:
            yield from _windows_behind(named, aliases, depth - 1)


def running_sum_hints(sums: Iterable[RunningSum]) -> Iterator[tuple[str, list[Value]]]:
    """By name of a column that is added up, values next to what the sum is compared with, so that it goes both ways."""
    for running in sums:
        yield running.column, [running.number + step for step in _HINT_STEPS]
