"""Conditions over several columns: rows of values that meet them, found by asking SQLite."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from text2sql.equivalence.databases.declared import Declared
from text2sql.equivalence.databases.plan import ColumnKey, Condition, Plan, atoms
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.values.candidates import ratios, whole_numbers, with_equality
from text2sql.equivalence.databases.values.time_spans import apart, moments_apart
from text2sql.sql.schema import Column
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row, Value

# Rows tried on a condition over several columns, and how many that satisfy it (or do not) are kept.
_MOST_TRIED, _MOST_JOINT = 700, 24
# Of these, those on which another query's condition does not agree, and the columns of conditions that are compared.
_MOST_APART, _PAIR = 6, 2
_NAME = re.compile(r"\bv[01]\b")


class Values(Protocol):
    """What the columns of a pair may hold."""

    declared: Declared

    def literals(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of the queries that a column may hold."""

    def pool(self, key: ColumnKey, style: int, size: int) -> list[Value]:
        """Ordinary values for a column."""


class JointConditions:
    """Finds rows for the conditions of a pair.

    Args:
        plan: The compiled pair.
        probe: Asks SQLite.
        columns: The columns of the tables that rows are made for.
        values: What these may hold.
    """

    def __init__(self, plan: Plan, probe: ConditionProbe, columns: Mapping[ColumnKey, Column], values: Values) -> None:
        self._plan, self._probe, self._columns, self._values = plan, probe, columns, values
        self._found: dict[tuple[int, bool], list[Row]] = {}

    def rows(self, node: Condition, want: bool) -> list[Row]:
        """Rows of values for the columns of a condition that make it true, or not true; its boundary first."""
        key = (id(node), want)
        if key not in self._found:
            self._solve(node)
        return self._found[key]

    def _solve(self, node: Condition) -> None:
        self._found[id(node), True] = self._found[id(node), False] = []
        keys = [self._plan.column_of(slot) for slot in node.slots]
        if node.expression is None or not 2 <= len(keys) <= 3 or any(key not in self._columns for key in keys):
            return
        each = int(_MOST_TRIED ** (1 / len(keys)))
        rows = list(itertools.product(*(self._tried(key, node)[:each] for key in keys)))
        expressions = with_equality(node.expression)
        asked = [*expressions, *self._rivals(node, keys)]
        found = self._probe.evaluate(asked, [self._columns[key] for key in keys], rows) if rows else None
        for want in (True, False):
            pairs = list(zip(rows, found or (), strict=False))
            good = [(row, result) for row, result in pairs if bool(result[0]) == want]
            # What one of the other query's conditions does not agree on comes first, then the boundary.
            parting = [row for row, result in good if _alone(result[0], result[len(expressions) :])][:_MOST_APART]
            edge = [row for row, result in good if len(expressions) > 1 and result[1]][: _MOST_JOINT // 2]
            first = list(dict.fromkeys((*parting, *edge)))
            rest = [row for row, _ in good if row not in first]
            self._found[id(node), want] = [*first, *rest[:: max(1, len(rest) // (_MOST_JOINT // 2))]]

    def _rivals(self, node: Condition, keys: list[ColumnKey]) -> list[str]:
        """The other queries' conditions over the same columns, each for both ways to tell these apart."""
        found: list[str] = []
        own = next((query for query in self._plan.queries if any(node is other for other in atoms(query))), None)
        for other in (o for query in self._plan.queries if query is not own and node.differs for o in atoms(query)):
            theirs = [self._plan.column_of(slot) for slot in other.slots]
            if sorted(theirs) != sorted(keys) or len(keys) != _PAIR:
                continue
            if other.expression is not None:
                text = to_sqlite(other.expression)
            elif other.kind in ("eq", "rel"):
                text = f"v0 {other.op or '='} v1"
            else:
                continue
            swapped = _NAME.sub(lambda match: "v1" if match.group() == "v0" else "v0", text)
            found += [text if theirs == keys else swapped, swapped if theirs == keys[::-1] else text]
        return found

    def _tried(self, key: ColumnKey, node: Condition) -> list[Value]:
        """Values of one column for conditions over several."""
        kind, numbers = self._values.declared.kinds[key], whole_numbers(node.expression) or self._plan.literals
        found: Iterable[Value] = self._values.pool(key, 0, 12)
        if kind in ("date", "datetime"):
            base = ["2010-03-31", "2001-01-01"]
            found = moments_apart(node.expression, kind)
            found = [*found, *(day for text in base for day in (text, *apart(text, numbers, kind)))]
        elif kind in ("integer", "real"):
            near = self._values.declared.fitting(key, node.candidates)
            literals = [value for value in numbers if isinstance(value, int)]
            found = [
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
            found = [*found, *([0.5, 2.5, -1.5] if kind == "real" else ())]
        else:
            numbers_as_text = [str(number) for number in (*ratios(node.expression)[:8], *range(1, 5))]
            found = [*self._values.literals(key)[:8], *numbers_as_text, *found]
        return self._values.declared.fitting(key, dict.fromkeys(found))


def _alone(holds: Value, rivals: Sequence[Value]) -> bool:
    """Whether a condition comes out otherwise than one of others does, whichever way round."""
    pairs = zip(rivals[::2], rivals[1::2], strict=True)
    return any(bool(one) != bool(holds) and bool(other) != bool(holds) for one, other in pairs)
