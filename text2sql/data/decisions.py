"""A person's decisions on gold queries: to keep a row, to drop it, or to fix its query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.rows import read_jsonl
from text2sql.runs.record_files import parse, read_records
from text2sql.runs.records import Record, optional

Choice = Literal["keep", "drop", "fix"]
# The reason under which dropped rows are counted.
DROPPED = "left out by data.decisions"


class Decision(Record):
    """A row of the file that `text2sql data audit` writes.

    Attributes:
        id: The example's id.
        question: Its question, which identifies the example together with the query.
        answer: Its gold query.
        decision: The decision; None if there is none yet, which keeps the row.
        fixed: The corrected query, for the decision to fix.
        score: The sum of its smells' weights.
        smells: Descriptions of what may be wrong.
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

    @property
    def is_audited(self) -> bool:
        """Whether it is a row to decide in; a row of data has id, question and answer too."""
        return any(value is not None for value in (self.decision, self.fixed, self.smells))


def read_decisions(path: Path, what: str = "data.decisions") -> dict[tuple[str, str], Decision]:
    """The decisions of a file by (question, query): ids may change when rows are added to the data.

    Raises:
        UserError: The file is missing, a row is no decision, or a decision to fix lacks the query.
    """
    if not path.is_file():
        raise UserError(f"{what}: there is no file {path}; `text2sql data audit` writes one.")
    decisions: dict[tuple[str, str], Decision] = {}
    for number, row in enumerate(read_records(path, Decision), start=1):
        if not row.is_audited:
            raise UserError(
                f'{what}: {path}, row {number} ("{row.id}") is no decision: it has none of decision, fixed and smells; '
                "`text2sql data audit` writes a file to decide in."
            )
        if row.decision == "fix" and not (row.fixed or "").strip():
            raise UserError(
                f'{what}: {path}, row {number} ("{row.id}") is to be fixed and has no query in "fixed"; write it, or '
                'decide "drop".'
            )
        earlier = decisions.get((row.question, row.answer))
        # Rows of one question and query are one; where only one of them is decided, that decides.
        if earlier is None or earlier.decision is None:
            decisions[row.question, row.answer] = row
        elif row.decision is not None and (row.decision, row.fixed) != (earlier.decision, earlier.fixed):
            raise UserError(
                f'{what}: {path}, row {number} ("{row.id}") decides otherwise than an earlier row on the same question '
                f'and query ("{earlier.id}"); keep one of the two.'
            )
    return decisions


def holds_decisions(path: Path) -> bool:
    """Whether the first row of a file is a decision (ValueError or OSError if it is no record of one)."""
    return any(parse(row, Decision).is_audited for _, row in islice(read_jsonl(path, appended=True), 1))


def apply_decisions(
    examples: Sequence[Example], decisions: dict[tuple[str, str], Decision]
) -> tuple[list[Example], dict[str, int]]:
    """Applies the decisions; the remaining examples, and the number of dropped ones by reason."""
    remaining, dropped = [], Counter[str]()
    for example in examples:
        decision = decisions.get((example.question, example.answer))
        if decision is not None and decision.decision == "drop":
            dropped[DROPPED] += 1
        elif decision is not None and decision.decision == "fix" and decision.fixed:
            # The reasoning leads to the wrong query.
            remaining.append(replace(example, answer=decision.fixed, reasoning=None))
        else:
            remaining.append(example)
    return remaining, dict(dropped)
