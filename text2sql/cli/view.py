"""The command that shows runs in a browser: view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    directory: Annotated[Path, typer.Argument(help="Where the runs are; or one run.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port to listen on, on this machine alone.", min=1, max=65535)] = 7870,
) -> None:
    """Look at runs in a browser: every question and answer, filtered, searched, compared; live while a run goes on."""
    from text2sql.explorer.serve import serve_explorer

    serve_explorer(directory, port)
