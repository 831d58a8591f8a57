"""Parses and prints SQLite queries with sqlglot, and answers small questions about syntax trees."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from typing import ClassVar

import sqlglot
from sqlglot import exp, generator
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ParseError
from sqlglot.generators.sqlite import SQLiteGenerator

from text2sql.errors import UserError
from text2sql.sql.schema import Column
from text2sql.sql.tokens import tokenize
from text2sql.sql.values import Value, as_number

# Its warnings concern SQL that it cannot parse, which is executed all the same.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


# Checked here, because a failure while printing a query would leave every pair undecided.
if str(generator.__file__).endswith(tuple(EXTENSION_SUFFIXES)):
    raise UserError(
        "sqlglot is installed in its compiled form (the package sqlglotc, which sqlglot[c] brings). Its classes cannot "
        "be extended so, and writing SQL as it was meant needs that. `pip uninstall sqlglotc` takes it out; sqlglot "
        "stays."
    )

_NEGATION = re.compile(r"\bNOT\b", re.IGNORECASE)

# The operators of comparisons.
COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}


class _Generator(SQLiteGenerator):
    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        target = expression.args["to"]
        declared = str(target.args.get("kind") or getattr(target.this, "value", target.this))
        # sqlglot reads BLOB as VARBINARY, a type that means nothing to SQLite.
        affinity = "BLOB" if declared == "VARBINARY" else Column("", declared).affinity
        return f"CAST({self.sql(expression, 'this')} AS {affinity})"


class _Tokenizer(SQLite.Tokenizer):
    # The first is printed. SQLite would read a double-quoted name as a string where there is no such column.
    IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`", '"', ("[", "]")]


class _SQLiteDialect(SQLite):
    """SQLite, printed without changes of meaning: sqlglot itself turns ``CAST(x AS DATE)`` into ``DATE(x)``."""

    Tokenizer = _Tokenizer
    Generator = _Generator


def parse_sqlite(sql: str) -> exp.Expr:
    """Parses a statement; the inverse of `to_sqlite`.

    Raises:
        SqlglotError: It does not parse. Of hostile text also RecursionError and others; `prepare.parse` catches them.
    """
    return parse_in(sql, SQLite)


def parse_in(sql: str, dialect: str | type[Dialect]) -> exp.Expr:
    """Parses a statement of a dialect.

    Negations are always `exp.Not` nodes: since version 30.0, sqlglot marks ``NOT LIKE`` on the node of LIKE, which code
    that reads trees would take for LIKE.

    Raises:
        SqlglotError: It does not parse. Of hostile text also RecursionError and others; `prepare.parse` catches them.
    """
    try:
        statements = parse_statements(sql, dialect)
    except ParseError:
        bracketed = _parenthesize_limits(sql)
        if bracketed == sql:
            raise
        statements = parse_statements(bracketed, dialect)
    if len(statements) != 1:
        raise ParseError(f"It holds {len(statements)} statements.")
    return wrap_negations(statements[0], sql)


def parse_statements(sql: str, dialect: str | type[Dialect]) -> list[exp.Expr]:
    """Parses the statements of a text, without the empty ones that semicolons and comments behind a semicolon make."""
    parsed = sqlglot.parse(sql, read=dialect)
    return [tree for tree in parsed if tree is not None and not isinstance(tree, exp.Semicolon)]


def wrap_negations(tree: exp.Expr, sql: str) -> exp.Expr:
    """A tree with `exp.Not` nodes in place of sqlglot's marks of negation; a copy if anything changes.

    Args:
        tree: The tree.
        sql: The text that it was parsed from.
    """
    if _NEGATION.search(sql):
        tree = tree.copy()
        # Innermost nodes first, because replaced nodes are copied.
        for node in reversed([node for node in tree.walk() if node.args.get("negate")]):
            _wrap_negation(node)
    return tree


def _parenthesize_limits(sql: str) -> str:
    """Parenthesizes the operands of LIMIT, where sqlglot reads the modulo operator as per cent."""
    parts: list[str] = []
    depth, limit_depths, end = 0, list[int](), 0
    for token in tokenize(sql):
        # The operand of LIMIT ends at a parenthesis, a semicolon, a comma or OFFSET.
        if limit_depths and depth == limit_depths[-1] and token.keyword in (")", ";", ",", "OFFSET"):
            parts.append(")")
            limit_depths.pop()
        depth += (token.keyword == "(") - (token.keyword == ")")
        parts.append(sql[end : token.end])
        end = token.end
        if token.keyword == "LIMIT":
            parts.append("(")
            limit_depths.append(depth)
    return "".join([*parts, ")" * len(limit_depths), sql[end:]])


def _wrap_negation(node: exp.Expr) -> None:
    """Puts an `exp.Not` around a node that is marked as negated."""
    node.set("negate", None)
    # ESCAPE belongs to its LIKE.
    whole = node.parent if isinstance(node.parent, exp.Escape) else node
    negated: exp.Expr = exp.Not(this=whole.copy())
    # NOT binds less tightly than NOT LIKE: (a NOT LIKE b) = 0.
    if isinstance(whole.parent, exp.Binary) and not isinstance(whole.parent, exp.Connector):
        negated = exp.Paren(this=negated)
    whole.replace(negated)


def to_sqlite(node: exp.Expr) -> str:
    """Prints a tree for SQLite, without comments."""
    return node.sql(_SQLiteDialect, comments=False)


def literal_value(node: exp.Expr | None) -> Value:
    """The value of a constant expression: literals, signs and simple arithmetic; None for anything else."""
    if isinstance(node, exp.Literal):
        if node.is_string:
            return str(node.this)
        number = as_number(str(node.this))
        # A text column is compared with the digits, where 2.0 is not 2.
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


def products(literals: Sequence[Value]) -> list[int | float]:
    """Products and quotients of the numbers in an expression, for ``column / 1000 > 0.75``; whole ones as int."""
    numbers = [value for value in literals if isinstance(value, (int, float)) and 0 < abs(value) < 1e9][:3]
    results = [result for a in numbers for b in numbers if a is not b for result in (a * b, a / b)]
    return [int(value) if float(value).is_integer() else value for value in results]


def replace_columns(expression: exp.Expr, substitute: Callable[[exp.Column], exp.Expr]) -> exp.Expr:
    """A copy of an expression with each of its columns replaced, by a new node each time.

    Args:
        expression: Any expression; it may be a column itself.
        substitute: Makes what stands in place of a column; called in the order of `Expr.find_all`.
    """
    # With a root, so that the expression itself may be replaced.
    root = exp.Paren(this=expression.copy())
    for column in list(root.find_all(exp.Column)):
        column.replace(substitute(column))
    return root.this.pop()


def outermost_queries(node: exp.Expr) -> list[exp.Expr]:
    """The outermost queries within an expression."""
    if isinstance(node, (exp.Select, exp.SetOperation)):
        return [node]
    queries: list[exp.Expr] = []
    for child in node.iter_expressions():
        queries += outermost_queries(child)
    return queries


def is_in_same_query(column: exp.Expr, root: exp.Expr) -> bool:
    """Whether no subquery is between a column and an expression that contains it."""
    node = column.parent
    while node is not None and node is not root:
        if isinstance(node, (exp.Select, exp.SetOperation)):
            return False
        node = node.parent
    return True


def keeps_ties(limit: exp.Expr | None) -> bool:
    """Whether a limit is FETCH FIRST ... WITH TIES."""
    options = limit.args.get("limit_options") if isinstance(limit, exp.Fetch) else None
    return bool(options is not None and options.args.get("with_ties") and not options.args.get("percent"))
