"""Readers of prediction files: rows with columns, or the pairs of files that Spider's and BIRD's scripts take.

Spider's gold file has ``SQL<tab>db_id`` on each line, its prediction file one query on each. BIRD's gold file is the
same; its predictions are a JSON object ``{"0": "SQL<tab>----- bird -----<tab>db_id", ...}``. Either gold may also be
given as the benchmark's ``dev.json``.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from pydantic import JsonValue

from text2sql.engines.dialect import Dialect, stated_dialect
from text2sql.errors import UserError
from text2sql.evaluation.benchmarks import database_files
from text2sql.formats import pluralize
from text2sql.rows import READERS, SourceRow, names_table, read_rows
from text2sql.rows.encodings import read_text
from text2sql.rows.json_text import parse_json
from text2sql.rows.values import json_kind, read_value, replace_lone_surrogates
from text2sql.runs.records import Prediction
from text2sql.sql.files import databases_directory, file_schema, read_tables_json

# The accepted names of each required column, our own name first.
COLUMNS = {
    "schema": ("context", "schema", "schema_sql"),
    "gold": ("gold", "gold_sql", "answer", "query", "SQL"),
    "predicted": ("sql", "predicted", "predicted_sql", "pred_sql", "prediction", "raw"),
}
# Optional columns that are read.
_OPTIONAL = ("question", "evidence", "db", "db_id", "stop_reason", "cluster")
# Columns whose values may be numbers.
_NUMERIC = ("id", "db_id", "cluster")
# What messages call the required columns.
_ROLES = {"schema": "schema", "gold": "gold query", "predicted": "prediction"}
# Number of ids that a note lists.
_MAX_IDS = 5
_BIRD_MARK = "\t----- bird -----\t"
# The layouts, as messages describe them.
_SPIDER_LINE = "SQL<tab>db_id"
_BIRD_VALUE = '{"0": "SQL<tab>----- bird -----<tab>db_id", ...}'


@dataclass(frozen=True)
class Schemas:
    """Source of the schema and the databases of each db_id.

    Attributes:
        databases: Directory with ``DB_ID/DB_ID.sqlite`` for each db_id, as Spider and BIRD ship it.
        tables: Schemas by db_id, from a ``tables.json``.
        tables_file: That file.
    """

    databases: Path | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    tables_file: Path | None = None

    @classmethod
    def open(cls, databases: Path | None, tables: Path | None) -> Schemas:
        """Check the directory and read the ``tables.json``.

        Raises:
            UserError: The directory does not exist, or the file cannot be read.
        """
        if databases is not None and not databases.is_dir():
            raise UserError(f"--databases: there is no directory {databases}.")
        databases = databases and databases_directory(databases)
        return cls(databases, read_tables_json(tables, "--tables") if tables else {}, tables)

    def files(self, db_id: str | None) -> tuple[str, ...]:
        """The database files of a db_id, that of the same name first; none where it is missing or empty."""
        return database_files(self.databases, db_id) if self.databases and db_id else ()

    def schema(self, db_id: str | None) -> str | None:
        """The CREATE TABLE statements of a db_id, from its database, its ``schema.sql`` or the ``tables.json``."""
        if not db_id:
            return None
        files = self.files(db_id)
        if files:
            try:
                return file_schema(files[0])
            except sqlite3.Error as error:
                raise UserError(f"{files[0]} is not a SQLite database that can be read ({error}).") from error
        script = self.databases / db_id / "schema.sql" if self.databases else None
        if script and script.is_file():
            try:
                return read_text(script)
            except (OSError, ValueError) as error:
                raise UserError(f"--databases: {script} cannot be read: {error}.") from error
        return self.tables.get(db_id)


@dataclass(frozen=True)
class PredictedQuestion:
    """A question with a prediction, ready to be scored.

    Attributes:
        id: The id in the file, else the index of the row.
        gold: The gold query.
        predicted: The prediction as it is in the file.
        context: The schema; empty where none is known, and the evaluator takes the database's or guesses it.
        databases: The real database files.
        db_id: Name of the schema.
        question: The question in natural language.
        evidence: External knowledge given with it.
        stop_reason: Why sampling of the prediction ended.
        cluster: The cluster of dependent questions; `db_id` unless the file says otherwise.
        dialect: The dialect that the row names itself (`text2sql.engines.dialect.stated_dialect`).
    """

    id: str
    gold: str
    predicted: str = ""
    context: str = ""
    databases: tuple[str, ...] = ()
    db_id: str | None = None
    question: str | None = None
    evidence: str | None = None
    stop_reason: str | None = None
    cluster: str | None = None
    dialect: str | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """The fields that the output of `text2sql evaluate` repeats."""
        fields = ("id", "question", "evidence", "db_id", "stop_reason", "cluster", "context", "gold")
        values = {name: getattr(self, name) for name in fields}
        return {name: value for name, value in values.items() if value is not None or name == "cluster"}


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
        questions, notes = _read_rows(path, schemas)
    else:
        schema_of, golds = cache(schemas.schema), _read_gold(gold)
        predicted = _read_answers(path, golds, gold)
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


# Rows with columns


def _read_rows(path: Path, schemas: Schemas) -> tuple[list[PredictedQuestion], list[str]]:
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
    listed = ", ".join(repetitions[:_MAX_IDS]) + (", ..." if len(repetitions) > _MAX_IDS else "")
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
    optional = {name: _text(row, name, where) or None for name in _OPTIONAL}
    database, db_id = optional.pop("db"), optional["db_id"]
    context = _first_text(row, COLUMNS["schema"], where)
    gold = _first_text(row, COLUMNS["gold"], where)
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
        id=_text(row, "id", where) or str(index),
        gold=gold,
        predicted=_first_text(row, COLUMNS["predicted"], where),
        context=context,
        databases=(database,) if database else schemas.files(db_id),
        dialect=_stated_dialect(row),
        **(optional | {"cluster": optional["cluster"] or db_id}),
    )


def _stated_dialect(row: SourceRow) -> str | None:
    value = row.get("dialect")
    return stated_dialect(value) if isinstance(value, str) else None


def check_dialects(path: Path, questions: Sequence[PredictedQuestion], dialect: Dialect) -> None:
    """Raise UserError if rows name another dialect than the one that they would be judged in."""
    others = Counter(question.dialect for question in questions if question.dialect not in (None, dialect))
    if not others:
        return
    first = next(index for index, question in enumerate(questions, start=1) if question.dialect in others)
    named = ", ".join(f"{count} {name}" for name, count in others.most_common())
    raise UserError(
        f"{path}: {sum(others.values()):,} of {len(questions):,} rows are not in data.dialect={dialect} by "
        f"their own column dialect ({named}; the first is row {first}). Judge the rows of each dialect in a file of "
        "their own with --dialect, or take the column out if it is wrong."
    )


def _first_text(row: SourceRow, names: Sequence[str], where: str) -> str:
    """The text of the first of these columns that has a value; empty if none has."""
    return next((text for name in names if (text := _text(row, name, where))), "")


def _text(row: SourceRow, name: str, where: str) -> str:
    """A column's value as text; empty where there is none. Lone surrogates are replaced in predictions."""
    value = row.get(name)
    if name in COLUMNS["predicted"] and isinstance(value, str):
        return replace_lone_surrogates(value)
    try:
        return read_value(name, value, number=name in _NUMERIC, listed=name in COLUMNS["schema"])
    except ValueError as error:
        raise UserError(f"{where}: {error}.") from error


# Spider's and BIRD's files


def _read_gold(path: Path) -> list[PredictedQuestion]:
    """The questions of a gold file, without predictions."""
    if path.suffix in (".json", ".jsonl"):
        return [_gold_of_row(row, index, path) for index, row in enumerate(read_rows(path, "--gold"))]
    questions: list[PredictedQuestion] = []
    for number, line in enumerate(_lines(path, "--gold"), start=1):
        # Empty lines separate the interactions of SParC and CoSQL.
        if not line.strip():
            continue
        sql, tab, db_id = line.rpartition("\t")
        if not tab or not sql.strip() or not db_id.strip() or " " in db_id.strip():
            raise UserError(f"--gold: {path}: line {number} must be {_SPIDER_LINE}; it is {line[:100]!r}.")
        questions.append(PredictedQuestion(id=str(len(questions)), gold=sql.strip(), db_id=db_id.strip()))
    return questions


def _gold_of_row(row: SourceRow, index: int, path: Path) -> PredictedQuestion:
    where = f"--gold: {path}: row {index + 1}"
    sql, db_id = _first_text(row, COLUMNS["gold"], where), _text(row, "db_id", where)
    if not sql or not db_id:
        raise UserError(f"{where} must have db_id and one of {', '.join(COLUMNS['gold'])}.")
    question, evidence = (_text(row, name, where) or None for name in ("question", "evidence"))
    return PredictedQuestion(
        id=str(index), gold=sql, db_id=db_id, question=question, evidence=evidence, dialect=_stated_dialect(row)
    )


def _read_answers(path: Path, golds: Sequence[PredictedQuestion], gold_path: Path) -> list[str]:
    """The predictions next to a gold file, as many as it has questions."""
    answers = (_read_bird if path.suffix == ".json" else _read_lines)(path, golds)
    if len(answers) != len(golds):
        raise UserError(
            f"{path} has {len(answers)} predictions, {gold_path} {len(golds)} gold queries: they must be the same "
            "questions in the same order."
        )
    return answers


def _read_lines(path: Path, golds: Sequence[PredictedQuestion]) -> list[str]:
    """Read one query a line; what follows a tab is ignored.

    Empty lines are empty answers if that gives as many lines as gold queries, else they are skipped.
    """
    lines = [line.split("\t")[0].strip() for line in _lines(path, "predictions")]
    return lines if len(lines) == len(golds) else [line for line in lines if line]


def _read_bird(path: Path, golds: Sequence[PredictedQuestion]) -> list[str]:
    try:
        values = parse_json("\n".join(_lines(path, "predictions")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"predictions: {path} is malformed: {error}; it must be {_BIRD_VALUE}.") from error
    if not isinstance(values, dict):
        raise UserError(f"predictions: {path} is {json_kind(values)}; with --gold it must be {_BIRD_VALUE}.")
    wrong = sorted(set(values) ^ {str(index) for index in range(len(values))})
    if wrong:
        raise UserError(
            f'predictions: {path}: the keys must be "0" to "{len(values) - 1}", one for each question; at fault: '
            f"{', '.join(wrong[:5])}."
        )
    answers = []
    for index in range(len(values)):
        text = values[str(index)]
        if text is not None and not isinstance(text, str):
            raise UserError(f'predictions: {path}: "{index}" is {json_kind(text)}; it must be a text or null.')
        sql, mark, db_id = replace_lone_surrogates(text or "").partition(_BIRD_MARK)
        expected = golds[index].db_id if index < len(golds) else None
        if mark and expected and db_id.strip() != expected:
            raise UserError(
                f'predictions: {path}: "{index}" is for {db_id.strip()}, its gold query for {expected}: the files '
                "are not of the same questions."
            )
        answers.append(sql.strip())
    return answers


def _lines(path: Path, what: str) -> list[str]:
    try:
        # Not splitlines(): a query may hold U+2028.
        lines = read_text(path).split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{what}: there is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: {path} cannot be read: {error}") from error
    return lines[:-1] if not lines[-1] else lines
