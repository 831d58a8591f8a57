"""Answers judged and counted: execution accuracy, statistics, benchmarks' own metrics, error labels.

Its names are the public door of the evaluator, `text2sql.equivalence` included.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text2sql.equivalence.execution_match import execution_match, sql_matches
    from text2sql.equivalence.scoring import Pair, score_pairs, verdicts
    from text2sql.equivalence.verdict import Table, Verdict, Witness
    from text2sql.evaluation.aggregate import Scored, summarize
    from text2sql.evaluation.labels import error_labels
    from text2sql.evaluation.statistics import clustered_interval, paired_comparison, wilson_interval
    from text2sql.runs.summary import PairedComparison
    from text2sql.sql.extract import extract_sql
    from text2sql.sql.hardness import hardness

# Where each public name lives. They are imported on first use, so that `import text2sql.evaluation` costs nothing.
_HOMES = {
    "PairedComparison": "text2sql.runs.summary",
    "Pair": "text2sql.equivalence.scoring",
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

__all__ = [
    "Pair",
    "PairedComparison",
    "Scored",
    "Table",
    "Verdict",
    "Witness",
    "clustered_interval",
    "error_labels",
    "execution_match",
    "extract_sql",
    "hardness",
    "paired_comparison",
    "score_pairs",
    "sql_matches",
    "summarize",
    "verdicts",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
