"""What may be wrong with a gold query, as far as its own text and its question tell: each smell finds its place.

A smell is no fault. How much each one tells is in `weights`.
"""

from __future__ import annotations

from text2sql.data.audit.asked_smells import (
    aggregates,
    directions,
    odd_aggregates,
    orders,
    other_aggregates,
    unlike_aggregates,
)
from text2sql.data.audit.bound_smells import comparisons, groups, limits, negation
from text2sql.data.audit.evidence_smells import columns_ignored, functions_ignored, values_ignored, values_misplaced
from text2sql.data.audit.head_smells import heads
from text2sql.data.audit.join_smells import duplicates, joins, types
from text2sql.data.audit.name_smells import ignored_codes, ignored_names
from text2sql.data.audit.reading import Reading
from text2sql.data.audit.scope_smells import scopes
from text2sql.data.audit.shown_smells import better_said, overlap, selected
from text2sql.data.audit.smell import Finder, Smell
from text2sql.data.audit.value_smells import ignored_values, unsaid_values


def smells(reading: Reading) -> list[Smell]:
    """Everything that may be wrong, each kind once."""
    found: dict[str, Smell] = {}
    for finder in FINDERS:
        for smell in finder(reading):
            found.setdefault(smell.kind, smell)
    return [*found.values()]


FINDERS: tuple[Finder, ...] = (
    ignored_values,
    ignored_names,
    ignored_codes,
    unsaid_values,
    values_ignored,
    columns_ignored,
    functions_ignored,
    values_misplaced,
    aggregates,
    odd_aggregates,
    unlike_aggregates,
    other_aggregates,
    directions,
    orders,
    comparisons,
    limits,
    selected,
    negation,
    duplicates,
    joins,
    types,
    groups,
    better_said,
    heads,
    overlap,
    scopes,
)
