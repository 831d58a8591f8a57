"""A file of predictions in brief: how each answer was judged, and where in the file the rest of it stands.

Of many thousand answers a page shows some dozen. The others are not kept in memory: a prediction is a hundred times as
large as its outcome.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sys import intern

from text2sql.equivalence.verdict import Status
from text2sql.runs.record_files import parse
from text2sql.runs.records import Prediction
from text2sql.sql.hardness import Hardness


# Compared by identity: two models may have been judged alike on the same line of their files.
@dataclass(frozen=True, slots=True, eq=False)
class IndexedPrediction:
    """One line of a file of predictions, in brief.

    Attributes:
        line: Its number in the file, from 1.
        id: Of the question.
        correct: What accuracy counts.
        status: Of the verdict.
        hardness: Spider's level of the gold query.
        labels: In which ways the answer departs from the gold query.
    """

    line: int
    id: str
    correct: bool
    status: Status
    hardness: Hardness
    labels: tuple[str, ...]

    @classmethod
    def of(cls, line: int, row: Prediction) -> IndexedPrediction:
        """The prediction on a line, in brief."""
        labels = tuple(map(intern, row.labels))
        return cls(line, row.id, row.correct, row.verdict.status, row.hardness, labels)


@dataclass(frozen=True)
class PredictionIndex:
    """The answers of one model.

    Attributes:
        path: Their file.
        rows: In the order of the file, one for each question.
    """

    path: Path
    rows: list[IndexedPrediction]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[IndexedPrediction]:
        return iter(self.rows)

    def read(self, chosen: Collection[IndexedPrediction]) -> Iterator[tuple[IndexedPrediction, Prediction]]:
        """Some of the predictions in full, one after the other, in the order of the file."""
        wanted = {outcome.line: outcome for outcome in chosen}
        if not wanted:
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(islice(file, max(wanted)), start=1):
                if number in wanted:
                    yield wanted[number], parse(json.loads(line.decode("utf-8-sig")), Prediction)
