"""Metrics for a task of the Language Model Evaluation Harness (https://github.com/EleutherAI/lm-evaluation-harness)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from text2sql.equivalence.scoring import Pair, verdicts


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """What a task's ``process_results`` gives for one document.

    Args:
        doc: The document: ``context`` (``CREATE TABLE`` statements), ``answer`` (the gold query), and ``database``, the
            path of a real SQLite database, where it has one.
        results: The generated answer, as its only element.

    Returns:
        ``execution_accuracy``: 1 if the answer means the same as the gold query; ``lenient_accuracy``: 1 if it does
        with columns and rows in any order; ``undecided``: 1 if the evaluator cannot tell, which counts as wrong.
    """
    (verdict,) = verdicts([Pair(doc["context"], doc["answer"], results[0], doc.get("database"))])
    return {
        "execution_accuracy": float(verdict.correct),
        "lenient_accuracy": float(verdict.lenient),
        "undecided": float(verdict.status == "undecided"),
    }
