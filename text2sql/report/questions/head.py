"""The head of a list of questions: the evaluations of a run, and the values of the filters."""

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
    """An evaluation of a run: its label, and its name for people."""

    label: str
    name: str


@dataclass(frozen=True)
class Vocabulary:
    """The values that answers are filtered by, in the order of the lists; error labels with their explanations."""

    statuses: Sequence[str] = STATUSES
    hardness: Sequence[str] = LEVELS
    clauses: Sequence[str] = FEATURES
    labels: Sequence[tuple[str, str]] = tuple(LABELS.items())


def answers_of(path: Path) -> list[AnswersOf]:
    """The evaluations of which a run has predictions, known ones in their usual order, then others by label."""
    prefix, suffix = predictions_file("*").split("*")
    # Links may lead out of the directory, and reading a pipe would block.
    files = [file.name for file in path.glob(predictions_file("*")) if file.is_file() and not file.is_symlink()]
    labels = {name.removeprefix(prefix).removesuffix(suffix) for name in files}
    known = known_evaluations()
    ordered = [*(label for label in known if label in labels), *sorted(labels.difference(known))]
    return [AnswersOf(label, known[label].name if label in known else label) for label in ordered]
