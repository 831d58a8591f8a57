"""Conditions over several columns: rows of values that satisfy them, found by asking SQLite."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from text2sql.equivalence.databases.column_constraints import ColumnConstraints
from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.plan import Condition, Plan, atoms
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.values.candidates import ratios, whole_numbers, with_equality
from text2sql.equivalence.databases.values.time_spans import dates_at_distance, moments_at_distance
from text2sql.sql.schema import Column
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row, Value

# Rows that are tried on a condition, in all.
MAX_TRIED_ROWS = 700
# Rows that are kept of those that satisfy it, and of those that do not.
_MAX_KEPT_ROWS = 24
# Of these, rows on which a condition of another query does not agree.
_MAX_DISAGREEING_ROWS = 6
# Columns of the conditions that are compared with those of another query.
_COMPARED_COLUMNS = 2
_COLUMN_NAME = re.compile(r"\bv[01]\b")


class ColumnValues(Protocol):
    """The values of the columns of a pair's tables, see `domains.Domains`."""

    @property
    def columns(self) -> Mapping[ColumnKey, Column]:
        """The columns of the tables."""

    @property
    def constraints(self) -> ColumnConstraints:
        """Which values the columns may hold."""

    def literals(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of the queries that a column may hold."""

    def pool(self, key: ColumnKey, style: int, size: int) -> list[Value]:
        """Ordinary values for a column."""


class JointConditions:
    """Finds rows for the conditions of a pair.

    Args:
        plan: The compiled pair.
        probe: Asks SQLite.
        domains: The values of the columns.
    """

    def __init__(self, plan: Plan, probe: ConditionProbe, domains: ColumnValues) -> None:
        self._plan, self._probe, self._domains = plan, probe, domains
        self._rows: dict[tuple[int, bool], list[Row]] = {}

    def rows(self, node: Condition, want: bool) -> list[Row]:
        """Rows of values for the columns of a condition that make it true, or not true.

        Those on which another query's condition disagrees come first, then those at the condition's boundary.
        """
        key = (id(node), want)
        if key not in self._rows:
            self._solve(node)
        return self._rows[key]

    def _solve(self, node: Condition) -> None:
        self._rows[id(node), True] = self._rows[id(node), False] = []
        keys = [self._plan.column_of(slot) for slot in node.slots]
        if node.expression is None or not 2 <= len(keys) <= 3 or any(key not in self._domains.columns for key in keys):
            return
        values_per_column = int(MAX_TRIED_ROWS ** (1 / len(keys)))
        rows = list(itertools.product(*(self._candidates(key, node)[:values_per_column] for key in keys)))
        own = with_equality(node.expression)
        expressions = [*own, *self._other_conditions(node, keys)]
        columns = [self._domains.columns[key] for key in keys]
        results = self._probe.evaluate(expressions, columns, rows) if rows else None
        for want in (True, False):
            pairs = list(zip(rows, results or (), strict=False))
            good = [(row, result) for row, result in pairs if bool(result[0]) == want]
            disagreeing = [row for row, result in good if _disagrees(result[0], result[len(own) :])]
            boundary = [row for row, result in good if len(own) > 1 and result[1]]
            first = dict.fromkeys((*disagreeing[:_MAX_DISAGREEING_ROWS], *boundary[: _MAX_KEPT_ROWS // 2]))
            rest = [row for row, _ in good if row not in first]
            self._rows[id(node), want] = [*first, *rest[:: max(1, len(rest) // (_MAX_KEPT_ROWS // 2))]]

    def _other_conditions(self, node: Condition, keys: list[ColumnKey]) -> list[str]:
        """The other queries' conditions over the same columns, two texts each: a column has two slots in a self-join.

        Which slot of the one condition stands for which slot of the other is not known where both are of one column.
        """
        texts: list[str] = []
        own = next((query for query in self._plan.queries if any(node is other for other in atoms(query))), None)
        for other in (o for query in self._plan.queries if query is not own and node.differs for o in atoms(query)):
            other_keys = [self._plan.column_of(slot) for slot in other.slots]
            if sorted(other_keys) != sorted(keys) or len(keys) != _COMPARED_COLUMNS:
                continue
            if other.expression is not None:
                text = to_sqlite(other.expression)
            elif other.kind in ("equal", "relate"):
                text = f"v0 {other.op or '='} v1"
            else:
                continue
            swapped = _COLUMN_NAME.sub(lambda match: "v1" if match.group() == "v0" else "v0", text)
            texts += [text if other_keys == keys else swapped, swapped if other_keys == keys[::-1] else text]
        return texts

    def _candidates(self, key: ColumnKey, node: Condition) -> list[Value]:
        """Values of one column for a condition over several."""
        constraints = self._domains.constraints
        kind, numbers = constraints.kinds[key], whole_numbers(node.expression) or self._plan.literals
        candidates: Iterable[Value] = self._domains.pool(key, 0, 12)
        if kind in ("date", "datetime"):
            bases = ["2010-03-31", "2001-01-01"]
            distant = (day for base in bases for day in (base, *dates_at_distance(base, numbers, kind)))
            candidates = [*moments_at_distance(node.expression, kind), *distant]
        elif kind in ("integer", "real"):
            near = constraints.allowed(key, node.candidates)
            literals = [value for value in numbers if isinstance(value, int)]
            candidates = [
                # Of three columns, the first values have the literal as their sum.
                *(value // len(node.slots) for value in literals[:1] if len(node.slots) > 2),
                *ratios(node.expression)[:8],
                *near[:6],
                *range(1, 14),
                0,
                -1,
                -3,
                *(number for number in near[6:10]),
            ]
            candidates = [*candidates, *([0.5, 2.5, -1.5] if kind == "real" else ())]
        else:
            numerals = [str(number) for number in (*ratios(node.expression)[:8], *range(1, 5))]
            candidates = [*self._domains.literals(key)[:8], *numerals, *candidates]
        return constraints.allowed(key, dict.fromkeys(candidates))


def _disagrees(truth: Value, others: Sequence[Value]) -> bool:
    """Whether a condition comes out otherwise than another one does, whichever slots of that are meant."""
    pairs = zip(others[::2], others[1::2], strict=True)
    return any(bool(one) != bool(truth) and bool(other) != bool(truth) for one, other in pairs)
