"""Rows that one query leaves out before its window looks at the row before, and the other one after it.

``LAG(x) OVER (ORDER BY day)`` over ``WHERE kind = 'a'`` differs from the same window over all rows of which only those
of kind a are shown. The rows are in an order in which every three of some kinds follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.differences.moments import days_after_start
from text2sql.equivalence.databases.differences.sweeps import allowed_rows, holds_dates
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan, atoms
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.sql.values import Value

# Values of a column that follow each other in every order.
_MAX_VALUES = 3


def window_filter_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """The databases for the columns that the queries compare with different literals."""
    order_columns, kinds = plan.windows.order_columns, domains.constraints.kinds
    for key, literals in _differing_literals(plan).items() if order_columns else ():
        order = sorted(own for own in order_columns if own[0] == key[0] and own != key and own in kinds)
        candidates = dict.fromkeys([*literals, "zzz", 0])
        values = domains.constraints.allowed(key, candidates)[:_MAX_VALUES]
        if len(values) < 2 or not order:
            continue
        sequence = [values[index] for index in _every_three(len(values))]
        columns: list[Sequence[Value]] = [sequence]
        for own in order:
            steps = range(1, len(sequence) + 1)
            days = holds_dates(kinds[own])
            columns.append(days_after_start(steps, kinds[own]) if days else steps if kinds[own] == "integer" else [])
        if all(columns):
            rows = allowed_rows(domains.constraints, (key, *order), columns)
            yield (Sample(plan.first_reader(key[0]), (key, *order), rows, separate_groups=True),)


def _differing_literals(plan: Plan) -> dict[ColumnKey, list[Value]]:
    """By column, the literals that the queries compare it with for equality, where they do not do so alike."""
    literals: dict[ColumnKey, list[Value]] = {}
    differing = set[ColumnKey]()
    for node in (node for query in plan.queries for node in atoms(query)):
        if node.kind == "compare" and node.op == "=":
            key = plan.column_of(node.slots[0])
            literals.setdefault(key, []).append(node.literal if not isinstance(node.literal, tuple) else None)
            differing |= {key} if node.differs else set()
    return {
        key: [value for value in values if value is not None] for key, values in literals.items() if key in differing
    }


def _every_three(size: int) -> list[int]:
    """Numbers below a size in an order in which every three of them follow each other.

    It is a de Bruijn sequence, built greedily (https://en.wikipedia.org/wiki/De_Bruijn_sequence).
    """
    sequence = [0, 0]
    seen = set[tuple[int, int, int]]()
    while True:
        # The largest number that has not followed these two.
        following = next((n for n in reversed(range(size)) if (sequence[-2], sequence[-1], n) not in seen), None)
        if following is None:
            return sequence
        seen.add((sequence[-2], sequence[-1], following))
        sequence.append(following)
