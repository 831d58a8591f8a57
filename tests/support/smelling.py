"""What the audit notices of a question and its query."""

from __future__ import annotations

from text2sql.data.audit.reading import read_example
from text2sql.data.audit.smells import find_smells
from text2sql.data.example import Example


def smell_kinds(schema: str, question: str, sql: str, evidence: str | None = None) -> set[str]:
    """The kinds of the smells; the query must be one that the audit can read."""
    reading = read_example(Example("x", question, schema, sql, evidence=evidence))
    assert reading is not None, sql
    return {smell.kind for smell in find_smells(reading)}
