"""What a list of questions begins with: which answers a run has, and what they are filtered by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from text2sql.equivalence.verdict import STATUSES
from text2sql.evaluation.labels import LABELS
from text2sql.inference.plan import known_evaluations
from text2sql.runs.records import predictions_file
from text2sql.sql.features import FEATURES
from text2sql.sql.hardness import LEVELS


@dataclass(frozen=True)
class AnswersOf:
    """Answers that a run has: the label of their evaluation, and what to call it."""

    label: str
    name: str


@dataclass(frozen=True)
class Vocabulary:
    """What answers are filtered by, in the order in which it is listed; error labels with what they say."""

    statuses: Sequence[str] = STATUSES
    hardness: Sequence[str] = LEVELS
    clauses: Sequence[str] = FEATURES
    labels: Sequence[tuple[str, str]] = tuple(LABELS.items())


def answers_of(path: Path) -> list[AnswersOf]:
    """The files of predictions of a run, those of a plain evaluation first, others by name."""
    before, after = predictions_file("*").split("*")
    # A link may lead anywhere, and a pipe would be waited for.
    files = [file.name for file in path.glob(predictions_file("*")) if file.is_file() and not file.is_symlink()]
    found = {name.removeprefix(before).removesuffix(after) for name in files}
    known = known_evaluations()
    ordered = [*(label for label in known if label in found), *sorted(found.difference(known))]
    return [AnswersOf(label, known[label].name if label in known else label) for label in ordered]
