"""Files of predictions that exist already: rows with columns, or the pairs of files that Spider and BIRD score.

Spider's gold file has ``SQL<tab>db_id`` on each line, its prediction file one query on each. BIRD's gold file is the
same; its predictions are a JSON object ``{"0": "SQL<tab>----- bird -----<tab>db_id", ...}``. Either gold may also be
given as the benchmark's ``dev.json``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2sql.errors import UserError
from text2sql.evaluation.benchmarks import database_files
from text2sql.rows import json_kind, read_rows
from text2sql.sql.files import file_schema, read_tables_json

COLUMNS = {  # accepted names of each column, ours first
    "schema": ("context", "schema", "schema_sql"),
    "gold": ("gold", "gold_sql", "answer", "query", "SQL"),
    "predicted": ("sql", "predicted", "predicted_sql", "pred_sql", "prediction", "raw"),
}
_BIRD_MARK = "\t----- bird -----\t"
_SPIDER_LINE, _BIRD_VALUE = "SQL<tab>db_id", '{"0": "SQL<tab>----- bird -----<tab>db_id", ...}'

Row = dict[str, Any]


@dataclass(frozen=True)
class Schemas:
    """Where the schema and the databases of a db_id come from.

    Attributes:
        databases: Directory with ``DB_ID/DB_ID.sqlite`` for each, as Spider and BIRD ship it.
        tables: Schemas by db_id, from a ``tables.json``.
    """

    databases: Path | None = None
    tables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, databases: Path | None, tables: Path | None) -> Schemas:
        """Checks the directory and reads the ``tables.json``.

        Raises:
            UserError: One of them is not what it should be.
        """
        if databases is not None and not databases.is_dir():
            raise UserError(f"--databases: there is no directory {databases}.")
        return cls(databases, read_tables_json(tables, "--tables") if tables else {})

    def files(self, db_id: str | None) -> tuple[str, ...]:
        """The database files of a db_id, its own first; none where it is missing or empty."""
        return database_files(self.databases, db_id) if self.databases and db_id else ()

    def schema(self, db_id: str | None) -> str | None:
        """The CREATE TABLE statements of a db_id: of its database, its ``schema.sql`` or the ``tables.json``."""
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
            return script.read_text(encoding="utf-8", errors="replace")
        return self.tables.get(db_id)


@dataclass(frozen=True)
class Predictions:
    """What a file holds, ready to be judged.

    Attributes:
        rows: One per question, with ``id``, ``context``, ``gold``, and what else the file says of it.
        answers: The raw predictions.
        databases: The real database files of each.
        notes: What a reader must know: questions without a database or a schema.
    """

    rows: list[Row]
    answers: list[str]
    databases: list[tuple[str, ...]]
    notes: list[str]


def read_predictions(path: Path, gold: Path | None, schemas: Schemas) -> Predictions:
    """Reads predictions and what they are judged by.

    Args:
        path: Rows (.jsonl, .json, .csv, .parquet); with `gold`, one query a line, or BIRD's JSON object.
        gold: Spider's or BIRD's gold file, or their ``dev.json``.
        schemas: Where schemas and databases are.

    Raises:
        UserError: A file is not laid out as it must be: the message says what was expected, and what was found.
    """
    if gold is None:
        rows = [_named(row, index, path, schemas) for index, row in enumerate(read_rows(path, "predictions"))]
    else:
        rows = _beside_gold(path, _read_gold(gold), gold)
    if not rows:
        raise UserError(f"{path} has no rows.")
    texts: dict[str | None, str | None] = {}
    for row in rows:
        db_id = row.get("db_id")
        if row.get("context") is None and db_id not in texts:
            texts[db_id] = schemas.schema(db_id)
        if row.get("context") is None:
            row["context"] = texts[db_id] or ""
    if not any(row["context"] or row.get("db") for row in rows):
        raise UserError(
            f"{path}: no schema is known for any question; give --databases DIR (with DB_ID/DB_ID.sqlite in it) or "
            "--tables tables.json."
        )
    answers = [row.pop("predicted") for row in rows]
    databases = [_files(row, schemas) for row in rows]
    return Predictions(rows, answers, databases, _notes(rows, databases, schemas))


def _files(row: Row, schemas: Schemas) -> tuple[str, ...]:
    own = row.pop("db", None)
    if own is None:
        return schemas.files(row.get("db_id"))
    if not Path(own).is_file():
        raise UserError(f"{row['id']}: there is no database {own} (column db).")
    return (str(own),)


def _notes(rows: Sequence[Row], databases: Sequence[tuple[str, ...]], schemas: Schemas) -> list[str]:
    bare = [row for row in rows if not row["context"]]
    notes = []
    if schemas.databases:
        missing = [row.get("db_id") for row, files in zip(rows, databases, strict=True) if not files]
        if missing:
            names = ", ".join(sorted({str(name) for name in missing}))
            notes.append(f"{len(missing)} questions have no database in {schemas.databases} ({names}).")
    if bare:
        names = ", ".join(sorted({str(row.get("db_id")) for row in bare}))
        notes.append(f"{len(bare)} questions have no schema; it is guessed from their gold queries ({names}).")
    return notes


# Rows with columns


def _named(row: Mapping[str, Any], index: int, path: Path, schemas: Schemas) -> Row:
    """A row of a file under our names."""
    named: Row = {"id": str(row.get("id") or index)}
    for key in ("question", "evidence", "db", "db_id", "stop_reason", "cluster"):
        if row.get(key) not in (None, ""):
            named[key] = row[key]
    named.setdefault("cluster", named.get("db_id"))
    for key, names in COLUMNS.items():
        name = next((name for name in names if row.get(name) is not None), None)
        if name is None and key == "schema" and (named.get("db") or (named.get("db_id") and schemas != Schemas())):
            continue
        if name is None:
            hint = "; or give db_id and --databases or --tables" if key == "schema" else ""
            raise UserError(
                f"{path}: row {index + 1} has no column {' or '.join(names)}{hint}; it has {', '.join(map(str, row))}."
            )
        named["context" if key == "schema" else key] = str(row[name])
    if "context" not in named and named.get("db"):
        named["context"] = ""  # the evaluator takes the database's own
    return named


# Spider's and BIRD's files


def _read_gold(path: Path) -> list[Row]:
    if path.suffix in (".json", ".jsonl"):
        rows = read_rows(path, "--gold")
        for index, row in enumerate(rows):
            if not row.get("db_id") or not _first(row, COLUMNS["gold"]):
                raise UserError(
                    f"--gold: {path}: row {index + 1} must have db_id and one of {', '.join(COLUMNS['gold'])}."
                )
        return [
            {
                "gold": str(_first(row, COLUMNS["gold"])),
                **{key: row[key] for key in ("db_id", "question", "evidence") if row.get(key)},
            }
            for row in rows
        ]
    found: list[Row] = []
    for number, line in enumerate(_lines(path, "--gold"), start=1):
        sql, tab, db_id = line.rpartition("\t")
        if not line.strip():
            continue  # between the interactions of SParC and CoSQL
        if not tab or not sql.strip() or not db_id.strip() or " " in db_id.strip():
            raise UserError(f"--gold: {path}: line {number} must be {_SPIDER_LINE}; it is {line[:100]!r}.")
        found.append({"gold": sql.strip(), "db_id": db_id.strip()})
    return found


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name)), None)


def _beside_gold(path: Path, golds: list[Row], gold_path: Path) -> list[Row]:
    read = _read_bird if path.suffix == ".json" else _read_lines
    predicted = read(path, golds)
    if len(predicted) != len(golds):
        raise UserError(
            f"{path} has {len(predicted)} predictions, {gold_path} {len(golds)} gold queries: they must be the same "
            "questions in the same order."
        )
    return [
        {"id": str(index), "cluster": gold["db_id"], **gold, "predicted": text}
        for index, (gold, text) in enumerate(zip(golds, predicted, strict=True))
    ]


def _read_lines(path: Path, golds: Sequence[Row]) -> list[str]:
    """One query a line; what follows a tab is left out. Empty lines are empty answers if that makes the count right."""
    lines = [line.split("\t")[0].strip() for line in _lines(path, "predictions")]
    return lines if len(lines) == len(golds) else [line for line in lines if line]


def _read_bird(path: Path, golds: Sequence[Row]) -> list[str]:
    try:
        values = json.loads("\n".join(_lines(path, "predictions")))
    except ValueError as error:
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
        sql, mark, db_id = text.partition(_BIRD_MARK) if isinstance(text, str) else ("", "", "")
        expected = golds[index]["db_id"] if index < len(golds) else None
        if mark and expected and db_id.strip() != expected:
            raise UserError(
                f'predictions: {path}: "{index}" is for {db_id.strip()}, its gold query for {expected}: the files '
                "are not of the same questions."
            )
        answers.append(sql.strip())
    return answers


def _lines(path: Path, what: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not splitlines(): a query may hold U+2028
    except FileNotFoundError as error:
        raise UserError(f"{what}: there is no file {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what}: {path} cannot be read: {error}") from error
    return lines[:-1] if not lines[-1] else lines
