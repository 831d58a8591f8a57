"""Repairs rows that break a CHECK over several columns: one of these, seldom two, take values with which all hold.

A row is drawn column by column, so that ``total = price * quantity`` hardly ever holds, and the database would leave
nearly all rows of such a table out. Repairs draw nothing at random: databases whose rows hold already stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.column_constraints import multi_column_checks
from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan, condition_tree, query_tree
from text2sql.equivalence.databases.values.comparisons import nearest_satisfying
from text2sql.sql.schema import TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.trees import replace_columns, to_sqlite
from text2sql.sql.values import Row, Value

# Rows of a table that are repaired in one database.
MAX_ROWS = 40
# Values tried for one column of a row.
MAX_VALUES = 16
_NUMERIC = ("integer", "real")


@dataclass(frozen=True)
class _Solution:
    """What an equality makes a column equal.

    Attributes:
        number: The column is v<number>.
        text: An expression over the others, for SQLite.
        with_one: The number of another column that is 1 then: 50 is no multiple of 7, but it is one of 1.
    """

    number: int
    text: str
    with_one: int | None = None


@dataclass(frozen=True)
class _Checks:
    """The CHECKs of a table over several columns.

    Attributes:
        keys: Their columns, which ``conditions`` and ``solutions`` call v0, v1, ...
        positions: Their indices in a row.
        conditions: The CHECKs, for SQLite.
        free: The columns that may take another value, by number, those that no query asks about first.
        solutions: What equalities among the CHECKs make columns equal.
    """

    keys: list[ColumnKey]
    positions: list[int]
    conditions: list[str]
    free: list[int]
    solutions: list[_Solution]


class CheckRepair:
    """Repairs the rows of a pair's tables.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for, by lower-case name.
        domains: The values of their columns.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, TableSchema], domains: Domains) -> None:
        self._domains = domains
        conditions = (
            node for query in plan.queries for part in query_tree(query) for node in condition_tree(part.condition)
        )
        conditioned = {plan.column_of(slot) for node in conditions for slot in node.slots}
        self._checks = {
            name: checks
            for name, table in tables.items()
            if (checks := _read_checks(name, table, domains, conditioned)) is not None
        }

    def repair(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """The rows of a table, those that break its CHECKs repaired where one other value does that."""
        checks = self._checks.get(name)
        if checks is None or not rows:
            return list(rows)
        broken = [index for index, holds in enumerate(self._held(checks, rows)) if not holds][:MAX_ROWS]
        if not broken:
            return list(rows)
        solved = self._solve(checks, [rows[index] for index in broken])
        tries = [
            (index, candidate)
            for turn, index in enumerate(broken)
            for candidate in self._candidates(name, checks, rows[index], solved[turn], turn)
        ]
        held = self._held(checks, [candidate for _, candidate in tries])
        good: dict[int, Row] = {}
        for (index, candidate), holds in zip(tries, held, strict=False):
            if holds:
                good.setdefault(index, candidate)
        return [good.get(index, row) for index, row in enumerate(rows)]

    def _held(self, checks: _Checks, rows: Sequence[Row]) -> list[bool]:
        """Whether all CHECKs hold on each row; one that comes out NULL does. Empty where SQLite does not say."""
        results = self._evaluate(checks, checks.conditions, rows)
        return [all(value is None or bool(value) for value in row) for row in results or ()]

    def _evaluate(self, checks: _Checks, expressions: Sequence[str], rows: Sequence[Row]) -> list[Row] | None:
        values = [tuple(row[position] for position in checks.positions) for row in rows]
        return self._domains.evaluate_rows(expressions, checks.keys, values) if values else []

    def _solve(self, checks: _Checks, rows: Sequence[Row]) -> list[list[Value]]:
        """Of each row the value of each of the solutions."""
        results = self._evaluate(checks, [solution.text for solution in checks.solutions], rows)
        return [[_whole(value) for value in values] for values in results or [()] * len(rows)]

    def _candidates(self, name: str, checks: _Checks, row: Row, solved: Sequence[Value], turn: int) -> Iterator[Row]:
        """The row with another value for one column; which column comes first takes turns."""
        start = turn % len(checks.free)
        for number in checks.free[start:] + checks.free[:start]:
            key, position = checks.keys[number], checks.positions[number]
            for solution, value in zip(checks.solutions, solved, strict=False):
                if solution.number == number and value is not None and self._domains.constraints.allows(key, value):
                    changed = list(row)
                    changed[position] = value
                    if solution.with_one is not None:
                        changed[checks.positions[solution.with_one]] = 1
                    yield tuple(changed)
            others = [row[at] for at in checks.positions if at != position and row[at] is not None]
            near = [
                value
                for other in others
                for value in (other, nearest_satisfying(other, ">"), nearest_satisfying(other, "<"))
            ]
            values = dict.fromkeys([*near, *self._domains.literals(key)[:4], *self._domains.pool(key, 0, 4)])
            allowed = self._domains.constraints.allowed(key, [value for value in values if value is not None])
            for value in (*allowed[:MAX_VALUES], *((None,) if key in self._domains.nullable else ())):
                yield (*row[:position], value, *row[position + 1 :])


def _read_checks(name: str, table: TableSchema, domains: Domains, conditioned: set[ColumnKey]) -> _Checks | None:
    """The CHECKs of a table over several columns; None where SQLite computes none, or no column may change."""
    columns = list(table.columns)
    # What SQLite generates is not in the rows.
    checks = [check for check in multi_column_checks(table) if _names_in(check) <= set(table.stored_columns)]
    names = list(dict.fromkeys(fold(column.name) for check in checks for column in check.find_all(exp.Column)))
    keyed = {part for key in table.keys for part in key} | {c for key in table.foreign_keys for c in key.columns}
    free = [number for number, column in enumerate(names) if column not in keyed]
    if not free:
        return None
    free.sort(key=lambda number: (name, names[number]) in conditioned)
    renamed = [_renamed(check, names) for check in checks]
    kinds = [domains.constraints.kinds[name, column] for column in names]
    keys = [(name, column) for column in names]

    def computes(text: str) -> bool:
        return domains.evaluate_rows([text], keys, [(None,) * len(keys)]) is not None

    # What SQLite does not know of an engine says nothing of the others.
    conditions = list(filter(computes, map(to_sqlite, renamed)))
    if not conditions:
        return None
    solutions = [solution for number in free for solution in _solutions(renamed, number, kinds, free)]
    return _Checks(
        keys=keys,
        positions=[columns.index(column) for column in names],
        conditions=conditions,
        free=free,
        solutions=[solution for solution in solutions if computes(solution.text)],
    )


def _names_in(check: exp.Expr) -> set[str]:
    return {fold(column.name) for column in check.find_all(exp.Column)}


def _renamed(check: exp.Expr, names: Sequence[str]) -> exp.Expr:
    """A copy of a CHECK whose columns are called v0, v1, ..."""
    return replace_columns(check, lambda column: exp.column(f"v{names.index(fold(column.name))}"))


def _solutions(
    checks: Sequence[exp.Expr], number: int, kinds: Sequence[str], free: Sequence[int]
) -> Iterator[_Solution]:
    """What equalities among the CHECKs make a column equal: the other side, or the root of a linear difference."""
    name = f"v{number}"
    for equality in (node for check in checks for node in check.find_all(exp.EQ, exp.NullSafeEQ)):
        left, right = equality.this.unnest(), equality.expression.unnest()
        if not _mentions(equality, name):
            continue
        for side, other in ((left, right), (right, left)):
            if isinstance(side, exp.Column) and side.name == name and not _mentions(other, name):
                yield _Solution(number, to_sqlite(other))
        involved = sorted({int(column.name[1:]) for column in equality.find_all(exp.Column)} - {number})
        if all(kinds[index] in _NUMERIC for index in (number, *involved)):
            difference = exp.Sub(this=exp.paren(left.copy()), expression=exp.paren(right.copy()))
            yield _Solution(number, _root(difference, name))
            for other in sorted(set(free) & set(involved)) if len(involved) > 1 else ():
                # What is no number of the column is refused with the row.
                yield _Solution(number, _root(_substituted(difference, f"v{other}", 1), name), other)


def _root(difference: exp.Expr, name: str) -> str:
    """Where an expression that is linear in a column is 0."""
    at_0, at_1 = (to_sqlite(_substituted(difference, name, value)) for value in (0, 1))
    return f"-1.0 * ({at_0}) / (({at_1}) - ({at_0}))"


def _mentions(node: exp.Expr, name: str) -> bool:
    return any(column.name == name for column in node.find_all(exp.Column))


def _substituted(node: exp.Expr, name: str, value: int) -> exp.Expr:
    return replace_columns(node, lambda column: exp.Literal.number(value) if column.name == name else column.copy())


def _whole(value: Value) -> Value:
    """A number without a fraction as an integer: an integer column may hold nothing else."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
