"""The commands on configurations: config list, new, show, validate, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from text2sql.cli.arguments import ConfigFile, Overrides, load
from text2sql.cli.completion import complete_config
from text2sql.console import console

app = typer.Typer(help="Look at and check configurations.", no_args_is_help=True)


@app.command("show")
def show(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Print the resolved configuration, every default written out."""
    from text2sql.config import dump_config

    typer.echo(dump_config(load(config, overrides)), nl=False)


@app.command("validate")
def validate(
    files: Annotated[
        list[str], typer.Argument(help="YAML files, and KEY=VALUE for all of them.", autocompletion=complete_config)
    ],
) -> None:
    """Check configurations; the first wrong one ends with status 2."""
    from text2sql.config import load_config
    from text2sql.errors import UserError

    overrides = [text for text in files if "=" in text and not Path(text).exists()]
    named = [text for text in files if text not in overrides]
    if not named:
        raise UserError(f"{overrides[0]} changes a configuration, and none is named.")
    for file in named:
        load_config(file, overrides)
        console.print(f"{file}: valid", soft_wrap=True)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of a configuration, with every default and its meaning."""
    import json

    from text2sql.config.json_schema import config_schema

    typer.echo(json.dumps(config_schema(), indent=2))


@app.command("list")
def list_shipped() -> None:
    """List the configurations that come with the program, with the command that each begins with."""
    from text2sql.config.files import SHIPPED, shipped_names

    for name in shipped_names():
        first = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
        typer.echo(f"{name:<40} {first.removeprefix('# ')}")


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    overrides: Overrides = None,
    extends: Annotated[str, typer.Option("--from", help="The configuration that it adds to.")] = "quickstart",
) -> None:
    """Write a configuration that extends another one; with the overrides, if they are valid."""
    from text2sql.config.new import write_config

    write_config(file, extends, overrides or [])
    console.print(f"{file}: extends {extends}; text2sql run {file}", soft_wrap=True)
