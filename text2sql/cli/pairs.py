"""The command on one pair of queries: match."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from text2sql.cli.arguments import refuse_unread


def match(
    context: typer.Context,
    gold: Annotated[str, typer.Option(help="The gold query.")],
    predicted: Annotated[str, typer.Option(help="The query to judge.")],
    schema: Annotated[
        str | None, typer.Option(help="CREATE TABLE statements, or a file of them; by default those of --database.")
    ] = None,
    database: Annotated[Path | None, typer.Option(help="A real SQLite database, read only.")] = None,
    challenge: Annotated[
        bool,
        typer.Option(
            "--challenge",
            help="If they are equivalent: try small mutations of the gold query on the databases of the pair, and list "
            "those that these would not have told apart.",
        ),
    ] = False,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="If they are equivalent: try to prove it for all small databases; of SQLite, with the extra proof.",
        ),
    ] = False,
    dialect: Annotated[
        str,
        typer.Option(help="Of schema and queries: sqlite, postgres, duckdb or mysql; its engine runs the queries."),
    ] = "sqlite",
    transpile: Annotated[
        bool,
        typer.Option("--transpile", help="Without the engine of --dialect: judge on SQLite, with queries translated."),
    ] = False,
    mutations: Annotated[int, typer.Option(min=1, max=200, help="How many mutations --challenge tries.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
) -> None:
    """Judge one pair of queries and show a database on which they differ.

    The exit status is 0 if they are equivalent, 1 if they are not or it cannot be told, 2 if the input is wrong: an
    option, or a gold query that cannot be used.
    """
    from text2sql.commands.match import print_match
    from text2sql.engines.dialect import read_dialect

    read = read_dialect(dialect, "--dialect")
    if not challenge:
        refuse_unread(context, "without --challenge", "mutations")
    if read == "sqlite":
        refuse_unread(context, "with --dialect sqlite, which is not translated", "transpile")
    verdict = print_match(
        schema,
        gold,
        predicted,
        database,
        mutations=mutations if challenge else 0,
        prove=prove,
        as_json=as_json,
        dialect=read,
        transpile=transpile,
    )
    if not verdict.correct:
        raise typer.Exit(2 if verdict.cause == "gold_failed" else 1)
