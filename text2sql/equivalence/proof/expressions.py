"""Evaluates SQL expressions symbolically, for `queries`: on one row, or on a group of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import z3
from sqlglot import exp

from text2sql.equivalence.proof.aggregates import AGGREGATES, aggregate, count
from text2sql.equivalence.proof.database import SymbolicRow
from text2sql.equivalence.proof.relations import require_only
from text2sql.equivalence.proof.symbols import (
    FALSE,
    NULL,
    TRUE,
    Bool,
    Kind,
    Literals,
    NotModelled,
    SymbolicValue,
    Truth,
    and_,
    as_numeric,
    equal,
    if_,
    integer,
    not_,
    or_,
    quotient,
    select_value,
    uninterpreted,
)
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS

# Functions that are left uninterpreted, with the kind of their results. Each is determined by its arguments.
_UNINTERPRETED: dict[str, Kind] = {
    **dict.fromkeys(("Upper", "Lower", "Substring", "Trim", "Replace", "TimeToStr", "Date", "TsOrDsToDate"), "text"),
    **dict.fromkeys(("TsOrDsToTimestamp", "TsOrDsToTime", "Datetime", "Time", "DPipe"), "text"),
    **dict.fromkeys(("Length", "StrPosition"), "integer"),
    **dict.fromkeys(("DATE", "TIME", "DATETIME", "STRFTIME"), "text"),
    "JULIANDAY": "real",
    "Round": "real",
}
# How the names of those begin that may be NULL where no argument is.
_NULLABLE_PREFIXES = (
    "Date",
    "TimeToStr",
    "Ts",
    "Datetime",
    "Time",
    "DATE",
    "TIME",
    "DATETIME",
    "STRFTIME",
    "JULIANDAY",
)


_BINARY = ("this", "expression", "negate")
# The arguments that are read of a node; of others all are.
_KNOWN_ARGS: dict[type[exp.Expr], tuple[str, ...]] = {
    **dict.fromkeys((*COMPARISONS, exp.Is, exp.Like, exp.Glob, exp.Add, exp.Sub, exp.Mul, exp.Div), _BINARY),
    exp.In: ("this", "expressions", "query", "negate"),
    exp.Between: ("this", "low", "high", "negate"),
    exp.Exists: ("this", "negate"),
    exp.Column: ("this", "table"),
    exp.Case: ("this", "ifs", "default"),
    exp.If: ("this", "true", "false"),
    exp.Coalesce: ("this", "expressions"),
    exp.Cast: ("this", "to"),
    exp.Subquery: ("this", "alias"),
}


@dataclass
class Column:
    """A column of a FROM clause.

    Attributes:
        table: The table's name or alias there.
        name: The column's.
        hidden: Whether USING has merged it with another.
    """

    table: str
    name: str
    hidden: bool = False


@dataclass
class Scope:
    """What the names of an expression mean.

    Attributes:
        columns: The columns of the FROM clause.
        row: The row that they are read from.
        outer: The scope around a subquery.
        group: The rows of the group, with whether each belongs to it; None outside groups.
        aliases: Names of result columns.
        grouped_columns: The indices of the columns that are grouped by; None without GROUP BY.
    """

    columns: list[Column]
    row: SymbolicRow
    outer: Scope | None = None
    group: list[tuple[Bool, SymbolicRow]] | None = None
    aliases: dict[str, exp.Expr] = field(default_factory=dict)
    grouped_columns: frozenset[int] | None = None

    def column_index(self, table: str, name: str) -> int | None:
        """The index of a column of the FROM clause, None if there is none of that name; NotModelled for several."""
        indices = [
            index
            for index, column in enumerate(self.columns)
            if column.name == name and (column.table == table if table else not column.hidden)
        ]
        if len(indices) > 1:
            raise NotModelled(f"{name}, which is ambiguous")
        return indices[0] if indices else None

    def for_row(self, row: SymbolicRow) -> Scope:
        """The same scope for one row outside groups."""
        return Scope(self.columns, row, self.outer)


# Evaluates a subquery in a scope: its rows.
Subquery = Callable[[exp.Expr, Scope], "list[SymbolicRow]"]


class ExpressionEvaluator:
    """Evaluates expressions.

    Args:
        literals: The texts of both queries.
        subquery: Evaluates a subquery in a scope.

    Attributes:
        violations: Each makes a result depend on more than the data: bare columns that differ within a group.
    """

    def __init__(self, literals: Literals, subquery: Subquery) -> None:
        self._literals, self._subquery = literals, subquery
        self.violations: list[Bool] = []

    # Values

    def compare(self, op: str, a: SymbolicValue, b: SymbolicValue) -> Truth:
        """See `Literals.compare`."""
        return self._literals.compare(op, a, b)

    def value(self, node: exp.Expr, scope: Scope) -> SymbolicValue:
        """The value of an expression.

        Raises:
            NotModelled: It has something that proofs know nothing of.
        """
        require_only(node, *_KNOWN_ARGS.get(type(node), tuple(node.args)))
        if isinstance(node, exp.Paren):
            return self.value(node.this, scope)
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Literal):
            text = str(node.this)
            return self._literals.text(text) if node.is_string else self._literals.number(text)
        if isinstance(node, exp.Null):
            return NULL
        if isinstance(node, exp.AggFunc):
            return self._aggregate(node, scope)
        if isinstance(node, (exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div)):
            return self._arithmetic(node, scope)
        if isinstance(node, exp.Case):
            return self._case(node, scope)
        if isinstance(node, exp.If):
            default = node.args.get("false")
            other = self.value(default, scope) if default is not None else NULL
            return select_value(self.truth(node.this, scope).true, self.value(node.args["true"], scope), other)
        if isinstance(node, exp.Coalesce):
            result = self.value([node.this, *node.expressions][-1], scope)
            for part in [node.this, *node.expressions][-2::-1]:
                value = self.value(part, scope)
                result = select_value(not_(value.null), value, result)
            return result
        if isinstance(node, exp.Nullif):
            value, other = self.value(node.this, scope), self.value(node.expression, scope)
            equal = self._literals.compare("=", value, other).true
            return SymbolicValue(value.kind, or_(value.null, equal), value.term)
        if isinstance(node, exp.Subquery):
            return self._scalar(node.this, scope)
        if isinstance(node, exp.Cast):
            return self._cast(node, scope)
        if isinstance(node, (exp.Predicate, exp.Connector, exp.Not, exp.Boolean)):
            truth = self.truth(node, scope)
            one = if_(truth.true, z3.IntVal(1), z3.IntVal(0))
            return SymbolicValue("integer", not_(or_(truth.true, truth.false)), one)
        return self._uninterpreted_function(node, scope)

    def _column(self, node: exp.Column, scope: Scope) -> SymbolicValue:
        table, name = fold(node.table), fold(node.name)
        level: Scope | None = scope
        while level is not None:
            index = level.column_index(table, name)
            if index is not None:
                return self._read_column(index, level)
            if not table and name in level.aliases:
                return self.value(level.aliases[name], level).plain
            level = level.outer
        raise NotModelled(f"the column {name}")

    def _read_column(self, index: int, scope: Scope) -> SymbolicValue:
        if scope.group is not None and scope.grouped_columns is None:
            raise NotModelled("a bare column of all rows")
        value = scope.row.cells[index]
        if scope.group is not None and index not in (scope.grouped_columns or ()):
            for member, row in scope.group:
                differs = not_(equal(value, row.cells[index]))
                if not z3.is_false(differs):
                    self.violations.append(and_(scope.row.present, member, differs))
        return value

    def _arithmetic(self, node: exp.Expr, scope: Scope) -> SymbolicValue:
        a = as_numeric(self.value(node.this, scope))
        if isinstance(node, exp.Neg):
            literal = -a.literal if isinstance(a.literal, (int, float)) else None
            return SymbolicValue(
                a.kind, a.null, z3.simplify(-a.term) if literal is not None else -a.term, literal=literal
            )
        b = as_numeric(self.value(node.expression, scope))
        if "null" in (a.kind, b.kind):
            return NULL
        null = or_(a.null, b.null)
        whole = a.kind == b.kind == "integer"
        kind: Kind = "integer" if whole else "real" if "real" in (a.kind, b.kind) else "number"
        one, other = (a.term, b.term) if whole else (a.real, b.real)
        if isinstance(node, (exp.Add, exp.Sub)):
            return SymbolicValue(kind, null, one + other if isinstance(node, exp.Add) else one - other)
        if isinstance(node, exp.Mul):
            if a.literal is not None or b.literal is not None:
                return SymbolicValue(kind, null, _scaled(one, other))
            sort = z3.IntSort() if whole else z3.RealSort()
            ordered = sorted((one, other), key=lambda term: term.get_id())
            return SymbolicValue(kind, null, z3.Function(f"times/{sort}", sort, sort, sort)(*ordered))
        if kind == "number":
            raise NotModelled("a quotient of numbers that may be whole")
        return SymbolicValue(kind, or_(null, other == 0), quotient(one, other))

    def _case(self, node: exp.Case, scope: Scope) -> SymbolicValue:
        default = node.args.get("default")
        result = self.value(default, scope) if default is not None else NULL
        for branch in reversed(node.args["ifs"]):
            if node.this is None:
                condition = self.truth(branch.this, scope)
            else:
                tested, against = self.value(node.this, scope), self.value(branch.this, scope)
                condition = self._literals.compare("=", tested, against)
            result = select_value(condition.true, self.value(branch.args["true"], scope), result)
        return result.plain

    def _scalar(self, query: exp.Expr, scope: Scope) -> SymbolicValue:
        rows = self._subquery(query, scope)
        if len(rows) != 1 or not z3.is_true(rows[0].present) or len(rows[0].cells) != 1:
            raise NotModelled("a subquery whose first row is its value")
        return rows[0].cells[0].plain

    def _cast(self, node: exp.Cast, scope: Scope) -> SymbolicValue:
        value = self.value(node.this, scope)
        declared = str(node.to.this.value).upper()
        if value.kind == "integer" and declared in ("INT", "INTEGER", "BIGINT"):
            return SymbolicValue("integer", value.null, value.term, "NUMERIC")
        if value.kind in ("integer", "real") and declared in ("REAL", "FLOAT", "DOUBLE"):
            return SymbolicValue("real", value.null, value.real, "NUMERIC")
        if value.kind == "text" and declared in ("TEXT", "VARCHAR", "CHAR"):
            return SymbolicValue("text", value.null, value.term, "TEXT")
        raise NotModelled(f"CAST AS {declared}")

    def _uninterpreted_function(self, node: exp.Expr, scope: Scope) -> SymbolicValue:
        name = node.name.upper() if isinstance(node, exp.Anonymous) else type(node).__name__
        if name not in _UNINTERPRETED:
            raise NotModelled(name)
        arguments, signature = [], []
        for key, parts in node.args.items():
            if key == "this" and isinstance(node, exp.Anonymous):
                continue
            for part in parts if isinstance(parts, list) else [parts]:
                if isinstance(part, exp.Expr) and not isinstance(part, (exp.DataType, exp.Var)):
                    if isinstance(part, exp.Literal) and "now" in str(part.this).lower():
                        raise NotModelled("the time of day")
                    signature.append(key)
                    arguments.append(self.value(part, scope))
                elif part is not None:
                    signature.append(f"{key}={part}")
        if not arguments:
            raise NotModelled("the time of day")
        nullable = name.startswith(_NULLABLE_PREFIXES)
        return uninterpreted(f"{name}({','.join(signature)})", _UNINTERPRETED[name], arguments, nullable=nullable)

    # Aggregates

    def _aggregate(self, node: exp.AggFunc, scope: Scope) -> SymbolicValue:
        level: Scope | None = scope
        while level is not None and level.group is None:
            level = level.outer
        if level is not scope or level.group is None or not isinstance(node, AGGREGATES):
            raise NotModelled(f"{type(node).__name__} here")
        if any(value for key, value in node.args.items() if key not in ("this", "big_int")):
            raise NotModelled(f"{type(node).__name__} of several arguments")
        inner, distinct = node.this, False
        if isinstance(inner, exp.Distinct):
            if len(inner.expressions) != 1 or inner.args.get("on"):
                raise NotModelled("DISTINCT of several values")
            inner, distinct = inner.expressions[0], True
        if isinstance(node, exp.Count) and (inner is None or isinstance(inner, exp.Star)):
            return integer(count([member for member, _ in level.group]))
        values = [(member, self.value(inner, level.for_row(row))) for member, row in level.group]
        return aggregate(type(node), values, distinct=distinct)

    # Conditions

    def truth(self, node: exp.Expr, scope: Scope) -> Truth:
        """Whether a condition holds.

        Raises:
            NotModelled: It has something that proofs know nothing of.
        """
        require_only(node, *_KNOWN_ARGS.get(type(node), tuple(node.args)))
        if node.args.get("negate"):
            plain = node.copy()
            plain.set("negate", None)
            return ~self.truth(plain, scope)
        if isinstance(node, exp.Paren):
            return self.truth(node.this, scope)
        if isinstance(node, exp.And):
            return self.truth(node.this, scope) & self.truth(node.expression, scope)
        if isinstance(node, exp.Or):
            return self.truth(node.this, scope) | self.truth(node.expression, scope)
        if isinstance(node, exp.Not):
            return ~self.truth(node.this, scope)
        if isinstance(node, exp.Boolean):
            return Truth(TRUE, FALSE) if node.this else Truth(FALSE, TRUE)
        if type(node) in COMPARISONS:
            one, other = self.value(node.this, scope), self.value(node.expression, scope)
            return self._literals.compare(COMPARISONS[type(node)], one, other)
        if isinstance(node, exp.Between):
            value = self.value(node.this, scope)
            low, high = self.value(node.args["low"], scope), self.value(node.args["high"], scope)
            return self._literals.compare(">=", value, low) & self._literals.compare("<=", value, high)
        if isinstance(node, exp.Is):
            return self._is(node, scope)
        if isinstance(node, exp.In):
            return self._in(node, scope)
        if isinstance(node, exp.Exists):
            met = or_(*(row.present for row in self._subquery(node.this, scope)))
            return Truth(met, not_(met))
        if isinstance(node, (exp.Like, exp.Glob)):
            return self._like(node, scope)
        if isinstance(node, (exp.NullSafeEQ, exp.NullSafeNEQ)):
            one, other = self.value(node.this, scope), self.value(node.expression, scope)
            equal = or_(and_(one.null, other.null), self.compare("=", one, other).true)
            return Truth(equal, not_(equal)) if isinstance(node, exp.NullSafeEQ) else Truth(not_(equal), equal)
        if isinstance(node, exp.Predicate):
            raise NotModelled(type(node).__name__)
        value = self.value(node, scope)
        if value.kind == "null":
            return Truth(FALSE, FALSE)
        if not value.numeric:
            raise NotModelled("a text as a condition")
        return Truth(and_(not_(value.null), value.term != 0), and_(not_(value.null), value.term == 0))

    def _is(self, node: exp.Expr, scope: Scope) -> Truth:
        if not isinstance(node.expression, exp.Null):
            raise NotModelled("IS of two values")
        null = self.value(node.this, scope).null
        return Truth(null, not_(null))

    def _in(self, node: exp.In, scope: Scope) -> Truth:
        if isinstance(node.this, exp.Tuple) or node.args.get("unnest") or node.args.get("field"):
            raise NotModelled("IN of several values")
        value = self.value(node.this, scope)
        result = Truth(FALSE, TRUE)
        query = node.args.get("query")
        if query is None:
            for part in node.expressions:
                result = result | self._literals.compare("=", value, self.value(part, scope).plain)
            return result
        for row in self._subquery(query, scope):
            if len(row.cells) != 1:
                raise NotModelled("IN of several columns")
            equal = self._literals.compare("=", value, row.cells[0])
            absent = not_(row.present)
            result = result | Truth(and_(row.present, equal.true), or_(absent, equal.false))
        return result

    def _like(self, node: exp.Expr, scope: Scope) -> Truth:
        one, other = self.value(node.this, scope), self.value(node.expression, scope)
        match = uninterpreted(type(node).__name__, "integer", [one, other])
        holds = match.term == 1
        return Truth(and_(not_(match.null), holds), and_(not_(match.null), not_(holds)))


def _scaled(one: z3.ArithRef, other: z3.ArithRef) -> z3.ArithRef:
    """A product with a literal: by one it is the other factor itself."""
    for factor, rest in ((one, other), (other, one)):
        if z3.is_rational_value(factor) and factor.as_fraction() == 1:
            return rest
    return one * other
