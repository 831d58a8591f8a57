"""Values to try on a condition that is more than a comparison of a column with a literal."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import argument_values, dates_near, like_expansions
from text2sql.equivalence.databases.values.function_hints import dates_from_expression
from text2sql.equivalence.databases.values.json_documents import documents
from text2sql.equivalence.databases.values.patterns import (
    after_prefix,
    around_positions,
    around_separators,
    pattern_texts,
    without_fixed_texts,
)
from text2sql.sql.column_paths import Path
from text2sql.sql.trees import COMPARISONS, literal_value, products, sums, to_sqlite
from text2sql.sql.values import Value


def near_literals(node: exp.Expr, kind: str, paths: Sequence[Path] | None) -> tuple[Value, ...]:
    """Values near the literals of a condition.

    Args:
        node: The condition.
        kind: Of the first column in it, see `text2sql.sql.schema.Column.kind`.
        paths: Where that column is read as JSON, what the queries read of it.
    """
    # A sign is part of the number.
    literals = [literal_value(i.parent if isinstance(i.parent, exp.Neg) else i) for i in node.find_all(exp.Literal)]
    if paths is not None:
        return tuple(documents(paths, literals))
    candidates: list[Value] = list(dates_from_expression(node))
    if kind == "datetime":
        candidates = [moment for day in candidates for moment in dates_near(day, kind)[:2]]
    # The shortest text that a pattern matches comes before the pattern itself: it is the boundary.
    for like in node.find_all(exp.Like, exp.Glob):
        pattern = literal_value(like.expression)
        if isinstance(pattern, str):
            escape = literal_value(like.parent.expression) if isinstance(like.parent, exp.Escape) else None
            text = pattern.replace("*", "%") if isinstance(like, exp.Glob) else pattern
            candidates += like_expansions(text, str(escape or ""))
            candidates += dates_near(pattern, kind) if kind in ("date", "datetime") else ()
        candidates += [*pattern_texts(like), ""]
    candidates += [*around_separators(node), *after_prefix(node), *around_positions(node), *without_fixed_texts(node)]
    computed = sums(literals) + (products(literals) if node.find(exp.Mul, exp.Div) else [])
    for value in [*literals, *computed]:
        candidates += argument_values(value, kind)
    return tuple(dict.fromkeys(candidates))


def with_equality(condition: exp.Expr) -> list[str]:
    """SQL texts: a condition and, if it is a comparison, that both of its sides are equal."""
    if type(condition) not in COMPARISONS:
        return [to_sqlite(condition)]
    left, right = condition.this.copy(), condition.expression.copy()
    return [to_sqlite(condition), to_sqlite(exp.EQ(this=left, expression=right))]


def ratios(node: exp.Expr | None) -> list[int]:
    """Whole numbers whose quotients an arithmetic expression names: 1 and 20 for 0.05, or for 5 %."""
    if node is None or node.find(exp.Div) is None:
        return []
    numbers = [value for item in node.find_all(exp.Literal) if isinstance(value := literal_value(item), (int, float))]
    quotients = [float(value) for value in numbers if not float(value).is_integer()]
    quotients += [a / b for a in numbers for b in numbers if a != b and b > 1]
    terms: list[int] = []
    for quotient in quotients[:6]:
        if 0 < quotient < 1e6:
            ratio = Fraction(quotient).limit_denominator(1000)
            terms += [ratio.numerator * multiple for multiple in (1, 2)] + [
                ratio.denominator * multiple for multiple in (1, 2)
            ]
    return list(dict.fromkeys(terms))


def whole_numbers(node: exp.Expr | None) -> list[Value]:
    """The whole numbers of an expression, the largest first: small ones may be positions in a text."""
    literals = node.find_all(exp.Literal) if node is not None else ()
    numbers = [value for item in literals if isinstance(value := literal_value(item), int)]
    return list[Value](sorted(numbers, reverse=True))
