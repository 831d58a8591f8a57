"""`text2sql match`: compare one pair of queries, and show a database on which they differ."""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
from pathlib import Path

from rich.table import Table as RichTable

from text2sql.console import console
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.equivalence.challenge import Challenge, challenge
from text2sql.equivalence.execution_match import execution_match
from text2sql.equivalence.proofs import require_solver, with_proofs
from text2sql.equivalence.scoring import Pair
from text2sql.equivalence.verdict import Table, Verdict
from text2sql.errors import UserError
from text2sql.formats import percent
from text2sql.rows.encodings import read_text
from text2sql.rows.files import special_kind
from text2sql.sql.ddl import parse_schema
from text2sql.sql.declaration_faults import declaration_faults
from text2sql.sql.files import file_schema

# What a survivor's status means, in words.
LOG = logging.getLogger(__name__)

_SURVIVOR_STATUS = {
    "missed": "missed, other databases show it",
    "same": "changes nothing that was found",
    "unknown": "not known whether it changes anything",
}


def print_match(
    schema: str | None,
    gold: str,
    predicted: str,
    database: Path | None,
    *,
    mutations: int = 0,
    prove: bool = False,
    as_json: bool = False,
    dialect: Dialect = "sqlite",
    transpile: bool = False,
) -> Verdict:
    """Compare one pair of queries, and print the verdict with its witness, or as one JSON object.

    Args:
        schema: CREATE TABLE statements, or a file of them; None for those of the database.
        gold: The gold query.
        predicted: The query to compare with it.
        database: A real SQLite database, or None.
        mutations: How many mutations of the gold query to try if the pair is equivalent, see `challenge`.
        prove: Try to prove the equivalence, see `with_proofs`.
        as_json: Print JSON.
        dialect: SQL dialect of schema and queries.
        transpile: Translate another dialect and compare on SQLite.

    Returns:
        The verdict.

    Raises:
        UserError: There is no such schema or database, no engine of the dialect, or no solver for a proof.
    """
    _check_options(schema, database, mutations=mutations, prove=prove, dialect=dialect, transpile=transpile)
    schema = _read_schema(schema)
    for fault in declaration_faults(schema):
        LOG.warning("--schema: %s", fault)
    if database is not None:
        _check_database(database, schema, gold)
    path = str(database) if database else None
    verdict = execution_match(schema, gold, predicted, path, dialect=dialect, transpile=transpile)
    if prove:
        (verdict,) = with_proofs([Pair(schema, gold, predicted, path)], [verdict])
    challenged = None
    if mutations and verdict.status == "equivalent":
        schema = schema or file_schema(str(database))
        challenged = challenge(schema, gold, predicted, verdict, count=mutations, dialect=dialect)
    if as_json:
        # In another encoding than UTF-8, only JSON's own escapes can be printed without loss.
        ensure_ascii = "utf" not in (sys.stdout.encoding or "").lower()
        record = verdict.to_dict() | ({"challenge": challenged.to_dict()} if challenged else {})
        print(json.dumps(record, ensure_ascii=ensure_ascii))
    else:
        _print_verdict(verdict, challenged)
    return verdict


def _check_options(
    schema: str | None, database: Path | None, *, mutations: int, prove: bool, dialect: Dialect, transpile: bool
) -> None:
    """Raise UserError if the options of `print_match` contradict each other, or there is no solver for a proof."""
    if dialect != "sqlite" and prove:
        raise UserError(
            f"--prove knows SQLite's semantics alone, not those of {DISPLAY_NAMES[dialect]}: leave it out, or take "
            "--challenge, which says how much the databases tell apart."
        )
    if dialect != "sqlite" and database is not None:
        raise UserError(
            f"--database is a SQLite file, and --dialect says {DISPLAY_NAMES[dialect]}: give the tables with --schema."
        )
    if transpile and mutations:
        raise UserError("--challenge runs mutations in the engine of --dialect: leave out --transpile, or --challenge.")
    if prove:
        require_solver("--prove", "leave it out")
    if schema is None and database is None:
        raise UserError("Give --schema, --database, or both.")


def _read_schema(schema: str | None) -> str:
    """The CREATE TABLE statements of ``--schema``, which may be a file of them; empty where it is not given."""
    if schema is None or parse_schema(schema).tables:
        return schema or ""
    if not schema.strip():
        raise UserError("--schema is empty; give CREATE TABLE statements or a file of them.")
    try:
        return read_text(Path(schema))
    except (OSError, ValueError) as error:
        raise UserError(f"--schema: {schema} is neither CREATE TABLE statements nor a file ({error}).") from error


def _print_verdict(verdict: Verdict, challenged: Challenge | None) -> None:
    console.print(f"{verdict.status}: {verdict.reason}")
    if verdict.judged_on:
        console.print(f"Judged on {verdict.judged_on}.", markup=False)
    if challenged:
        _print_challenge(challenged)
    if verdict.witness:
        for name, rows in verdict.witness.tables.items():
            _print_table(f"table {name}", rows)
        _print_table("gold returns", verdict.witness.gold)
        _print_table("predicted returns", verdict.witness.predicted)


def _print_challenge(result: Challenge) -> None:
    if result.failure:
        console.print(f"The challenge failed: {result.failure}.")
        return
    if not (result.killed or result.survivors):
        console.print("Challenge: the gold query has no place that could be changed.")
        return
    console.print(
        f"Challenge: these {result.databases} databases tell {len(result.killed)} of {result.changing} mutations "
        f"of the gold query apart ({percent(result.score)}). Survivors: {len(result.survivors) or 'none'}."
    )
    for survivor in result.survivors:
        console.print(f"  {_SURVIVOR_STATUS[survivor.status]}: {survivor.mutation.change}", markup=False)


def _check_database(database: Path, schema: str, gold: str) -> None:
    """Raise UserError if the file is no database, or lacks a table that the gold query reads."""
    from text2sql.sql.repair import possible_table_names

    if kind := special_kind(database):
        raise UserError(f"--database: {database} cannot be read (it is {kind}, not a file).")
    if not database.is_file():
        raise UserError(f"--database: {database} is not a file of SQLite; of a server, give the tables with --schema.")
    try:
        in_file = parse_schema(file_schema(str(database)))
    except sqlite3.Error as error:
        raise UserError(f"--database: {database} is not a SQLite database that can be read ({error}).") from error
    declared, read = parse_schema(schema).tables, possible_table_names(gold)
    present = {name: table.name for name, table in in_file.tables.items()}
    present |= {name: view.name for name, view in in_file.views.items()}
    missing = [table.name for name, table in declared.items() if name in read and name not in present]
    if missing:
        names = ", ".join(present.values()) or "none"
        raise UserError(
            f"--database: {database} has no table {', '.join(missing)}, which the gold query reads. It has: {names}."
        )


def _print_table(title: str, rows: Table) -> None:
    # Not as the table's own title, which wraps at the width of narrow tables.
    console.print(f"\n{title}")
    table = RichTable(*rows.columns)
    for row in rows.rows:
        table.add_row(*("NULL" if value is None else json.dumps(value, default=str) for value in row))
    console.print(table)
