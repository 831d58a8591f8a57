"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from text2sql.config import Config

ConfigFile = Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one.", show_default=True)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value ...", show_default=False)]


def load(file: str, overrides: list[str] | None) -> Config:
    """The configuration that the arguments name: a file or shipped name, or ``quickstart`` where there is none.

    Raises:
        UserError: As `text2sql.config.load_config`.
    """
    from text2sql.config import load_config

    # `text2sql run training.epochs=2` names no file: what stands in its place is the first override.
    if "=" in file and not Path(file).exists():
        return load_config("quickstart", [file, *(overrides or [])])
    return load_config(file, overrides or [])
