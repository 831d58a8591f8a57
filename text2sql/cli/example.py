"""The command that writes an example to ask about: example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from text2sql.errors import UserError


def example(
    name: Annotated[Literal["shop"], typer.Argument(help="Which: a shop with customers and orders.")] = "shop",
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the files.")] = Path("."),
) -> None:
    """Write an example: a SQLite database with some rows, and its schema as a file."""
    from text2sql.console import console
    from text2sql.demo.example import QUESTION, SCHEMA, write_example

    database, schema = output / f"{name}.sqlite", output / f"{name}.sql"
    for file in (database, schema):
        if file.exists():
            raise UserError(f"{file} exists already; give another directory with --output, or remove it first.")
    output.mkdir(parents=True, exist_ok=True)
    schema.write_text(SCHEMA, encoding="utf-8")
    write_example(output, database.name)
    console.print(
        f"Wrote {database} and {schema}. Ask a finished run about it:\n"
        f'  text2sql ask --database {database} --execute "{QUESTION}"',
        markup=False,
        soft_wrap=True,
    )
