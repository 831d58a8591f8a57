"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from text2sql.cli.completion import complete_config, complete_override
from text2sql.errors import UserError

if TYPE_CHECKING:
    from text2sql.config import Config

ConfigFile = Annotated[
    str,
    typer.Argument(help="YAML file, or the name of a shipped one.", show_default=True, autocompletion=complete_config),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key.sub=value ...", show_default=False, autocompletion=complete_override),
]


def load(file: str, overrides: list[str] | None) -> Config:
    """Load the configuration that the arguments name: a file or shipped name, or ``quickstart`` without one.

    Raises:
        UserError: As `text2sql.config.load_config`.
    """
    from text2sql.config import load_config

    return load_config(*file_and_overrides(file, overrides))


def load_with_data(file: str, overrides: list[str] | None) -> Config:
    """Load the configuration of a command that reads data, and check its data files (UserError if one is missing)."""
    from text2sql.pipeline.preflight import check_data

    config = load(file, overrides)
    check_data(config)
    return config


def file_and_overrides(file: str, overrides: list[str] | None) -> tuple[str, list[str]]:
    """The file and the overrides; in `text2sql run training.epochs=2` the first argument is an override."""
    if "=" in file and not Path(file).exists():
        return "quickstart", [file, *(overrides or [])]
    return file, overrides or []


def refuse_unread(context: typer.Context, without: str, *names: str) -> None:
    """Raise UserError for options of the command line that nothing reads.

    Args:
        context: The command's.
        without: Why they are not read: ``without --model``.
        *names: The parameters of the command.
    """
    options = {str(parameter.name): parameter.opts[0] for parameter in context.command.params}
    sources = {name: getattr(context.get_parameter_source(name), "name", "") for name in names}
    if given := [options[name] for name, source in sources.items() if source == "COMMANDLINE"]:
        raise UserError(f"{', '.join(given)}: nothing reads it {without}; leave it out, or see --help.")
