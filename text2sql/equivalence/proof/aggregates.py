"""Aggregates of rows that may belong to a group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import z3
from sqlglot import exp

from text2sql.equivalence.proof.symbols import (
    NULL,
    Bool,
    Kind,
    NotModelled,
    SymbolicValue,
    and_,
    as_numeric,
    equal,
    if_,
    integer,
    not_,
    or_,
    quotient,
)

# Whether a value belongs to the group, and the value.
Member = tuple[Bool, SymbolicValue]
AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Max, exp.Min)


def aggregate(kind: type[exp.Expr], values: Sequence[Member], *, distinct: bool) -> SymbolicValue:
    """One of `AGGREGATES` over the values of a group.

    Raises:
        NotModelled: SUM and AVG of distinct values differ from the plain ones on three rows and more only.
    """
    counted = [(and_(member, not_(value.null)), value) for member, value in values]
    if issubclass(kind, (exp.Max, exp.Min)):
        return _extreme(counted, largest=issubclass(kind, exp.Max))
    if issubclass(kind, exp.Count):
        return integer(count([member for member, _ in (_distinct(counted) if distinct else counted)]))
    if distinct:
        raise NotModelled("a sum of distinct values")
    total = _sum([(member, as_numeric(value)) for member, value in counted])
    if issubclass(kind, exp.Sum) or total.kind == "null":
        return total
    amount = z3.ToReal(count([member for member, _ in counted]))
    return SymbolicValue("real", total.null, quotient(total.real, amount))


def count(members: Sequence[Bool]) -> Any:
    """How many rows belong to a group."""
    parts = [if_(member, z3.IntVal(1), z3.IntVal(0)) for member in members]
    return z3.Sum(parts) if parts else z3.IntVal(0)


def _extreme(counted: Sequence[Member], *, largest: bool) -> SymbolicValue:
    if not counted:
        return NULL
    best, seen = counted[0][1].term, counted[0][0]
    for member, value in counted[1:]:
        wins = best < value.term if largest else value.term < best
        best = if_(and_(member, or_(not_(seen), wins)), value.term, best)
        seen = or_(seen, member)
    return SymbolicValue(counted[0][1].kind, not_(seen), best)


def _sum(counted: Sequence[Member]) -> SymbolicValue:
    kinds = {value.kind for _, value in counted if value.kind != "null"}
    if not kinds:
        return NULL
    whole = kinds == {"integer"}
    zero = z3.IntVal(0) if whole else z3.RealVal(0)
    parts = [if_(member, value.term if whole else value.real, zero) for member, value in counted]
    kind: Kind = "integer" if whole else "real" if kinds == {"real"} else "number"
    return SymbolicValue(kind, not_(or_(*(member for member, _ in counted))), z3.Sum(parts))


def _distinct(counted: Sequence[Member]) -> Iterator[Member]:
    for index, (member, value) in enumerate(counted):
        before = (and_(earlier, equal(value, earlier_value)) for earlier, earlier_value in counted[:index])
        yield and_(member, not_(or_(*before))), value
