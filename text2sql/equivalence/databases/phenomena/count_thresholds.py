"""Numbers that rows are counted against: LIMIT 50, HAVING COUNT(*) > 50, a rank up to 50.

Two queries that differ in such a number differ only where that many rows meet: `recipes.counted_recipes` makes
databases of that size, up to `MAX_COUNTED_ROWS` rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.values.comparisons import FLIPPED
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value

# Rows of the largest group or result that is made on purpose; see `limits` for what lies beyond.
MAX_COUNTED_ROWS = 2500
# Aggregates that find the row of a group before which a share of its rows lies.
SHARES = (exp.PercentileCont, exp.PercentileDisc, exp.Quantile, exp.ApproxQuantile, exp.Median)
# Window functions that number rows.
RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile)
# Without any of these, a query counts nothing against a number.
COUNTING = (exp.Limit, exp.Offset, exp.Count, exp.Sum, *RANKS, *SHARES)
_COMPARISONS = (*COMPARISONS, exp.Between, exp.In)
# Numbers beyond this are not exact as floats, and count nothing.
_MAX_NUMBER = 2**53
# Times that names are replaced by what they stand for: an alias may be defined by another alias.
_MAX_ALIAS_DEPTH = 3


@dataclass(frozen=True)
class CountThreshold:
    """One number that rows are counted against.

    Attributes:
        number: How many rows.
        grouped: Whether the rows of a group are counted (COUNT, a rank), not those of a result (LIMIT, OFFSET).
        op: The comparison, with the number on its right; or limit, offset, between and the like.
    """

    number: int
    grouped: bool
    op: str


def read_count_thresholds(tree: exp.Expr, flags: Collection[str] = ()) -> list[CountThreshold]:
    """The thresholds of a query, each once, in the order of the text.

    Args:
        tree: The query.
        flags: Names of columns that hold 0 or 1, so that their sum is a count.
    """
    return list(dict.fromkeys([*_limits(tree), *_counts(tree, flags), *_shares(tree)]))


def _limits(tree: exp.Expr) -> Iterator[CountThreshold]:
    for limit in tree.find_all(exp.Limit, exp.Offset):
        number = literal_value(limit.expression)
        if number is None:
            # The limit is computed, say as a tenth of the rows: each number in it may make a difference.
            parts = map(literal_value, limit.expression.find_all(exp.Literal))
            yield from (
                CountThreshold(part, False, str(limit.key)) for part in parts if isinstance(part, int) and part > 1
            )
        if not isinstance(number, int) or number < 0:
            continue
        offset = limit.parent.args.get("offset") if isinstance(limit, exp.Limit) and limit.parent else None
        skipped = literal_value(offset.expression) if offset is not None else 0
        yield CountThreshold(
            number + (skipped if isinstance(skipped, int) and skipped > 0 else 0), False, str(limit.key)
        )


def _counts(tree: exp.Expr, flags: Collection[str]) -> Iterator[CountThreshold]:
    names = _names_of_counts(tree, flags)
    node: exp.Expr
    for node in tree.find_all(*_COMPARISONS):
        sides: list[exp.Expr] = [node.this, node.expression] if isinstance(node, exp.Binary) else [node.this]
        if not any(_counts_rows(side, names, flags) for side in sides if side is not None):
            continue
        numbers = [*sides, *node.expressions, node.args.get("low"), node.args.get("high")]
        for index, number in enumerate(map(literal_value, numbers)):
            if isinstance(number, (int, float)) and 0 <= number < _MAX_NUMBER:
                op = COMPARISONS.get(type(node), str(node.key))
                yield CountThreshold(int(number), True, FLIPPED.get(op, op) if index == 0 else op)


def _shares(tree: exp.Expr) -> Iterator[CountThreshold]:
    """As many rows as a group needs for a share of it to be another row than the first or the last: 10 for 0.9."""
    for node in tree.find_all(*SHARES):
        parts = [value for item in node.find_all(exp.Literal) if isinstance(value := literal_value(item), float)]
        for part in parts or [0.5]:
            number = round(1 / min(part, 1 - part)) if 0 < part < 1 else 0
            if 1 < number <= MAX_COUNTED_ROWS:
                yield CountThreshold(number, True, "share")


def _names_of_counts(tree: exp.Expr, flags: Collection[str]) -> set[str]:
    """The names that a query gives to counts, also through derived tables and CTEs with columns."""
    named: list[tuple[str, exp.Expr]] = [(fold(item.alias), item.this) for item in tree.find_all(exp.Alias)]
    for source in tree.find_all(exp.CTE, exp.Subquery):
        inner, alias = source.this, source.args.get("alias")
        if isinstance(inner, exp.Select) and alias is not None:
            named += [(fold(name.name), item) for name, item in zip(alias.columns, inner.expressions, strict=False)]
    names: set[str] = set()
    for _ in range(_MAX_ALIAS_DEPTH):
        names |= {name for name, expression in named if _counts_rows(expression, names, flags)}
    return names


def _counts_rows(node: exp.Expr, names: set[str], flags: Collection[str]) -> bool:
    """Whether an expression counts rows, or is a name given to a count."""
    for part in node.walk():
        if isinstance(part, (exp.Count, *RANKS)):
            return True
        if isinstance(part, exp.Column) and fold(part.name) in names:
            return True
        if isinstance(part, exp.Sum) and isinstance(part.this, exp.Column) and fold(part.this.name) in flags:
            return True
        if isinstance(part, exp.Sum) and part.find(exp.Literal) is not None and part.find(exp.Case, exp.If, exp.Column):
            # The sum of a condition, or of a CASE, counts the rows on which it holds.
            return isinstance(part.this.unnest(), (exp.Case, exp.If, exp.Predicate, exp.Connector, exp.Not))
    return False
