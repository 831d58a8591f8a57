"""The command on the models that the Tinker API serves."""

from __future__ import annotations

from typing import Annotated

import typer

from text2sql.cli.arguments import refuse_unread


def models(
    context: typer.Context,
    remote: Annotated[
        bool, typer.Option("--remote", help="Ask the service (TINKER_API_KEY), and show how it differs from the list.")
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(help="Another server of the protocol; TINKER_BASE_URL if not given.")
    ] = None,
) -> None:
    """List the models that the hosted Tinker API serves: kind, context, prices for a million tokens."""
    from backends.planning.lineup import lineup
    from text2sql.commands.hosted_models import print_lineup, print_served

    if not remote:
        refuse_unread(context, "without --remote", "base_url")
    if remote:
        print_served(base_url)
    else:
        print_lineup(lineup())
