"""What a person has decided of gold queries: to keep a row, to leave it out, or another query for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.runs.record_files import read_records
from text2sql.runs.records import Record, optional

Choice = Literal["keep", "drop", "fix"]
# The reason under which dropped rows are counted.
DROPPED = "left out by data.decisions"


class Decision(Record):
    """A row of the file that `text2sql data audit` writes.

    Attributes:
        id: Of the example.
        question: Its question, by which it is known again.
        answer: Its query.
        decision: None where nobody has decided yet, which keeps the row.
        fixed: The query in its place, with the decision to fix.
        score: How much its smells tell.
        smells: What may be wrong, in words.
        witness: Rows that show it.
    """

    id: str
    question: str
    answer: str
    decision: Choice | None = optional()
    fixed: str | None = optional()
    score: float | None = optional()
    smells: list[str] | None = optional()
    witness: list[str] | None = optional()


def read_decisions(path: Path, what: str = "data.decisions") -> dict[tuple[str, str], Decision]:
    """The decisions of a file by question and query; an id alone would be another row after rows are added.

    Raises:
        UserError: There is no such file, a row is no decision, or a query is to be fixed and none is given.
    """
    if not path.is_file():
        raise UserError(f"{what}: there is no file {path}; `text2sql data audit` writes one.")
    found = {}
    for number, row in enumerate(read_records(path, Decision), start=1):
        if row.decision == "fix" and not (row.fixed or "").strip():
            raise UserError(
                f'{what}: {path}, row {number} ("{row.id}") is to be fixed and has no query in "fixed"; write it, or '
                'decide "drop".'
            )
        found[row.question, row.answer] = row
    return found


def apply_decisions(
    examples: Sequence[Example], decisions: dict[tuple[str, str], Decision]
) -> tuple[list[Example], dict[str, int]]:
    """The examples as they were decided, and how many were left out, by reason."""
    kept, dropped = [], Counter[str]()
    for example in examples:
        decided = decisions.get((example.question, example.answer))
        if decided is not None and decided.decision == "drop":
            dropped[DROPPED] += 1
        elif decided is not None and decided.decision == "fix" and decided.fixed:
            # Reasoning leads to the query that was wrong.
            kept.append(replace(example, answer=decided.fixed, reasoning=None))
        else:
            kept.append(example)
    return kept, dict(dropped)
