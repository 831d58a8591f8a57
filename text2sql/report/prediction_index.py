"""An index of a prediction file: the verdict of each prediction, and the line with the rest of it.

Of many thousand predictions a page shows some dozen in full. The others are not kept in memory: a prediction is a
hundred times as large as its entry here.
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


# Compared by identity: the entries of two models for the same line may be equal.
@dataclass(frozen=True, slots=True, eq=False)
class IndexedPrediction:
    """One line of a prediction file, without its texts.

    Attributes:
        line: Number of the line in the file, from 1.
        id: The id of the question.
        correct: Whether it counts as correct in the accuracy.
        status: Status of the verdict.
        hardness: Spider's level of the gold query.
        labels: Error labels of the prediction.
    """

    line: int
    id: str
    correct: bool
    status: Status
    hardness: Hardness
    labels: tuple[str, ...]

    @classmethod
    def of(cls, line: int, row: Prediction) -> IndexedPrediction:
        """The entry of a prediction."""
        labels = tuple(map(intern, row.labels))
        return cls(line, row.id, row.correct, row.verdict.status, row.hardness, labels)


@dataclass(frozen=True)
class PredictionIndex:
    """The predictions of one evaluation.

    Attributes:
        path: The prediction file.
        rows: One entry for each question, in the order of the file.
    """

    path: Path
    rows: list[IndexedPrediction]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[IndexedPrediction]:
        return iter(self.rows)

    def read(self, chosen: Collection[IndexedPrediction]) -> Iterator[tuple[IndexedPrediction, Prediction]]:
        """Read some of the predictions in full, in the order of the file."""
        by_line = {entry.line: entry for entry in chosen}
        if not by_line:
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(islice(file, max(by_line)), start=1):
                if number in by_line:
                    yield by_line[number], parse(json.loads(line.decode("utf-8-sig")), Prediction)
