"""Conditions that different rows of a table satisfy: two EXISTS against one that asks both of the same row.

What several parts of a query ask of one table may be satisfied by several rows, and by none of them alone. Rows drawn
to satisfy one part satisfy the other by luck too often, so there is a database in which each row satisfies one part and
fails the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Condition, Plan, Query, atoms, query_tree
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.sql.values import Value

# References of a query to one table that are told apart.
MAX_REFERENCES = 4
# Databases for a pair.
_MAX_DATABASES = 3

# A condition, and whether it is to hold.
_Wanted = tuple[Condition, bool]
# A requirement on a column: one of these conditions is as wanted.
_Requirement = tuple[ColumnKey, tuple[_Wanted, ...]]
# What identifies a requirement, wherever a query states it.
_Signature = tuple[object, ...]


def separate_row_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """Databases in which what a query asks of one table several times is satisfied by a row each."""
    databases: dict[SampleDatabase, None] = {}
    # What links the rows must stay equal in all of them.
    linked = set().union(*(_link_columns(plan, query) for query in plan.queries))
    for query in plan.queries:
        for table, references in _references(plan, query, linked).items():
            sample_rows = _separate_rows(references[:MAX_REFERENCES], domains) if len(references) > 1 else None
            if sample_rows is not None:
                columns, rows = sample_rows
                # For the query that reads the table least often: there, nothing else of it need exist.
                reader = min(range(len(plan.queries)), key=lambda q: _reading_count(plan, plan.queries[q], table))
                databases[(Sample(reader, columns, rows, no_other_rows=True),)] = None
    return list(databases)[:_MAX_DATABASES]


def _reading_count(plan: Plan, query: Query, table: str) -> int:
    """How often a query reads a table; a number above all others for one that does not read it at all."""
    count = sum(plan.tables[instance] == table for part in query_tree(query) for instance in part.instances)
    return count or len(plan.tables) + 1


def _link_columns(plan: Plan, query: Query) -> set[ColumnKey]:
    """The columns by which rows of a query belong together."""
    slots = [slot for node in atoms(query) if node.kind in ("equal", "in") for slot in node.slots]
    slots += [slot for part in query_tree(query) for slot in part.projections if slot is not None and part is not query]
    return {plan.column_of(slot) for slot in slots}


def _references(plan: Plan, query: Query, linked: Set[ColumnKey]) -> dict[str, list[list[_Requirement]]]:
    """Of each table what a query asks of it in each reference, less references that ask more than others."""
    by_instance: dict[int, list[_Requirement]] = {}
    for slot, wanted in _requirements(query):
        if plan.column_of(slot) not in linked:
            by_instance.setdefault(plan.slots[slot][0], []).append((plan.column_of(slot), wanted))
    by_table: dict[str, list[list[_Requirement]]] = {}
    for instance, requirements in by_instance.items():
        by_table.setdefault(plan.tables[instance], []).append(requirements)
    return {table: _minimal(references) for table, references in by_table.items()}


def _minimal(references: Sequence[list[_Requirement]]) -> list[list[_Requirement]]:
    """The references that do not ask all that another one asks, each once."""
    distinct = {frozenset(map(_signature, reference)): reference for reference in references}
    return [reference for own, reference in distinct.items() if not any(other < own for other in distinct)]


def _signature(requirement: _Requirement) -> _Signature:
    key, wanted = requirement
    return key, *((node.kind, node.op, node.literal, str(node.expression), want) for node, want in wanted)


def _requirements(query: Query) -> Iterator[tuple[int, tuple[_Wanted, ...]]]:
    """What a query asks of one slot each; a subquery's conditions are to hold, whatever is asked of its result."""
    for part in query_tree(query):
        yield from _requirements_of(part.condition, True)


def _requirements_of(node: Condition, want: bool) -> Iterator[tuple[int, tuple[_Wanted, ...]]]:
    if node.kind == "not":
        yield from _requirements_of(node.parts[0], not want)
    elif len(node.slots) == 1 and node.kind in ("compare", "expression", "null") and not node.over_groups:
        yield node.slots[0], ((node, want),)
    elif node.kind in ("and", "or"):
        parts = [list(_requirements_of(part, want)) for part in node.parts]
        if want == (node.kind == "and"):
            yield from (requirement for part in parts for requirement in part)
        elif all(len(part) == 1 for part in parts) and len({slot for part in parts for slot, _ in part}) == 1:
            # Alternatives on several columns require nothing of any one of them.
            yield parts[0][0][0], tuple(wanted for ((_, alternatives),) in parts for wanted in alternatives)


def _separate_rows(
    references: Sequence[list[_Requirement]], domains: Domains
) -> tuple[tuple[ColumnKey, ...], Group] | None:
    """Columns, and for each reference a row that satisfies it and fails all others; None unless there are two."""
    by_column: dict[ColumnKey, dict[_Signature, _Requirement]] = {}
    for reference in references:
        for requirement in reference:
            by_column.setdefault(requirement[0], {})[_signature(requirement)] = requirement
    rows = []
    for reference in references:
        own = set(map(_signature, reference))
        values = {key: _values(key, requirements, own, domains) for key, requirements in by_column.items()}
        if any(not candidates for candidates in values.values()):
            continue
        row = {key: candidates[0] for key, candidates in values.items()}
        others = [other for other in references if other is not reference]
        # If a reference asks less than this one, this row satisfies it as well: it would be one row for both.
        if all(any(not _satisfied(wanted, row[key], domains) for key, wanted in other) for other in others):
            rows.append(tuple(row.values()))
    return (tuple(by_column), tuple(rows)) if len(rows) > 1 else None


def _values(
    key: ColumnKey, requirements: Mapping[_Signature, _Requirement], own: Set[_Signature], domains: Domains
) -> list[Value]:
    """A value that satisfies a reference's own requirements on a column, and as few others as may be; at most one.

    Args:
        key: The column.
        requirements: All requirements on the column.
        own: Those of the reference.
        domains: The values of the columns.
    """
    # The nearest value that satisfies an own requirement comes first: the literal itself.
    ordered = sorted(requirements.items(), key=lambda item: item[0] not in own)
    nodes = [node for _, (_, wanted) in ordered for node, _ in wanted if node.kind != "null"]
    candidates = [value for node in nodes for want in (True, False) for value in domains.choices(node, want)]
    # A column of which only NULL is required needs something else as well.
    candidates = [value for value in candidates if value is not None] or [1, "a"]
    candidates += [None] if key in domains.nullable else []
    mine = [wanted for signature, (_, wanted) in requirements.items() if signature in own]
    others = [wanted for signature, (_, wanted) in requirements.items() if signature not in own]
    good = [value for value in dict.fromkeys(candidates) if all(_satisfied(wanted, value, domains) for wanted in mine)]
    return sorted(good, key=lambda value: sum(_satisfied(wanted, value, domains) for wanted in others))[:1]


def _satisfied(wanted: Sequence[_Wanted], value: Value, domains: Domains) -> bool:
    """Whether a value satisfies a requirement; NULL satisfies none but that the column be NULL."""
    return any(
        (value is None) == want if node.kind == "null" else value is not None and domains.satisfies(node, want, value)
        for node, want in wanted
    )
