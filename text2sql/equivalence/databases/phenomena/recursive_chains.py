"""What recursive queries compare their steps with, and the columns that they add up from row to row."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value

# Steps that a recursion goes on databases made for it.
MAX_RECURSION_STEPS = 100


def read_step_numbers(tree: exp.Expr) -> list[int]:
    """The numbers of steps that a query's recursions are compared with."""
    numbers: list[int] = []
    for cte in _recursive_ctes(tree):
        counters = {name for name, others in _computed_columns(cte) if not others}
        numbers += [int(number) for number in _compared_numbers(tree, counters)]
        # A recursion that counts down begins at its number.
        first = cte.this.left if counters and isinstance(cte.this, exp.SetOperation) else None
        values = [literal_value(item.unalias()) for item in first.expressions] if isinstance(first, exp.Select) else []
        numbers += [value for value in values if isinstance(value, int)]
    return [abs(number) for number in numbers]


def read_totals(tree: exp.Expr) -> dict[str, list[int | float]]:
    """By name the columns that a recursion adds up from row to row, and the numbers that it compares the sum with."""
    return {
        other: _compared_numbers(tree, {name})
        for cte in _recursive_ctes(tree)
        for name, others in _computed_columns(cte)
        for other in others
    }


def _recursive_ctes(tree: exp.Expr) -> Iterator[exp.CTE]:
    """The CTEs of a query that read themselves and a table; `constant_tables` evaluates those that read no table."""
    for with_ in tree.find_all(exp.With):
        for cte in with_.expressions if with_.args.get("recursive") else ():
            names = {fold(table.name) for table in cte.find_all(exp.Table)}
            if fold(cte.alias) in names and len(names) > 1:
                yield cte


def _computed_columns(cte: exp.CTE) -> Iterator[tuple[str, set[str]]]:
    """The columns of a recursive CTE that a step computes from their own value, and the other columns in it."""
    step = cte.this.right if isinstance(cte.this, exp.SetOperation) else None
    items = step.expressions if isinstance(step, exp.Select) else ()
    for name, item in zip(_column_names(cte), items, strict=False):
        inner = item.unalias().unnest()
        if isinstance(inner, (exp.Add, exp.Sub)) and name in _names_in(inner):
            own = [column for column in inner.find_all(exp.Column) if fold(column.name) == name]
            # Of two columns of that name, one is the other table's.
            yield name, _names_in(inner) - ({name} if len(own) < 2 else set())


def _column_names(cte: exp.CTE) -> list[str]:
    """The names of the columns of a CTE, as far as its text says."""
    alias, body = cte.args.get("alias"), cte.this
    if alias is not None and alias.columns:
        return [fold(column.name) for column in alias.columns]
    while isinstance(body, (exp.SetOperation, exp.Subquery)):
        body = body.this
    return [fold(item.alias_or_name) for item in body.expressions] if isinstance(body, exp.Select) else []


def _compared_numbers(tree: exp.Expr, names: set[str]) -> list[int | float]:
    """The numbers that expressions over some columns are compared with."""
    numbers: list[int | float] = []
    for node in tree.find_all(*COMPARISONS, exp.Between, exp.In) if names else ():
        sides = [node.this, node.expression] if isinstance(node, exp.Binary) else [node.this]
        if any(side is not None and _names_in(side) & names for side in sides):
            texts = [*sides, *node.expressions, node.args.get("low"), node.args.get("high")]
            numbers += [value for value in map(literal_value, texts) if isinstance(value, (int, float))]
    return numbers


def _names_in(node: exp.Expr) -> set[str]:
    return {fold(column.name) for column in node.find_all(exp.Column)}
