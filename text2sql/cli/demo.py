"""The command that serves a page to try a run's models on: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from text2sql.cli.arguments import refuse_unread
from text2sql.cli.schemas import DatabaseOption, MaxTables, WritableRole


def demo(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run whose models answer.")] = Path("runs/quickstart"),
    host: Annotated[str, typer.Option(help="Address to listen on; this machine alone by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7860,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Further name under which the page may be opened, such as a proxy's; repeat for several."),
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Also open a public tunnel through gradio's servers. Anybody may then ask.")
    ] = False,
    database: DatabaseOption = None,
    max_tables: MaxTables = 40,
    allow_writable_role: WritableRole = False,
) -> None:
    """Ask a run's models in a browser, see the SQL checked, and its rows."""
    from text2sql.pipeline.preflight import check_models

    if database is None:
        refuse_unread(context, "without --database", "allow_writable_role")
    check_models(run)
    from text2sql.demo.page import serve_demo
    from text2sql.engines.user_databases.user_database import UserDatabase

    user_database = None if database is None else UserDatabase.read(database, allow_writable_role=allow_writable_role)
    serve_demo(
        run,
        host,
        port,
        share=share,
        allowed_hosts=allowed_host or (),
        database=user_database,
        max_tables=max_tables,
    )
