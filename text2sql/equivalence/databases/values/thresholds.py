"""Numbers that rows are counted against: LIMIT 50, HAVING COUNT(*) > 50, a rank up to 50.

Two queries that differ in such a number differ only where that number of rows meets. Databases of that size are made up
to `MOST` rows; beyond it, a number that only one of two queries has leaves them undecided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import FLIPPED
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value

# Rows of the largest group or result that is made on purpose.
MOST = 2500

# Without any of these, a query counts nothing against a number.
# Of the rows of a group they find the one before which a share of them lies.
SHARES = (exp.PercentileCont, exp.PercentileDisc, exp.Quantile, exp.ApproxQuantile, exp.Median)
COUNTING = (exp.Limit, exp.Offset, exp.Count, exp.Sum, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, *SHARES)
RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile)
_COMPARED = (*COMPARISONS, exp.Between, exp.In)


@dataclass(frozen=True)
class Threshold:
    """One number that rows are counted against.

    Attributes:
        number: How many rows.
        grouped: Whether the rows of a group are counted (COUNT, a rank), not those of a result (LIMIT, OFFSET).
        op: How: the comparison, with the number on its right, or LIMIT, OFFSET, BETWEEN and the like.
    """

    number: int
    grouped: bool
    op: str


def thresholds(tree: exp.Expr, flags: Collection[str] = ()) -> list[Threshold]:
    """The thresholds of a query, each once, in the order of the text.

    Args:
        tree: The query.
        flags: Names of columns that hold 0 or 1, so that their sum is a count.
    """
    return list(dict.fromkeys([*_limits(tree), *_counts(tree, flags), *_shares(tree)]))


def out_of_reach(gold: list[Threshold], predicted: list[Threshold]) -> int | None:
    """A number beyond `MOST` that only one of two queries counts against; None if there is none."""
    for threshold in sorted(set(gold) ^ set(predicted), key=lambda threshold: threshold.number):
        if threshold.number > MOST:
            return threshold.number
    return None


def _limits(tree: exp.Expr) -> Iterator[Threshold]:
    for limit in tree.find_all(exp.Limit, exp.Offset):
        number = literal_value(limit.expression)
        if number is None:
            # As many rows as make a difference to what is computed: a tenth of them.
            parts = map(literal_value, limit.expression.find_all(exp.Literal))
            yield from (Threshold(part, False, str(limit.key)) for part in parts if isinstance(part, int) and part > 1)
        if not isinstance(number, int) or number < 0:
            continue
        offset = limit.parent.args.get("offset") if isinstance(limit, exp.Limit) and limit.parent else None
        skipped = literal_value(offset.expression) if offset is not None else 0
        yield Threshold(number + (skipped if isinstance(skipped, int) and skipped > 0 else 0), False, str(limit.key))


def _counts(tree: exp.Expr, flags: Collection[str]) -> Iterator[Threshold]:
    names = _counting_names(tree, flags)
    node: exp.Expr
    for node in tree.find_all(*_COMPARED):
        sides: list[exp.Expr] = [node.this, node.expression] if isinstance(node, exp.Binary) else [node.this]
        if not any(_counting(side, names, flags) for side in sides if side is not None):
            continue
        numbers = [*sides, *node.expressions, node.args.get("low"), node.args.get("high")]
        for place, number in enumerate(map(literal_value, numbers)):
            if isinstance(number, (int, float)) and 0 <= number < 2**53:
                op = COMPARISONS.get(type(node), str(node.key))
                yield Threshold(int(number), True, FLIPPED.get(op, op) if place == 0 else op)


def _shares(tree: exp.Expr) -> Iterator[Threshold]:
    """As many rows as a group needs for a share of it to be another row than the first or the last: 10 for 0.9."""
    for node in tree.find_all(*SHARES):
        parts = [value for item in node.find_all(exp.Literal) if isinstance(value := literal_value(item), float)]
        for part in parts or [0.5]:
            number = round(1 / min(part, 1 - part)) if 0 < part < 1 else 0
            if 1 < number <= MOST:
                yield Threshold(number, True, "share")


def _counting_names(tree: exp.Expr, flags: Collection[str]) -> set[str]:
    """The names that a query gives to counts, also through derived tables and CTEs with columns."""
    given: list[tuple[str, exp.Expr]] = [(fold(item.alias), item.this) for item in tree.find_all(exp.Alias)]
    for source in tree.find_all(exp.CTE, exp.Subquery):
        inner, alias = source.this, source.args.get("alias")
        if isinstance(inner, exp.Select) and alias is not None:
            given += [(fold(name.name), item) for name, item in zip(alias.columns, inner.expressions, strict=False)]
    names: set[str] = set()
    for _ in range(3):
        names |= {name for name, expression in given if _counting(expression, names, flags)}
    return names


def _counting(node: exp.Expr, names: set[str], flags: Collection[str]) -> bool:
    """Whether an expression counts rows, or is a name given to a count."""
    for part in node.walk():
        if isinstance(part, (exp.Count, *RANKS)):
            return True
        if isinstance(part, exp.Column) and fold(part.name) in names:
            return True
        if isinstance(part, exp.Sum) and isinstance(part.this, exp.Column) and fold(part.this.name) in flags:
            return True
        if isinstance(part, exp.Sum) and part.find(exp.Literal) is not None and part.find(exp.Case, exp.If, exp.Column):
            # Of a condition, as of a CASE, the rows on which it holds are counted.
            return isinstance(part.this.unnest(), (exp.Case, exp.If, exp.Predicate, exp.Connector, exp.Not))
    return False
