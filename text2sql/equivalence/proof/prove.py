"""Whether two queries agree on every database with a few rows to a table, by z3 (https://github.com/Z3Prover/z3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import z3
from sqlglot import exp

from text2sql.equivalence.databases.reading.count_thresholds import read_count_thresholds
from text2sql.equivalence.proof.database import Database, Row
from text2sql.equivalence.proof.queries import Queries
from text2sql.equivalence.proof.relations import Relation
from text2sql.equivalence.proof.symbols import Bool, Literals, NotModelled, Symbol, all_same, both, either, no
from text2sql.sql.schema import TableSchema

# Rows of a table, by how many tables the larger query names; of more tables two.
_ROWS = {1: 4, 2: 3}
FEWEST_ROWS = 2
# What z3 may spend, in its own unit: about 0.2 seconds.
WORK = 250_000
# Comparisons of values that a proof may write down.
_MOST_COMPARED = 3000


def proven_bound(tables: dict[str, TableSchema], gold: exp.Expr, predicted: exp.Expr) -> int | None:
    """How many rows each table may have so that two queries are proven to give the same result; None for no proof.

    Args:
        tables: The tables that either query reads, by lower-case name.
        gold: The gold query.
        predicted: The prediction.

    Raises:
        NotModelled: Nothing is known of them.
    """
    named = max(len(list(tree.find_all(exp.Table))) for tree in (gold, predicted))
    most = _ROWS.get(named, FEWEST_ROWS)
    if most > FEWEST_ROWS:
        with suppress(NotModelled):
            known = agree(tables, gold, predicted, most)
            if known is not None:
                return most if known else None
    return FEWEST_ROWS if agree(tables, gold, predicted, FEWEST_ROWS) else None


def agree(tables: dict[str, TableSchema], gold: exp.Expr, predicted: exp.Expr, rows: int) -> bool | None:
    """Whether two queries give the same result on every database with at most N rows to a table.

    Args:
        tables: The tables that either query reads, by lower-case name.
        gold: The gold query.
        predicted: The prediction.
        rows: Rows of a table.

    Returns:
        None if z3 does not find out.

    Raises:
        NotModelled: Nothing is known of them.
    """
    # What holds of groups of more than n rows shows on two such groups.
    counted = [found.number for tree in (gold, predicted) for found in read_count_thresholds(tree) if found.grouped]
    if any(2 * (number + 1) > rows for number in counted):
        raise NotModelled("more rows are counted than there are")
    literals = Literals(str(node.this) for tree in (gold, predicted) for node in tree.find_all(exp.Literal))
    database = Database(tables, rows)
    queries = Queries(database, literals)
    one, other = queries.result(gold), queries.result(predicted)
    if len(one.names) != len(other.names):
        return False
    a, b = _sorted_rows(one, other)
    database.link()
    solver = z3.SimpleSolver()
    solver.set("rlimit", WORK)
    solver.add(database.rules)
    a, b = _without_common(a, b)
    differs = either(*queries.expressions.violations, _differ(a, b))
    if z3.is_false(differs):
        return True
    solver.add(differs)
    answer = solver.check()
    return None if answer == z3.unknown else bool(answer == z3.unsat)


def _sorted_rows(gold: Relation, predicted: Relation) -> tuple[list[Row], list[Row]]:
    """The rows with what they are sorted by, where the order counts: equal bags of these are equal in their order."""
    cut = (gold.sorted.limit, gold.sorted.offset), (predicted.sorted.limit, predicted.sorted.offset)
    if cut[0] != cut[1]:
        raise NotModelled("another LIMIT")
    wanted = gold.sorted.directions
    given = predicted.sorted.directions
    if any(cut[0]) or cut[0][0] == 0:
        if wanted != given:
            raise NotModelled("another order before LIMIT")
    elif given[: len(wanted)] != wanted:
        raise NotModelled("another order")
    width = len(wanted)
    return [
        [
            Row(row.present, (*row.cells, *key[:width]), row.origin)
            for row, key in zip(side.rows, side.keys, strict=True)
        ]
        for side in (gold, predicted)
    ]  # type: ignore[return-value]


def _without_common(a: Sequence[Row], b: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Both bags without the rows that are the same terms in both."""
    left, right = list(a), []
    for row in b:
        for place, other in enumerate(left):
            if row.present.eq(other.present) and all(_equal(x, y) for x, y in zip(row.cells, other.cells, strict=True)):
                del left[place]
                break
        else:
            right.append(row)
    return left, right


def _equal(a: Symbol, b: Symbol) -> bool:
    return a.kind == b.kind and a.null.eq(b.null) and (a.term.eq(b.term) or z3.is_true(a.null))


def _differ(a: Sequence[Row], b: Sequence[Row]) -> Bool:
    """Whether two bags differ."""
    if not a and not b:
        return z3.BoolVal(False)
    origins = [sorted((tuple(sorted(row.origin)), place) for place, row in enumerate(rows)) for rows in (a, b)]
    keys = [[key for key, _ in side] for side in origins]
    if keys[0] == keys[1] and len(set(keys[0])) == len(keys[0]):
        # Each row against the one that comes from the same rows of tables.
        pairs = [(a[x], b[y]) for (_, x), (_, y) in zip(*origins, strict=True)]
        return either(
            *(either(x.present != y.present, both(x.present, no(all_same(x.cells, y.cells)))) for x, y in pairs)
        )
    if (len(a) + len(b)) ** 2 * len((*a, *b)[0].cells) > _MOST_COMPARED:
        raise NotModelled("so many rows")
    parts = []
    for row in (*a, *b):
        counts = [
            z3.Sum(
                [z3.If(both(other.present, all_same(row.cells, other.cells)), 1, 0) for other in side] or [z3.IntVal(0)]
            )
            for side in (a, b)
        ]
        parts.append(both(row.present, counts[0] != counts[1]))
    return either(*parts)
