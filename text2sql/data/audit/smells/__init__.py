"""The smells of a gold query: signs in its text and its question that it may be wrong.

- `values`, `names`: values and names of the question that the query ignores; values that nobody mentions.
- `evidence`: what the evidence (BIRD) spells and the query ignores or changes.
- `aggregates`, `directions`, `bounds`: aggregates; highest and lowest, orders; comparisons, limits, negations, groups.
- `shown_columns`, `asked_columns`, `unknown_columns`: columns that are shown, asked for, or missing in the schema.
- `joins`: joins along no key, rows that joins repeat, types that do not match.

docs/audit.md lists every smell by its module. Smells of real databases, of a model's answers and of its likelihoods are
in `database_run`, `samples` and `likelihood` next to this package; `weights` has the weight of each smell.
"""

from __future__ import annotations

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Finder, Smell
from text2sql.data.audit.smells.aggregates import (
    mismatched_aggregates,
    missing_aggregates,
    senseless_aggregates,
    wrong_aggregates,
)
from text2sql.data.audit.smells.asked_columns import asked_columns
from text2sql.data.audit.smells.bounds import comparisons, groups, negations, wrong_limits
from text2sql.data.audit.smells.directions import reversed_extremes, reversed_orders
from text2sql.data.audit.smells.evidence import (
    ignored_evidence_columns,
    ignored_evidence_functions,
    ignored_evidence_values,
    misplaced_evidence_values,
)
from text2sql.data.audit.smells.joins import joins, mismatched_types, repeated_rows
from text2sql.data.audit.smells.names import ignored_codes, ignored_names
from text2sql.data.audit.smells.shown_columns import columns_closer_to_question, shared_words, shown_columns
from text2sql.data.audit.smells.unknown_columns import unknown_columns
from text2sql.data.audit.smells.values import ignored_numbers, unmentioned_values


def find_smells(reading: Reading) -> list[Smell]:
    """The smells of an example, each kind once."""
    smells: dict[str, Smell] = {}
    for finder in FINDERS:
        for smell in finder(reading):
            smells.setdefault(smell.kind, smell)
    return [*smells.values()]


FINDERS: tuple[Finder, ...] = (
    ignored_numbers,
    ignored_names,
    ignored_codes,
    unmentioned_values,
    ignored_evidence_values,
    ignored_evidence_columns,
    ignored_evidence_functions,
    misplaced_evidence_values,
    missing_aggregates,
    senseless_aggregates,
    mismatched_aggregates,
    wrong_aggregates,
    reversed_extremes,
    reversed_orders,
    comparisons,
    wrong_limits,
    shown_columns,
    negations,
    repeated_rows,
    joins,
    mismatched_types,
    groups,
    columns_closer_to_question,
    asked_columns,
    shared_words,
    unknown_columns,
)
