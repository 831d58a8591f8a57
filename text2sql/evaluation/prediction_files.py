"""Readers of prediction files: rows with columns, the files of Spider's and BIRD's scripts, a run's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from text2sql.errors import UserError
from text2sql.evaluation.benchmark_files import read_answers, read_golds
from text2sql.evaluation.predicted_question import PredictedQuestion, Schemas
from text2sql.evaluation.prediction_rows import read_question_rows
from text2sql.formats import pluralize
from text2sql.rows import READERS, names_table
from text2sql.rows.values import replace_lone_surrogates
from text2sql.runs.records import Prediction

# Number of ids that a note lists.
_MAX_IDS = 5


@dataclass(frozen=True)
class PredictionFile:
    """The contents of a prediction file.

    Attributes:
        questions: The questions in the order of the file.
        notes: Sentences on repeated rows, questions without a database or a schema, and empty predictions.
    """

    questions: list[PredictedQuestion]
    notes: list[str]


def read_predictions(path: Path, gold: Path | None, schemas: Schemas) -> PredictionFile:
    """Read predictions, their gold queries and their schemas.

    Args:
        path: Rows (.jsonl, .json, .csv, .parquet); with `gold`, one query a line, or BIRD's JSON object.
        gold: Spider's or BIRD's gold file, or their ``dev.json``.
        schemas: Source of schemas and databases.

    Raises:
        UserError: A file has another layout; the message says what was expected, and what was found.
    """
    if not path.exists():
        raise UserError(f"predictions: there is no file {path}.")
    if gold is None and path.is_file() and not names_table(path):
        raise UserError(
            f'predictions: "{path}" must end in {", ".join(READERS)}. Queries one a line, as for Spider, go with '
            "--gold."
        )
    notes: list[str] = []
    if gold is None:
        questions, notes = read_question_rows(path, schemas)
    else:
        schema_of, golds = cache(schemas.schema), read_golds(gold)
        predicted = read_answers(path, golds, gold)
        questions = [
            replace(
                question,
                predicted=text,
                context=schema_of(question.db_id) or "",
                databases=schemas.files(question.db_id),
                cluster=question.db_id,
            )
            for question, text in zip(golds, predicted, strict=True)
        ]
    if not questions:
        raise UserError(f"{path} has no rows.")
    if not any(question.context or question.databases for question in questions):
        raise UserError(
            f"{path}: no schema is known for any question; give --databases DIR (with DB_ID/DB_ID.sqlite in it) or "
            "--tables tables.json."
        )
    return PredictionFile(questions, [*notes, *_notes(questions, schemas)])


def of_run(predictions: Sequence[Prediction]) -> PredictionFile:
    """The saved predictions of a run, to be scored again."""
    questions = [
        PredictedQuestion(
            id=row.id,
            gold=row.gold,
            predicted=replace_lone_surrogates(row.sql or row.raw),
            context=row.context,
            question=row.question,
            evidence=row.evidence,
            stop_reason=row.stop_reason,
            cluster=row.cluster,
        )
        for row in predictions
    ]
    return PredictionFile(questions, _notes(questions, Schemas()))


def _notes(questions: Sequence[PredictedQuestion], schemas: Schemas) -> list[str]:
    notes = []
    no_database = [question.db_id for question in questions if not question.databases]
    if schemas.databases and no_database:
        names = ", ".join(sorted({str(name) for name in no_database}))
        notes.append(f"{pluralize(len(no_database), 'question')} without a database in {schemas.databases} ({names}).")
    no_schema = [question.db_id for question in questions if not question.context]
    if no_schema:
        names = ", ".join(sorted({str(name) for name in no_schema}))
        count = pluralize(len(no_schema), "question")
        notes.append(f"{count} without a schema, which is guessed from the gold query ({names}).")
    empty = [question.id for question in questions if not question.predicted.strip()]
    if empty:
        names = ", ".join(empty[:_MAX_IDS]) + (", ..." if len(empty) > _MAX_IDS else "")
        notes.append(f"Predictions that are null or empty, and count as wrong: {len(empty)} (ids {names}).")
    return notes
