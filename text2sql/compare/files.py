"""A comparison for other programs: the numbers as JSON, the questions as CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from backends.paths import written_aside
from text2sql.compare.entries import Entry
from text2sql.compare.paired import Comparison
from text2sql.errors import UserError
from text2sql.rows.json_text import parse_json

# Columns of a question, and of each model's answer.
_QUESTION_COLUMNS = ("question", "schema", "gold")
_ANSWER_COLUMNS = ("right", "status", "sql")


def write_json(comparison: Comparison, path: Path) -> None:
    """Write each model's accuracy, each pair's test, and the configuration keys that differ.

    Raises:
        UserError: The file cannot be written.
    """
    labels = [entry.label for entry in comparison.entries]
    values = {
        "models": [_numbers(entry, comparison) for entry in comparison.entries],
        "common_questions": len(comparison.common),
        "tests": [
            {
                "first": pair.first.label,
                "second": pair.second.label,
                **pair.paired.to_json(),
                "p_value_corrected": pair.adjusted,
                "equal_answers": pair.equal_answers,
                "largest_loss_difference": pair.loss_difference.largest if pair.loss_difference else None,
            }
            for pair in comparison.pairs
        ],
        "differences": {key: dict(zip(labels, v, strict=True)) for key, v in comparison.differences.items()},
        "cautions": comparison.cautions,
    }
    _write(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def is_numbers(path: Path) -> bool:
    """Whether a file is one that `write_json` has written."""
    keys = {"models", "common_questions", "tests", "differences", "cautions"}
    return set(parse_json(path.read_text(encoding="utf-8"))) == keys


def is_questions(path: Path) -> bool:
    """Whether a file is one that `write_csv` has written."""
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    kinds = [name.rpartition(" ")[2] for name in header[len(_QUESTION_COLUMNS) :]]
    are_answers = bool(kinds) and kinds == [*_ANSWER_COLUMNS] * (len(kinds) // len(_ANSWER_COLUMNS))
    return header[: len(_QUESTION_COLUMNS)] == [*_QUESTION_COLUMNS] and are_answers


def _numbers(entry: Entry, comparison: Comparison) -> dict[str, str | int | float | None]:
    low, high = entry.interval
    return {
        "label": entry.label,
        "run": entry.run.name,
        "side": entry.side,
        "base_model": entry.base_model,
        "backend": entry.backend,
        "questions": len(entry.rows),
        "correct": entry.correct,
        "accuracy": entry.accuracy,
        "low": low,
        "high": high,
        "accuracy_on_common": comparison.common_accuracy(entry),
        "final_loss": entry.training.final_loss if entry.training else None,
        "training_seconds": entry.training.seconds if entry.training else None,
    }


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write a row for each common question: question, schema, gold query, and of each model right, status and query.

    Raises:
        UserError: The file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [f"{entry.label} {column}" for entry in comparison.entries for column in _ANSWER_COLUMNS]
    table.writerow([*_QUESTION_COLUMNS, *columns])
    for question in comparison.common:
        rows = [entry.rows[question] for entry in comparison.entries]
        answers = [value for row in rows for value in (int(row.correct), row.verdict.status, row.sql or row.raw)]
        table.writerow([*question[:3], *answers])
    _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    try:
        with written_aside(path) as aside:
            # Bytes, so that the line ends in answers stay as they are.
            aside.write_bytes(text.encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
