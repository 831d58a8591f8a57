"""`text2sql ask`: a question on a schema to SQL, and its rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from rich.table import Table

from text2sql.config import Config
from text2sql.data.examples import Example
from text2sql.errors import UserError
from text2sql.evaluation import extract_sql
from text2sql.generate import PendingGenerations, cut_at_stop
from text2sql.pipeline import opened
from text2sql.progress import console
from text2sql.run_directory import RunDirectory, load_run_config
from text2sql.train import choose_checkpoint

MAX_ROWS = 100
MAX_SECONDS = 30.0
MAX_STEPS = 10**9  # instructions of SQLite's virtual machine


def answer_question(
    question: str, schema: Path | None, database: Path | None, run_directory: Path, *, base: bool, execute: bool
) -> None:
    """Print the query that a run's model writes for a question, and with `execute` what it returns.

    Raises:
        UserError: The run, the schema or the database is missing or unusable, the model writes nothing, or the query
            fails on the database.
    """
    if execute and database is None:
        raise UserError("--execute needs --database.")
    context = _schema(schema, database)
    run = RunDirectory(run_directory)
    config = load_run_config(run)
    example = Example(id="ask", question=question, context=context, answer="")
    with opened(config, run.file("checkpoints")) as service:
        weights: dict[str, Any] = (
            {"base_model": config.trained_model} if base else {"model_path": _weights(run, config)}
        )
        sampler = service.create_sampling_client(**weights).result()
        pending = PendingGenerations([example], sampler, config.prompt.template, config.evaluation, config.seed)
        sql = extract_sql(cut_at_stop(pending.results()[0].text, config.evaluation.stop))
    if not sql:
        raise UserError("The model wrote no query. Ask in other words, or train it further.")
    console.print(sql, markup=False, soft_wrap=True)
    if execute and database is not None:
        _print_rows(database, sql)


def _weights(run: RunDirectory, config: Config) -> str:
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise UserError(
            f"The run in {run.path} has no checkpoint yet; let it finish, or ask its base model with --base."
        )
    return str(choose_checkpoint(checkpoints, run.rows("metrics.jsonl"), config.training)["sampler_path"])


def _schema(schema: Path | None, database: Path | None) -> str:
    if schema is not None:
        try:
            text = schema.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--schema: {schema} cannot be read: {error}") from error
        if not text:
            raise UserError(f"--schema: {schema} is empty; it must hold CREATE TABLE statements.")
        return text
    if database is None:
        raise UserError("Give the schema with --schema FILE or --database FILE.")
    if not database.is_file():
        raise UserError(f"--database: there is no file {database}.")
    from text2sql.evaluation.execute import file_schema

    try:
        text = file_schema(str(database))
    except sqlite3.Error as error:
        raise UserError(f"--database: {database} is not a SQLite database that can be read ({error}).") from error
    if not text:
        raise UserError(f"--database: {database} has no tables.")
    return text


def _print_rows(database: Path, sql: str) -> None:
    """Run the query in the evaluator's sandbox: the file is opened read-only, time and size are limited."""
    from text2sql.evaluation.execute import QueryFailed, Sandbox

    sandbox = Sandbox.from_file(str(database))
    try:
        result = sandbox.run(sql, MAX_STEPS, MAX_SECONDS, max_rows=MAX_ROWS)
    except QueryFailed as error:
        raise UserError(f"The query does not run on {database}: {error}") from error
    finally:
        sandbox.close()
    table = Table(*result.columns)
    for row in result.rows:
        table.add_row(*("NULL" if value is None else str(value) for value in row))
    console.print(table)
    if result.overflow:
        console.print(f"Only the first {MAX_ROWS} rows are shown.")
