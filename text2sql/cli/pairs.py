"""The command on one pair of queries: match."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def match(
    gold: Annotated[str, typer.Option(help="The gold query.")],
    predicted: Annotated[str, typer.Option(help="The query to judge.")],
    schema: Annotated[
        str | None, typer.Option(help="CREATE TABLE statements, or a file of them; by default those of --database.")
    ] = None,
    database: Annotated[Path | None, typer.Option(help="A real SQLite database, read only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
) -> None:
    """Judge one pair of queries and show a database on which they differ.

    The exit status is 0 if they are equivalent, 1 if they are not or it cannot be told, 2 if the input is wrong.
    """
    from text2sql.evaluation.one_pair import match_pair

    if not match_pair(schema, gold, predicted, database, as_json=as_json).correct:
        raise typer.Exit(1)
