"""The example: the record that every data source yields."""

from __future__ import annotations

from dataclasses import dataclass

from text2sql.engines.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Example:
    """One question about one schema, with its gold query.

    Attributes:
        id: Stable name within its source, e.g. ``"bundled/library/0042"``; predictions are keyed by it.
        question: The question in natural language.
        context: The schema as ``CREATE TABLE`` statements.
        answer: The gold SQL query.
        db: Path of a real SQLite database that has this schema, when there is one.
        db_id: Name of the schema or domain, when the source has one; examples that share it are not independent.
        evidence: External knowledge given with the question (BIRD), when there is any.
        reasoning: A worked answer that ends in the query, for training on in place of the bare query.
        shown: The schema as the prompt shows it, if that differs from `context`.
        dialect: The dialect of schema and query.
        problem: Why the source's row cannot be used; `text2sql.data.clean` counts it.
    """

    id: str
    question: str
    context: str
    answer: str
    db: str | None = None
    db_id: str | None = None
    evidence: str | None = None
    reasoning: str | None = None
    shown: str | None = None
    problem: str | None = None
    dialect: Dialect = "sqlite"
