"""Conditions that different rows of a table meet: two EXISTS against one that asks both of the same row.

What several parts of a query ask of one table may be met by several rows, and by none of them alone. Rows drawn to meet
one part meet the other by luck too often, so there is a database in which each row meets one part and fails the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Protocol

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.plan import Condition, Plan, Query, atoms, subqueries
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.values import Row, Value

# Parts of a query that are told apart, and databases for a pair.
_PARTS, _MOST = 4, 3

# A condition, and whether it is to hold.
_Wanted = tuple[Condition, bool]
# What is asked of a column: that one of these is as wanted.
_Asked = tuple[ColumnKey, tuple[_Wanted, ...]]


class Choosing(Protocol):
    """Says which values make a condition true, or not; see `Domains`."""

    def choices(self, node: Condition, want: bool) -> list[Value]:
        """Values for the column of a condition that make it true, or not true."""

    def satisfies(self, node: Condition, want: bool, value: Value) -> bool:
        """Whether a value is known to make a condition (not) true."""


def separate_row_samples(plan: Plan, choosing: Choosing, nullable: set[ColumnKey]) -> list[tuple[Sample, ...]]:
    """Databases in which what a query asks of one table several times is met by a row each.

    Args:
        plan: The compiled pair.
        choosing: Says which values make a condition true, or not.
        nullable: The columns that may be NULL.
    """
    found: dict[tuple[Sample, ...], None] = {}
    # What links the rows must stay equal in all of them.
    linked = set().union(*(_links(plan, query) for query in plan.queries))
    parts = [_parts(plan, query, linked) for query in plan.queries]
    for own in parts:
        for table, asked in own.items():
            rows = _rows(asked[:_PARTS], choosing, nullable) if len(asked) > 1 else None
            if rows is not None:
                columns, values = rows
                # Where the table is read only once, nothing else of it is there.
                reader = min(range(len(parts)), key=lambda number: _readings(plan, plan.queries[number], table))
                found[(Sample(reader, columns, values, ranked=True),)] = None
    return list(found)[:_MOST]


def _readings(plan: Plan, query: Query, table: str) -> int:
    """How often a query reads a table; one that does not read it at all comes last."""
    number = sum(plan.tables[instance] == table for part in subqueries(query) for instance in part.instances)
    return number or len(plan.tables) + 1


def _links(plan: Plan, query: Query) -> set[ColumnKey]:
    """The columns by which rows of a query belong together."""
    slots = [slot for atom in atoms(query) if atom.kind in ("eq", "in") for slot in atom.slots]
    slots += [slot for part in subqueries(query) for slot in part.projections if slot is not None and part is not query]
    return {plan.column_of(slot) for slot in slots}


def _parts(plan: Plan, query: Query, linked: Set[ColumnKey]) -> dict[str, list[list[_Asked]]]:
    """Of each table what a query asks of it in each place where it reads it, less places that ask more than others."""
    places: dict[int, list[_Asked]] = {}
    for slot, wanted in _walk_query(query):
        if plan.column_of(slot) not in linked:
            places.setdefault(plan.slots[slot][0], []).append((plan.column_of(slot), wanted))
    found: dict[str, list[list[_Asked]]] = {}
    for instance, asked in places.items():
        found.setdefault(plan.tables[instance], []).append(asked)
    return {table: _least(asked) for table, asked in found.items()}


def _least(parts: Sequence[list[_Asked]]) -> list[list[_Asked]]:
    """Those that do not hold all that another one holds, each once."""
    distinct = {frozenset(map(_signature, part)): part for part in parts}
    return [part for own, part in distinct.items() if not any(other < own for other in distinct)]


def _signature(asked: _Asked) -> tuple[object, ...]:
    key, wanted = asked
    return key, *((node.kind, node.op, node.literal, str(node.expression), want) for node, want in wanted)


def _walk_query(query: Query) -> Iterator[tuple[int, tuple[_Wanted, ...]]]:
    """What a query asks of one column each; a subquery's conditions are to hold, whatever is asked of its result."""
    for part in subqueries(query):
        yield from _walk(part.condition, True)


def _walk(node: Condition, want: bool) -> Iterator[tuple[int, tuple[_Wanted, ...]]]:
    if node.kind == "not":
        yield from _walk(node.parts[0], not want)
    elif len(node.slots) == 1 and node.kind in ("cmp", "func", "null") and node.op != "aggregate":
        yield node.slots[0], ((node, want),)
    elif node.kind in ("and", "or"):
        found = [list(_walk(part, want)) for part in node.parts]
        if want == (node.kind == "and"):
            yield from (one for part in found for one in part)
        elif all(len(part) == 1 for part in found) and len({slot for part in found for slot, _ in part}) == 1:
            # Alternatives on several columns say of none what it must be.
            yield found[0][0][0], tuple(wanted for ((_, alternatives),) in found for wanted in alternatives)


def _rows(
    parts: Sequence[list[_Asked]], choosing: Choosing, nullable: set[ColumnKey]
) -> tuple[tuple[ColumnKey, ...], tuple[Row, ...]] | None:
    """Columns, and for each part a row that meets it and fails all others; None where there are no two such rows."""
    by_column: dict[ColumnKey, dict[tuple[object, ...], _Asked]] = {}
    for part in parts:
        for asked in part:
            by_column.setdefault(asked[0], {})[_signature(asked)] = asked
    rows = []
    for part in parts:
        own = set(map(_signature, part))
        values = {key: _value(asked, own, choosing, key in nullable) for key, asked in by_column.items()}
        if any(not found for found in values.values()):
            continue
        row = {key: found[0] for key, found in values.items()}
        failed = [any(not _met(a, row[a[0]], choosing) for a in other) for other in parts if other is not part]
        # Of a part that follows from another one, no row fails that: its own row would be one for both.
        if all(failed):
            rows.append(tuple(row.values()))
    return (tuple(by_column), tuple(rows)) if len(rows) > 1 else None


def _value(
    asked: Mapping[tuple[object, ...], _Asked], own: set[tuple[object, ...]], choosing: Choosing, nullable: bool
) -> list[Value]:
    """A value that meets one's own conditions on a column, and as few others as may be; none if there is none."""
    # The nearest that meets what is its own: the literal itself.
    first = sorted(asked.items(), key=lambda item: item[0] not in own)
    nodes = [node for _, (_, wanted) in first for node, _ in wanted if node.kind != "null"]
    candidates = [value for node in nodes for value in _choices(node, choosing)]
    # A column that is asked for NULL alone needs something else as well.
    candidates = [value for value in candidates if value is not None] or [1, "a"]
    candidates += [None] if nullable else []
    mine = [a for signature, a in asked.items() if signature in own]
    others = [a for signature, a in asked.items() if signature not in own]
    good = [value for value in dict.fromkeys(candidates) if all(_met(a, value, choosing) for a in mine)]
    return sorted(good, key=lambda value: sum(_met(a, value, choosing) for a in others))[:1]


def _choices(node: Condition, choosing: Choosing) -> list[Value]:
    return [*choosing.choices(node, True), *choosing.choices(node, False)]


def _met(asked: _Asked, value: Value, choosing: Choosing) -> bool:
    """Whether a value meets what is asked; nothing that is asked of NULL holds but that it is NULL."""
    return any(
        (value is None) == want if node.kind == "null" else value is not None and choosing.satisfies(node, want, value)
        for node, want in asked[1]
    )
