"""Between text and syntax trees, in the one dialect that is executed, and small questions about trees."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.generators.sqlite import SQLiteGenerator

from text2sql.sql.schema import Column
from text2sql.sql.values import Value, as_number

# Its warnings are about SQL of other dialects: what it cannot follow is run all the same.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


# The comparisons by their operator.
COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}


class _Writer(SQLiteGenerator):
    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        target = expression.args["to"]
        declared = str(target.args.get("kind") or getattr(target.this, "value", target.this))
        # sqlglot reads BLOB as VARBINARY, a type that means nothing to SQLite.
        affinity = "BLOB" if declared == "VARBINARY" else Column("", declared).affinity
        return f"CAST({self.sql(expression, 'this')} AS {affinity})"


class _Quotes(SQLite.Tokenizer):
    # The first is what is written. SQLite would read a name in double quotes as a string where there is no such column.
    IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`", '"', ("[", "]")]


class _Faithful(SQLite):
    """SQLite, written so that it means what was read: sqlglot itself turns ``CAST(x AS DATE)`` into ``DATE(x)``."""

    Tokenizer = _Quotes
    Generator = _Writer


def parse_sqlite(sql: str) -> exp.Expr:
    """The tree of a statement; the inverse of `to_sqlite`.

    Raises:
        SqlglotError: It does not parse. Of hostile text also RecursionError and others; `prepare.parse` catches them.
    """
    return sqlglot.parse_one(sql, read=SQLite)


def to_sqlite(node: exp.Expr) -> str:
    """A tree as text for SQLite, without comments."""
    return node.sql(_Faithful, comments=False)


def literal_value(node: exp.Expr | None) -> Value:
    """The value of a constant expression: literals, signs and simple arithmetic; None for anything else."""
    if isinstance(node, exp.Literal):
        if node.is_string:
            return str(node.this)
        number = as_number(str(node.this))
        # A column of text compares with the digits: 2.0 is not 2 there.
        return float(number) if isinstance(number, int) and "." in str(node.this) else number
    if isinstance(node, exp.Neg):
        value = literal_value(node.this)
        return -value if isinstance(value, (int, float)) else None
    if isinstance(node, exp.Boolean):
        return int(bool(node.this))
    if isinstance(node, (exp.Paren, exp.Cast)):
        return literal_value(node.this)
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        left, right = literal_value(node.left), literal_value(node.right)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return arithmetic(node, left, right)
    return None


def arithmetic(node: exp.Expr, left: int | float, right: int | float) -> Value:
    """Folds one operation on constants, as SQLite does it."""
    if isinstance(node, exp.Add):
        return left + right
    if isinstance(node, exp.Sub):
        return left - right
    if isinstance(node, exp.Mul):
        return left * right if abs(left) < 1e9 and abs(right) < 1e9 else None
    if right == 0:
        return None
    return left // right if isinstance(left, int) and isinstance(right, int) else left / right


def sums(literals: Sequence[Value]) -> list[int | float]:
    """Sums and differences of the numbers in an expression, for ``column + 5 = 13``."""
    numbers = [value for value in literals if isinstance(value, (int, float))][:4]
    return [a - b for a in numbers for b in numbers if a != b] + [a + b for a in numbers for b in numbers]


def outermost_queries(node: exp.Expr) -> list[exp.Expr]:
    """The queries directly inside an expression, not those inside them."""
    if isinstance(node, (exp.Select, exp.SetOperation)):
        return [node]
    found: list[exp.Expr] = []
    for child in node.iter_expressions():
        found += outermost_queries(child)
    return found


def within(column: exp.Expr, root: exp.Expr) -> bool:
    """Whether no subquery lies between a column and the expression."""
    node = column.parent
    while node is not None and node is not root:
        if isinstance(node, (exp.Select, exp.SetOperation)):
            return False
        node = node.parent
    return True
