"""`text2sql ask`: print the query that a run's model writes for a question, and what it returns."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.table import Table

from text2sql.console import console
from text2sql.data.schema_cut import DEFAULT_MAX_TABLES
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.errors import UserError
from text2sql.inference.ask import MAX_ROWS, open_answerer, run_query
from text2sql.sql.sandbox import QueryFailed

LOG = logging.getLogger(__name__)


def answer_question(
    question: str,
    context: str,
    database: UserDatabase | None,
    run_directory: Path,
    *,
    base: bool,
    execute: bool,
    max_tables: int = DEFAULT_MAX_TABLES,
) -> None:
    """Print the query that a run's model writes for a question, and with `execute` what it returns.

    Args:
        question: In natural language.
        context: ``CREATE TABLE`` statements.
        database: The database with that schema; None if the schema is only text.
        run_directory: The run's directory.
        base: Ask the base model instead of the tuned one.
        execute: Run the query on the database.
        max_tables: Number of tables above which the schema is cut to what the question needs; 0 for never.

    Raises:
        UserError: The run is missing or unusable, the model writes nothing, or the query fails on the database.
    """
    with open_answerer(run_directory, max_tables) as answerer:
        answer = answerer.answer(question, context, "base" if base else "tuned", database)
    if answer.note:
        LOG.warning("%s", answer.note)
    if not answer.sql:
        raise UserError(f"{answer.without_query.rstrip('.')}. Ask in other words, or train it further.")
    console.print(answer.sql, markup=False, soft_wrap=True)
    if execute and database is not None:
        _print_rows(database, answer.sql)


def _print_rows(database: UserDatabase, sql: str) -> None:
    try:
        result = run_query(database, sql)
    except QueryFailed as error:
        raise UserError(f"The query does not run on {database.location.display_name}: {error}") from error
    table = Table(*result.columns)
    for row in result.rows:
        table.add_row(*("NULL" if value is None else str(value) for value in row))
    console.print(table)
    if result.overflow:
        console.print(f"Only the first {MAX_ROWS} rows are shown.")
