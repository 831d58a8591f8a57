"""Whether two queries agree on every database with a few rows to a table, by z3 (https://github.com/Z3Prover/z3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import z3
from sqlglot import exp

from text2sql.equivalence.databases.phenomena.count_thresholds import read_count_thresholds
from text2sql.equivalence.proof.database import SymbolicDatabase, SymbolicRow
from text2sql.equivalence.proof.queries import QueryEvaluator
from text2sql.equivalence.proof.relations import Relation
from text2sql.equivalence.proof.symbols import Bool, Literals, NotModelled, SymbolicValue, all_equal, and_, not_, or_
from text2sql.sql.schema import TableSchema

# Rows of a table, by how many tables the larger query names; `MIN_ROWS` where it names more.
_MAX_ROWS = {1: 4, 2: 3}
MIN_ROWS = 2
# What z3 may spend, in its own unit (its parameter "rlimit"): about 0.2 seconds.
_SOLVER_RESOURCES = 250_000
# Comparisons of values that a proof may write down.
_MAX_COMPARISONS = 3000


def proven_bound(tables: dict[str, TableSchema], gold: exp.Expr, predicted: exp.Expr) -> int | None:
    """How many rows each table may have so that two queries are proven to give the same result; None for no proof.

    Args:
        tables: The tables that either query reads, by lower-case name.
        gold: The gold query.
        predicted: The prediction.

    Raises:
        NotModelled: They have something that proofs do not model.
    """
    named = max(len(list(tree.find_all(exp.Table))) for tree in (gold, predicted))
    rows = _MAX_ROWS.get(named, MIN_ROWS)
    if rows > MIN_ROWS:
        with suppress(NotModelled):
            proven = agree(tables, gold, predicted, rows)
            if proven is not None:
                return rows if proven else None
    return MIN_ROWS if agree(tables, gold, predicted, MIN_ROWS) else None


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
        NotModelled: They have something that proofs do not model.
    """
    # What holds of groups of more than n rows shows on two such groups.
    counts = [
        threshold.number for tree in (gold, predicted) for threshold in read_count_thresholds(tree) if threshold.grouped
    ]
    if any(2 * (number + 1) > rows for number in counts):
        raise NotModelled("more rows are counted than there are")
    literals = Literals(str(node.this) for tree in (gold, predicted) for node in tree.find_all(exp.Literal))
    database = SymbolicDatabase(tables, rows)
    queries = QueryEvaluator(database, literals)
    one, other = queries.result(gold), queries.result(predicted)
    if len(one.names) != len(other.names):
        return False
    a, b = _sorted_rows(one, other)
    database.add_foreign_keys()
    solver = z3.SimpleSolver()
    solver.set("rlimit", _SOLVER_RESOURCES)
    solver.add(database.constraints)
    a, b = _drop_common_rows(a, b)
    differs = or_(*queries.expressions.violations, _differ(a, b))
    if z3.is_false(differs):
        return True
    solver.add(differs)
    answer = solver.check()
    return None if answer == z3.unknown else bool(answer == z3.unsat)


def _sorted_rows(gold: Relation, predicted: Relation) -> tuple[list[SymbolicRow], list[SymbolicRow]]:
    """The rows with what they are sorted by, where the order counts: equal bags of these are equal in their order."""
    one, other = gold.ordering, predicted.ordering
    if (one.limit, one.offset) != (other.limit, other.offset):
        raise NotModelled("another LIMIT")
    width = len(one.directions)
    if one.limit is not None or one.offset:
        if one.directions != other.directions:
            raise NotModelled("another order before LIMIT")
    elif other.directions[:width] != one.directions:
        raise NotModelled("another order")
    return [
        [
            SymbolicRow(row.present, (*row.cells, *key[:width]), row.origin)
            for row, key in zip(side.rows, side.keys, strict=True)
        ]
        for side in (gold, predicted)
    ]  # type: ignore[return-value]


def _drop_common_rows(
    a: Sequence[SymbolicRow], b: Sequence[SymbolicRow]
) -> tuple[list[SymbolicRow], list[SymbolicRow]]:
    """Both bags without the rows that are the same terms in both."""
    left, right = list(a), []
    for row in b:
        for index, other in enumerate(left):
            cells = zip(row.cells, other.cells, strict=True)
            if row.present.eq(other.present) and all(_is_same_term(x, y) for x, y in cells):
                del left[index]
                break
        else:
            right.append(row)
    return left, right


def _is_same_term(a: SymbolicValue, b: SymbolicValue) -> bool:
    return a.kind == b.kind and a.null.eq(b.null) and (a.term.eq(b.term) or z3.is_true(a.null))


def _differ(a: Sequence[SymbolicRow], b: Sequence[SymbolicRow]) -> Bool:
    """Whether two bags differ."""
    if not a and not b:
        return z3.BoolVal(False)
    origins = [sorted((tuple(sorted(row.origin)), index) for index, row in enumerate(rows)) for rows in (a, b)]
    keys = [[key for key, _ in side] for side in origins]
    if keys[0] == keys[1] and len(set(keys[0])) == len(keys[0]):
        # Each row against the one that comes from the same rows of tables.
        pairs = [(a[x], b[y]) for (_, x), (_, y) in zip(*origins, strict=True)]
        return or_(*(or_(x.present != y.present, and_(x.present, not_(all_equal(x.cells, y.cells)))) for x, y in pairs))
    if (len(a) + len(b)) ** 2 * len((*a, *b)[0].cells) > _MAX_COMPARISONS:
        raise NotModelled("so many rows")
    parts = []
    for row in (*a, *b):
        parts.append(and_(row.present, _occurrences(row, a) != _occurrences(row, b)))
    return or_(*parts)


def _occurrences(row: SymbolicRow, rows: Sequence[SymbolicRow]) -> z3.ArithRef:
    """How often a row is in a bag."""
    terms = [z3.If(and_(other.present, all_equal(row.cells, other.cells)), 1, 0) for other in rows]
    return z3.Sum(terms or [z3.IntVal(0)])
