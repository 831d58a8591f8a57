"""What text_to_sql.yaml names: the harness looks for functions in the file's own directory."""

from __future__ import annotations

from typing import Any

from text2sql.integrations import lm_eval_task


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The metrics of one answer; the prompt ends with SELECT, and the model goes on from there."""
    return lm_eval_task.process_results(doc, [f"SELECT {results[0]}"])
