"""Predictions as rows with columns: one file with question, schema, gold query and prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from text2sql.errors import UserError
from text2sql.evaluation.predicted_question import (
    COLUMNS,
    PredictedQuestion,
    Schemas,
    column_text,
    first_text,
    row_dialect,
)
from text2sql.formats import pluralize
from text2sql.rows import SourceRow, read_rows

# Optional columns that are read.
_OPTIONAL = ("question", "evidence", "db", "db_id", "stop_reason", "cluster")
# What messages call the required columns.
_ROLES = {"schema": "schema", "gold": "gold query", "predicted": "prediction"}
# Number of repeated rows that a note lists.
_MAX_REPETITIONS = 5


def read_question_rows(path: Path, schemas: Schemas) -> tuple[list[PredictedQuestion], list[str]]:
    """The questions of rows with columns, and sentences on repeated rows."""
    schema_of, rows = cache(schemas.schema), _normalise_names(read_rows(path, "predictions"))
    _check_columns(rows, path)
    questions = [_question_of_row(row, index, path, schemas, schema_of) for index, row in enumerate(rows)]
    questions, repeated = _without_repetitions(questions, rows, path)
    notes = [repeated] if repeated else []
    if len({question.id for question in questions}) < len(questions):
        questions = [replace(question, id=f"{question.id}#{index}") for index, question in enumerate(questions)]
    return questions, notes


def _without_repetitions(
    questions: Sequence[PredictedQuestion], rows: Sequence[SourceRow], path: Path
) -> tuple[list[PredictedQuestion], str]:
    """The questions, of rows with one id and one question the first alone, and a sentence on the others.

    Rows without an id may well be the same: a benchmark may ask a question twice.

    Raises:
        UserError: Two such rows have different predictions.
    """
    first: dict[tuple[str, str, str, str | None], int] = {}
    kept, repetitions = [], []
    for index, question in enumerate(questions):
        key = (question.id, question.gold, question.context, question.question)
        earlier = first.setdefault(key, index) if rows[index].get("id") not in (None, "") else index
        if earlier == index:
            kept.append(question)
        elif question.predicted != questions[earlier].predicted:
            raise UserError(
                f'{path}: row {index + 1} answers the question of row {earlier + 1} (id "{question.id}") again, and '
                "otherwise. Keep one of the two, or give them different ids to count both."
            )
        else:
            repetitions.append(f"row {index + 1} is row {earlier + 1}")
    if not repetitions:
        return kept, ""
    listed = ", ".join(repetitions[:_MAX_REPETITIONS]) + (", ..." if len(repetitions) > _MAX_REPETITIONS else "")
    return kept, f"{path}: {pluralize(len(repetitions), 'row')} repeated and counted once ({listed})."


def _normalise_names(rows: Sequence[SourceRow]) -> Sequence[SourceRow]:
    """Rename columns that differ from an accepted name only in letter case or surrounding spaces.

    A name that could stand for two accepted ones (``Sql``: a gold query or a prediction) stays, and so does one whose
    accepted name the rows have as well.
    """
    accepted = [*(name for names in COLUMNS.values() for name in names), *_OPTIONAL, "id"]
    spellings = Counter(name.casefold() for name in accepted)
    unambiguous = {name.casefold(): name for name in accepted if spellings[name.casefold()] == 1}
    present = {name: None for row in rows for name in row}
    renamed = {name: unambiguous.get(str(name).strip().casefold(), name) for name in present if name not in accepted}
    uses = Counter(renamed.values())
    renamed = {name: new for name, new in renamed.items() if new != name and new not in present and uses[new] == 1}
    return [{renamed.get(name, name): value for name, value in row.items()} for row in rows] if renamed else rows


def _check_columns(rows: Sequence[SourceRow], path: Path) -> None:
    """Raise UserError if no row has a gold query or a prediction, or if two columns for one of them differ."""
    for key, names in COLUMNS.items():
        if rows and key != "schema" and not any(name in row for row in rows for name in names):
            raise UserError(_no_column(f"{path}: row 1", names, rows[0]))
        for number, row in enumerate(rows, start=1):
            values = {name: str(row[name]) for name in names if row.get(name) not in (None, "")}
            # One column may hold the schema's name, another one its text.
            if key == "schema":
                values = {name: value for name, value in values.items() if "create" in value.lower()}
            # Our own files hold the raw answer and the query extracted from it.
            if len(set(values.values())) > 1 and values.keys() != {"sql", "raw"}:
                raise UserError(
                    f"{path}: row {number} has {len(values)} columns that may be its {_ROLES[key]} and differ: "
                    f"{', '.join(values)}. Keep the right one, and delete the others or give them names that are none "
                    f"of {', '.join(names)}."
                )


def _no_column(where: str, names: Sequence[str], row: SourceRow, hint: str = "") -> str:
    return f"{where} has no column {' or '.join(names)}{hint}; it has {', '.join(map(str, row))}."


def _question_of_row(
    row: SourceRow, index: int, path: Path, schemas: Schemas, schema_of: Callable[[str | None], str | None]
) -> PredictedQuestion:
    where = f"{path}: row {index + 1}"
    optional = {name: column_text(row, name, where) or None for name in _OPTIONAL}
    database, db_id = optional.pop("db"), optional["db_id"]
    context = first_text(row, COLUMNS["schema"], where)
    gold = first_text(row, COLUMNS["gold"], where)
    if not gold.strip():
        raise UserError(f"{where} has no gold query; its columns are {', '.join(map(str, row))}.")
    if database is not None and not Path(database).is_file():
        raise UserError(f"{where}: there is no database {database} (column db).")
    # With a database of its own the row needs no schema: the evaluator reads that of the database.
    if not context and not database:
        if not db_id or schemas == Schemas():
            hint = " with a schema; or give db_id and --databases or --tables"
            raise UserError(_no_column(where, COLUMNS["schema"], row, hint))
        context = schema_of(db_id) or ""
    return PredictedQuestion(
        id=column_text(row, "id", where) or str(index),
        gold=gold,
        predicted=first_text(row, COLUMNS["predicted"], where),
        context=context,
        databases=(database,) if database else schemas.files(db_id),
        dialect=row_dialect(row),
        **(optional | {"cluster": optional["cluster"] or db_id}),
    )
