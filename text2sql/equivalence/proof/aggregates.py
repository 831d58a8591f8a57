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
    Symbol,
    as_numeric,
    both,
    choose,
    either,
    integer,
    no,
    quotient,
    same,
)

# A value, and whether it belongs to the group.
Member = tuple[Bool, Symbol]
AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Max, exp.Min)


def aggregate(kind: type[exp.Expr], values: Sequence[Member], *, distinct: bool) -> Symbol:
    """One of `AGGREGATES` over the values of a group.

    Raises:
        NotModelled: SUM and AVG of distinct values differ from the plain ones on three rows and more only.
    """
    counted = [(both(member, no(value.null)), value) for member, value in values]
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
    return Symbol("real", total.null, quotient(total.real, amount))


def count(members: Sequence[Bool]) -> Any:
    """How many rows belong to a group."""
    parts = [choose(member, z3.IntVal(1), z3.IntVal(0)) for member in members]
    return z3.Sum(parts) if parts else z3.IntVal(0)


def _extreme(counted: Sequence[Member], *, largest: bool) -> Symbol:
    if not counted:
        return NULL
    best, seen = counted[0][1].term, counted[0][0]
    for member, value in counted[1:]:
        wins = best < value.term if largest else value.term < best
        best = choose(both(member, either(no(seen), wins)), value.term, best)
        seen = either(seen, member)
    return Symbol(counted[0][1].kind, no(seen), best)


def _sum(counted: Sequence[Member]) -> Symbol:
    kinds = {value.kind for _, value in counted if value.kind != "null"}
    if not kinds:
        return NULL
    whole = kinds == {"integer"}
    zero = z3.IntVal(0) if whole else z3.RealVal(0)
    parts = [choose(member, value.term if whole else value.real, zero) for member, value in counted]
    kind: Kind = "integer" if whole else "real" if kinds == {"real"} else "number"
    return Symbol(kind, no(either(*(member for member, _ in counted))), z3.Sum(parts))


def _distinct(counted: Sequence[Member]) -> Iterator[Member]:
    for place, (member, value) in enumerate(counted):
        before = (both(other, same(value, found)) for other, found in counted[:place])
        yield both(member, no(either(*before))), value
