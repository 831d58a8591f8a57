"""The example: the record that every data source yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
        stated_dialect: The dialect that the source's row names itself (`text2sql.engines.dialect.stated_dialect`).
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
    stated_dialect: str | None = None


def in_dialect(examples: Sequence[Example], dialect: Dialect) -> list[Example]:
    """The examples as of a dialect; one whose row names another dialect itself has that for its problem."""
    return [_in_dialect(example, dialect) for example in examples]


def _in_dialect(example: Example, dialect: Dialect) -> Example:
    stated, problem = example.stated_dialect, example.problem
    if problem is None and stated is not None and stated != dialect:
        problem = f"in {stated} by its own field dialect, not in data.dialect={dialect}"
    return (
        example
        if (problem, dialect) == (example.problem, example.dialect)
        else replace(example, dialect=dialect, problem=problem)
    )
