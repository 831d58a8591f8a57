"""SQL values and truths as terms of z3: three-valued logic, affinities, and functions that are left open.

Whatever is left open (LIKE, functions of texts and dates, products, quotients) is an uninterpreted function: equal
arguments give equal results, and nothing else is known. Texts are points on a line, with the literals of both queries
in their order: there are more points than texts. Both make more databases possible than there are, so that a proof
holds all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import z3

from text2sql.sql.values import as_number

Kind = Literal["integer", "real", "number", "text", "null"]
Affinity = Literal["TEXT", "NUMERIC", ""]
TRUE, FALSE = z3.BoolVal(True), z3.BoolVal(False)
# A condition of z3, which has no types.
Bool = Any


class NotModelled(Exception):
    """Something that proofs know nothing of."""


def and_(*parts: Bool) -> Bool:
    """Conjunction, simplified where a part is constant."""
    left = [part for part in parts if not z3.is_true(part)]
    if any(z3.is_false(part) for part in left):
        return FALSE
    return left[0] if len(left) == 1 else z3.And(left) if left else TRUE


def or_(*parts: Bool) -> Bool:
    """Disjunction, simplified where a part is constant."""
    left = [part for part in parts if not z3.is_false(part)]
    if any(z3.is_true(part) for part in left):
        return TRUE
    return left[0] if len(left) == 1 else z3.Or(left) if left else FALSE


def not_(part: Bool) -> Bool:
    """Negation, simplified where the part is constant or a negation itself."""
    if z3.is_true(part) or z3.is_false(part):
        return FALSE if z3.is_true(part) else TRUE
    return part.arg(0) if z3.is_not(part) else z3.Not(part)


def if_(condition: Bool, one: Any, other: Any) -> Any:
    """The first term where the condition holds, else the second."""
    if z3.is_true(condition) or one.eq(other):
        return one
    return other if z3.is_false(condition) else z3.If(condition, one, other)


@dataclass(frozen=True)
class Truth:
    """A condition of SQL's three-valued logic: true, false, or neither, which is NULL."""

    true: Bool
    false: Bool

    def __invert__(self) -> Truth:
        return Truth(self.false, self.true)

    def __and__(self, other: Truth) -> Truth:
        return Truth(and_(self.true, other.true), or_(self.false, other.false))

    def __or__(self, other: Truth) -> Truth:
        return Truth(or_(self.true, other.true), and_(self.false, other.false))


@dataclass(frozen=True)
class SymbolicValue:
    """A value of SQL as terms of z3.

    Attributes:
        kind: What it is if it is not NULL; ``number`` where SQLite may hold an integer or a real.
        null: Whether it is NULL.
        term: An Int for an integer, a Real for all others.
        affinity: Of a column, see https://sqlite.org/datatype3.html section 4.2.
        literal: The value of a literal.
    """

    kind: Kind
    null: Bool
    term: Any
    affinity: Affinity = ""
    literal: int | float | str | None = None

    @property
    def numeric(self) -> bool:
        """Whether it is a number or NULL."""
        return self.kind != "text"

    @property
    def real(self) -> Any:
        """The term as a Real."""
        return z3.ToReal(self.term) if z3.is_int(self.term) else self.term

    @property
    def plain(self) -> SymbolicValue:
        """The value as an expression has it: without affinity."""
        return replace(self, affinity="")


NULL = SymbolicValue("null", TRUE, z3.IntVal(0))


def integer(value: Any, null: Bool = FALSE) -> SymbolicValue:
    """A whole number."""
    return SymbolicValue("integer", null, z3.IntVal(value) if isinstance(value, int) else value)


class Literals:
    """Where the texts of both queries lie on the line of texts.

    Args:
        texts: All of them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._ranks = {text: rank for rank, text in enumerate(sorted(set(texts), key=lambda text: text.encode()))}

    def text(self, text: str) -> SymbolicValue:
        """A text literal."""
        if text not in self._ranks:
            raise NotModelled("a text that the queries do not write")
        return SymbolicValue("text", FALSE, z3.RealVal(self._ranks[text]), literal=text)

    def number(self, text: str) -> SymbolicValue:
        """A number literal, as it is written."""
        value = as_number(text)
        if isinstance(value, int) and text.isdecimal():
            return SymbolicValue("integer", FALSE, z3.IntVal(value), literal=value)
        if not isinstance(value, (int, float)):
            raise NotModelled(f"the number {text}")
        return SymbolicValue("real", FALSE, z3.RealVal(text), literal=float(value))

    def compare(self, op: str, a: SymbolicValue, b: SymbolicValue) -> Truth:
        """A comparison by ``=``, ``<>``, ``<``, ``<=``, ``>`` or ``>=``, affinities applied as SQLite does."""
        a, b = self._with_affinity(a, b), self._with_affinity(b, a)
        known = and_(not_(a.null), not_(b.null))
        if "null" in (a.kind, b.kind):
            return Truth(FALSE, FALSE)
        if a.numeric != b.numeric:
            if a.affinity or b.affinity or not (a.literal is not None or b.literal is not None):
                sign = self._mixed_sign(a, b)
            else:
                # Numbers come before texts.
                sign = z3.IntVal(-1 if a.numeric else 1)
            holds = _holds(op, sign, z3.IntVal(0))
        elif z3.is_int(a.term) and z3.is_int(b.term):
            holds = _holds(op, a.term, b.term)
        else:
            holds = _holds(op, a.real, b.real)
        return Truth(and_(known, holds), and_(known, not_(holds)))

    def _mixed_sign(self, a: SymbolicValue, b: SymbolicValue) -> Any:
        """How a text that may look like a number compares with a number: left open."""
        text, number = (b, a) if a.numeric else (a, b)
        name = f"compare/{text.affinity}/{number.affinity}/{number.kind}"
        sign = z3.Function(name, z3.RealSort(), z3.RealSort(), z3.IntSort())(text.term, number.real)
        return -sign if text is b else sign

    def _with_affinity(self, a: SymbolicValue, b: SymbolicValue) -> SymbolicValue:
        """``a`` with the affinity that ``b`` gives it in a comparison."""
        if b.affinity == "NUMERIC" and a.affinity != "NUMERIC" and isinstance(a.literal, str):
            if as_number(a.literal) is not None:
                if not b.numeric:
                    raise NotModelled("a date compared with a number")
                number = self.number(a.literal.strip())
                if b.kind == "integer" and number.kind != "integer":
                    raise NotModelled("a column of whole numbers compared with a fraction")
                return replace(number, literal=None)
            if b.numeric:
                raise NotModelled("a column of numbers compared with a text")
        if b.affinity == "NUMERIC" and b.kind == "integer" and isinstance(a.literal, float) and a.literal % 1:
            raise NotModelled("a column of whole numbers compared with a fraction")
        if b.affinity == "NUMERIC" and not b.numeric and isinstance(a.literal, (int, float)):
            raise NotModelled("a date compared with a number")
        if b.affinity == "TEXT" and not a.affinity and isinstance(a.literal, int):
            return self.text(str(a.literal))
        if b.affinity == "TEXT" and not a.affinity and isinstance(a.literal, float):
            raise NotModelled("a text compared with a fraction")
        return a


def _holds(op: str, a: Any, b: Any) -> Bool:
    if a.eq(b):
        return TRUE if op in ("=", "<=", ">=") else FALSE
    if op == "=":
        return a == b
    if op == "<>":
        return not_(a == b)
    # One form for the four others: z3 sees that they are the same.
    if op in (">", "<="):
        a, b = b, a
    less = a < b
    return less if op in ("<", ">") else not_(less)


def equal(a: SymbolicValue, b: SymbolicValue) -> Bool:
    """Whether two values are the same in a result: NULL is NULL, and 1 is 1.0."""
    both_null = and_(a.null, b.null)
    if "null" in (a.kind, b.kind) or a.numeric != b.numeric:
        return both_null
    whole = z3.is_int(a.term) and z3.is_int(b.term)
    same_term = _holds("=", a.term, b.term) if whole else _holds("=", a.real, b.real)
    if a.null.eq(b.null):
        return or_(a.null, same_term)
    return or_(both_null, and_(not_(a.null), not_(b.null), same_term))


def all_equal(one: Sequence[SymbolicValue], other: Sequence[SymbolicValue]) -> Bool:
    """Whether two rows of equally many values are the same."""
    return and_(*(equal(a, b) for a, b in zip(one, other, strict=True)))


def select_value(condition: Bool, one: SymbolicValue, other: SymbolicValue) -> SymbolicValue:
    """The first value where the condition holds, else the second."""
    if one.kind == "null" or other.kind == "null":
        known = other if one.kind == "null" else one
        return SymbolicValue(known.kind, if_(condition, one.null, other.null), known.term)
    if one.numeric != other.numeric:
        raise NotModelled("a value that is a text or a number")
    null = if_(condition, one.null, other.null)
    if one.kind == other.kind:
        return SymbolicValue(one.kind, null, if_(condition, one.term, other.term))
    return SymbolicValue("number", null, if_(condition, one.real, other.real))


def uninterpreted(
    name: str, kind: Kind, arguments: Sequence[SymbolicValue], *, nullable: bool = False
) -> SymbolicValue:
    """An uninterpreted function of arguments; NULL where one of these is.

    Args:
        name: Equal names are equal functions.
        kind: Of its results.
        arguments: Its arguments. Integers and reals are told apart: LENGTH(1) is not LENGTH(1.0).
        nullable: Whether it may be NULL otherwise.
    """
    if any(argument.kind in ("null", "number") for argument in arguments):
        raise NotModelled(f"{name} of a value without a kind")
    name = f"{name}/{'/'.join(argument.kind for argument in arguments)}"
    sorts = [argument.term.sort() for argument in arguments]
    terms = [argument.term for argument in arguments]
    result = z3.Function(name, *sorts, z3.IntSort() if kind == "integer" else z3.RealSort())(*terms)
    null = or_(*(argument.null for argument in arguments))
    if nullable:
        null = or_(null, z3.Function(f"{name}/null", *sorts, z3.BoolSort())(*terms))
    return SymbolicValue(kind, null, result)


def as_numeric(value: SymbolicValue) -> SymbolicValue:
    """A value as arithmetic takes it."""
    return uninterpreted("number", "number", [value]) if value.kind == "text" else value.plain


def quotient(one: Any, other: Any) -> Any:
    """A quotient of two terms of one sort: an uninterpreted function."""
    sort = one.sort()
    return z3.Function(f"quotient/{sort}", sort, sort, sort)(one, other)
