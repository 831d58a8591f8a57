"""`text2sql match`: judge one pair of queries, and show a database on which they differ."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

from rich.table import Table

from text2sql import evaluation
from text2sql.console import console
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.equivalence.challenge import Challenge, challenge
from text2sql.equivalence.proofs import require_solver, with_proofs
from text2sql.errors import UserError
from text2sql.formats import percent
from text2sql.rows.encodings import read_text
from text2sql.sql.ddl import parse_schema
from text2sql.sql.files import file_schema


def match_pair(
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
) -> evaluation.Verdict:
    """Judge one pair, and print the verdict with its witness, or as one JSON object.

    Args:
        schema: CREATE TABLE statements, or a file of them; None for those of the database.
        gold: The gold query.
        predicted: The query to judge.
        database: A real SQLite database, or None.
        mutations: Of an equivalent pair, how many mutations of the gold query to try on its databases, see `challenge`.
        prove: Try to prove an equivalent pair, see `with_proofs`.
        as_json: Print JSON.
        dialect: Of schema and queries.
        transpile: Judge another dialect on SQLite.

    Raises:
        UserError: There is no such schema or database, no engine of the dialect, or no solver for a proof.
    """
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
    if schema is not None and not parse_schema(schema).tables:
        try:
            schema = read_text(Path(schema))
        except (OSError, ValueError) as error:
            raise UserError(f"--schema: {schema} is neither CREATE TABLE statements nor a file ({error}).") from error
    if database is not None:
        _check_database(database, schema or "", gold)
    path = str(database) if database else None
    verdict = evaluation.execution_match(schema or "", gold, predicted, path, dialect=dialect, transpile=transpile)
    if prove:
        pair = evaluation.Pair(schema or "", gold, predicted, str(database) if database else None)
        (verdict,) = with_proofs([pair], [verdict])
    challenged = None
    if mutations and verdict.status == "equivalent":
        schema = schema or file_schema(str(database))
        challenged = challenge(schema, gold, predicted, verdict, count=mutations, dialect=dialect)
    if as_json:
        # In another encoding than UTF-8 only JSON's own escapes stay JSON.
        ensure_ascii = "utf" not in (sys.stdout.encoding or "").lower()
        shown = verdict.to_dict() | ({"challenge": challenged.to_dict()} if challenged else {})
        print(json.dumps(shown, ensure_ascii=ensure_ascii))
        return verdict
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
    return verdict


def _print_challenge(found: Challenge) -> None:
    if found.failure:
        console.print(f"The challenge failed: {found.failure}.")
        return
    if not (found.killed or found.survivors):
        console.print("Challenge: the gold query has no place that could be changed.")
        return
    console.print(
        f"Challenge: these {found.databases} databases tell {len(found.killed)} of {found.changing} mutations of "
        f"the gold query apart ({percent(found.score)}). Survivors: {len(found.survivors) or 'none'}."
    )
    for survivor in found.survivors:
        console.print(f"  {_FATES[survivor.status]}: {survivor.mutation.change}", markup=False)


_FATES = {
    "missed": "missed, other databases show it",
    "same": "changes nothing that was found",
    "unknown": "not known whether it changes anything",
}


def _check_database(database: Path, schema: str, gold: str) -> None:
    """Raises UserError if the file is no database, or lacks a table that the gold query reads."""
    from text2sql.sql.repair import possible_table_names

    try:
        found = parse_schema(file_schema(str(database)))
    except sqlite3.Error as error:
        raise UserError(f"--database: {database} is not a SQLite database that can be read ({error}).") from error
    known, read = parse_schema(schema).tables, possible_table_names(gold)
    present = {name: table.name for name, table in found.tables.items()}
    present |= {name: view.name for name, view in found.views.items()}
    missing = [table.name for name, table in known.items() if name in read and name not in present]
    if missing:
        there = ", ".join(present.values()) or "none"
        raise UserError(
            f"--database: {database} has no table {', '.join(missing)}, which the gold query reads. It has: {there}."
        )


def _print_table(title: str, rows: evaluation.Table) -> None:
    # Not as the table's own title, which wraps at the width of narrow tables.
    console.print(f"\n{title}")
    table = Table(*rows.columns)
    for row in rows.rows:
        table.add_row(*("NULL" if value is None else json.dumps(value, default=str) for value in row))
    console.print(table)
