"""Rewrites functions that SQLite, or sqlglot's translation for it, computes differently from the engines.

A function without a counterpart in SQLite becomes a call of one that SQLite does not have, so that it fails there
instead of computing something else.
"""

from __future__ import annotations

import re

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import quote_string
from text2sql.sql.trees import literal_value, parse_sqlite, to_sqlite

# The formats of SQLite's strftime(), https://sqlite.org/lang_datefunc.html, which returns NULL for any other.
_STRFTIME_FORMAT = re.compile(r"(?:[^%]|%[dfHjmMsSwWY%])*\Z")


def rewrite_by_semantics(node: exp.Expr, dialect: Dialect) -> exp.Expr | None:
    """Rewrites a call so that SQLite computes the same, or fails; None where no rewriting is needed.

    Args:
        node: The call in its own dialect.
        dialect: That dialect.
    """
    if isinstance(node, exp.ConcatWs):
        return _concatenation_with_separator(node)
    if isinstance(node, (exp.Trunc, exp.Round)) and node.args.get("decimals") is not None:
        return _at_digits(node)
    if isinstance(node, exp.Left) and dialect != "mysql":
        return _without_last(node)
    if isinstance(node, exp.Substring) and isinstance(literal_value(node.args.get("start")), str):
        return _unsupported("SUBSTRING_BY_PATTERN", node.this, node.args["start"])
    if isinstance(node, exp.TimeToStr):
        form = literal_value(node.args.get("format"))
        written = isinstance(form, str) and "%" in form and _STRFTIME_FORMAT.match(form) is not None
        return None if written else _unsupported("WRITTEN_AS", node.this, node.args["format"])
    if isinstance(node, exp.Bracket):
        return _unsupported("PART_OF", node.this)
    if isinstance(node, exp.Cast) and dialect == "mysql" and node.to.this == exp.DType.BINARY:
        # Not a conversion to bytes, which equal no text of SQLite's, but a comparison byte by byte.
        return exp.Collate(this=node.this.copy(), expression=exp.var("BINARY"))
    if isinstance(node, exp.DateDiff) and dialect == "duckdb":
        return _boundaries(node)
    return None


def _unsupported(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def _concatenation_with_separator(node: exp.ConcatWs) -> exp.Expr:
    """``CONCAT_WS``, which leaves NULL out together with the separator before it."""
    mark, *parts = node.expressions
    text = literal_value(mark)
    if not isinstance(text, str) or not parts:
        return _unsupported("CONCAT_WITH", *node.expressions)
    joined = " || ".join(f"COALESCE({quote_string(text)} || ({to_sqlite(part)}), '')" for part in parts)
    return parse_sqlite(f"SUBSTRING({joined}, {len(text) + 1})")


def _at_digits(node: exp.Trunc | exp.Round) -> exp.Expr | None:
    """Numbers cut to so many digits, or rounded to tens and hundreds: SQLite knows neither."""
    digits, inner = literal_value(node.args["decimals"]), to_sqlite(node.this)
    if not isinstance(digits, int) or abs(digits) > 9:
        return _unsupported("CUT_TO", node.this, node.args["decimals"]) if isinstance(node, exp.Trunc) else None
    if isinstance(node, exp.Round):
        return parse_sqlite(f"(ROUND(({inner}) / {10**-digits}.0) * {10**-digits})") if digits < 0 else None
    # Half a millionth makes up for fractions that have no end in binary digits.
    scaled = f"({inner}) * {10**digits}" if digits >= 0 else f"({inner}) / {10**-digits}.0"
    cut = f"CAST(ROUND({scaled}, 6) AS INTEGER)"
    return parse_sqlite(f"({cut} / {10**digits}.0)" if digits >= 0 else f"({cut} * {10**-digits})")


def _without_last(node: exp.Left) -> exp.Expr | None:
    """``LEFT(s, -2)``: all but the last two characters."""
    count = literal_value(node.expression)
    if not isinstance(count, int) or count >= 0:
        return None
    inner = to_sqlite(node.this)
    return parse_sqlite(f"SUBSTRING({inner}, 1, MAX(LENGTH({inner}) - {-count}, 0))")


def _boundaries(node: exp.DateDiff) -> exp.Expr | None:
    """The beginnings of years and months between two days, which is what DuckDB counts."""
    unit = node.args["unit"].name.upper() if node.args.get("unit") is not None else "DAY"
    later, earlier = (to_sqlite(part) for part in (node.this, node.expression))
    years = _difference("%Y", later, earlier)
    if unit == "YEAR":
        return parse_sqlite(f"({years})")
    if unit == "MONTH":
        return parse_sqlite(f"(({years}) * 12 + {_difference('%m', later, earlier)})")
    return None if unit == "DAY" else _unsupported(f"{unit}S_BETWEEN", node.expression, node.this)


def _difference(form: str, later: str, earlier: str) -> str:
    return f"CAST(STRFTIME('{form}', {later}) AS INTEGER) - CAST(STRFTIME('{form}', {earlier}) AS INTEGER)"
