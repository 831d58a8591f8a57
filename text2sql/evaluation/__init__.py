"""Execution accuracy, statistics, the benchmarks' own metrics and error labels.

This module is the evaluator's public interface, that of `text2sql.equivalence` included. Other rooms of this package
import each name from its home module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text2sql.equivalence.execution_match import execution_match as execution_match
    from text2sql.equivalence.execution_match import sql_matches as sql_matches
    from text2sql.equivalence.scoring import Pair as Pair
    from text2sql.equivalence.scoring import score_pairs as score_pairs
    from text2sql.equivalence.scoring import verdicts as verdicts
    from text2sql.equivalence.verdict import Table as Table
    from text2sql.equivalence.verdict import Verdict as Verdict
    from text2sql.equivalence.verdict import Witness as Witness
    from text2sql.evaluation.aggregate import Scored as Scored
    from text2sql.evaluation.aggregate import summarize as summarize
    from text2sql.evaluation.labels import error_labels as error_labels
    from text2sql.evaluation.statistics import clustered_interval as clustered_interval
    from text2sql.evaluation.statistics import paired_comparison as paired_comparison
    from text2sql.evaluation.statistics import wilson_interval as wilson_interval
    from text2sql.runs.summary import PairedComparison as PairedComparison
    from text2sql.sql.extract import extract_sql as extract_sql
    from text2sql.sql.hardness import hardness as hardness

# The home module of each public name. It is imported on first use, so that `import text2sql.evaluation` costs nothing.
_HOMES = {
    "Pair": "text2sql.equivalence.scoring",
    "PairedComparison": "text2sql.runs.summary",
    "Scored": "text2sql.evaluation.aggregate",
    "Table": "text2sql.equivalence.verdict",
    "Verdict": "text2sql.equivalence.verdict",
    "Witness": "text2sql.equivalence.verdict",
    "clustered_interval": "text2sql.evaluation.statistics",
    "error_labels": "text2sql.evaluation.labels",
    "execution_match": "text2sql.equivalence.execution_match",
    "extract_sql": "text2sql.sql.extract",
    "hardness": "text2sql.sql.hardness",
    "paired_comparison": "text2sql.evaluation.statistics",
    "score_pairs": "text2sql.equivalence.scoring",
    "sql_matches": "text2sql.equivalence.execution_match",
    "summarize": "text2sql.evaluation.aggregate",
    "verdicts": "text2sql.equivalence.scoring",
    "wilson_interval": "text2sql.evaluation.statistics",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
