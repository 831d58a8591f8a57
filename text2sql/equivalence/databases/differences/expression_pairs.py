"""Two ways to compute something from one column, and values on which they do not come to the same.

``x / 2`` and ``x >> 1`` differ on odd numbers below zero, ``SUM(x) / 2`` and ``FLOOR(SUM(x) / 2.0)`` on groups of such
a sum. What only one of two queries computes is paired with what only the other one does; where the two agree on some
values and not on all, those on which they do not become rows of a database, whatever the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.differences.collisions import variations
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan, query_tree
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.equivalence.results import close
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Value

# Values that are put through each pair.
_MAX_VALUES = 120
# Values that become rows: of each sign, and in all.
_MAX_VALUES_OF_SIGN = 2
_MAX_ROWS = 5
# Ordinary values of a column that are tried with their variations.
_ORDINARY_VALUES = 6
# Numbers with all kinds of halves and signs, as far as they suit a column.
_NUMBERS = (1, -1, 2, -2, 3, -3, 0, 7, -7, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.25, -0.25, 0.125, 2.675, 99.995, 10, 100)


def expression_pair_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """Databases with values on which what the queries compute from a column differs."""
    if not plan.columns.expression_pairs:
        return
    for key, column in domains.columns.items():
        pairs = plan.columns.expression_pairs.get(key[1], ()) if not column.generated else ()
        chosen: dict[Value, None] = {}
        for pair in pairs:
            chosen.update(dict.fromkeys(_differing_values(pair, key, domains)))
        rows = tuple((value,) for value in list(chosen)[:_MAX_ROWS])
        if rows:
            parts = (part for query in plan.queries for part in query_tree(query))
            has_groups = any(part.group_by or part.one_row_per_group for part in parts)
            query = plan.first_reader(key[0])
            if len(rows) > 1 or has_groups:
                yield (Sample(query, (key,), rows, separate_groups=True),)
            # Where all rows are one group, they must not hide each other.
            yield from ((Sample(query, (key,), (row,)),) for row in rows[:_MAX_VALUES_OF_SIGN])


def _differing_values(pair: tuple[exp.Expr, exp.Expr], key: ColumnKey, domains: Domains) -> list[Value]:
    """A few values of a column on which two expressions differ; none if they differ on all that are tried."""
    candidates = _candidates(pair, domains.pool(key, 0, _ORDINARY_VALUES), domains.constraints.kinds[key])
    values = domains.constraints.allowed(key, candidates)[:_MAX_VALUES]
    results = domains.evaluate([to_sqlite(expression) for expression in pair], key, values) or []
    differing = [value for value, (one, other) in zip(values, results, strict=False) if not close(one, other)]
    if len(differing) == len(results):
        return []
    below, others = list[Value](), list[Value]()
    for value in differing:
        (below if isinstance(value, (int, float)) and value < 0 else others).append(value)
    return [*below[:_MAX_VALUES_OF_SIGN], *others[:_MAX_VALUES_OF_SIGN]]


def _candidates(pair: tuple[exp.Expr, exp.Expr], pool: Sequence[Value], kind: str) -> dict[Value, None]:
    """Values of a column to put through two expressions, near their literals and on both sides of zero."""
    literals = [literal_value(part) for expression in pair for part in expression.find_all(exp.Literal)]
    candidates: list[Value] = []
    if kind in ("integer", "real", "any"):
        numbers = [value for value in literals if isinstance(value, (int, float))]
        candidates += [sign * (value + step) for value in numbers for step in (0, 1, -1) for sign in (1, -1)]
        candidates += [value / 2 for value in numbers] + [value * 1.5 for value in numbers]
        if kind == "integer":
            candidates = [int(v) if isinstance(v, float) and v.is_integer() else v for v in candidates]
        candidates += _NUMBERS
    # A literal is no document.
    texts = [value for value in literals if isinstance(value, str) and kind != "json"]
    for value in (*texts, *pool[:_ORDINARY_VALUES]):
        candidates += [value, *variations(value, kind, literals)]
    return dict.fromkeys(candidates)
