"""`text2sql bill`: what the Tinker service has charged for a run, next to the run's own count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from rich.table import Table

from backends import open_backend
from backends.billing import BillingService
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.formats import MISSING, dollars
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import USAGE
from text2sql.runs.session import close_service


def print_bill(directory: Path) -> None:
    """Fetch the bill of a run's sessions, and print it next to the tokens and costs that the run has counted.

    Raises:
        UserError: There is no such run, its backend charges nothing, or the run has not recorded its sessions.
        BackendError: The service cannot be reached, keeps no bills, or does not show them to this key.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    if not config.capabilities.charges:
        raise UserError(f"{directory}: backend={config.backend} charges nothing, so there is no bill.")
    sessions = run.sessions()
    if not sessions:
        raise UserError(
            f"{directory} does not say under which session its tokens were charged: it has asked the service nothing "
            "yet, or an earlier version of text2sql made it. The Tinker console shows the bill by day."
        )
    start = datetime.fromisoformat(sessions[0].opened)
    service = open_backend(config.backend, config.backend_options)
    try:
        bill = cast(BillingService, service).read_bill({session.id for session in sessions}, start, _end_of_work(run))
    finally:
        close_service(service, "success")
    budget = TokenBudget(run, config)
    total = budget.total
    table = Table("", "counted here", "billed")
    for title, counted, billed in (
        ("tokens trained on", total.train, bill.train),
        ("tokens of prompts", total.prefill, bill.prefill),
        ("  of these read before", total.cached, bill.cached),
        ("tokens sampled", total.sample, bill.sample),
    ):
        table.add_row(title, f"{counted:,}", f"{billed:,}")
    priced = dollars(bill.dollars) if bill.tokens and bill.unpriced < bill.tokens else MISSING
    table.add_row("cost", MISSING if budget.dollars is None else dollars(budget.dollars), priced)
    console.print(table)
    if budget.source:
        console.print(f"Counted here at the prices of {budget.source}.", markup=False)
    if not bill.tokens:
        console.print("The service has billed nothing for this run yet; its account lags by up to a few hours.")
        return
    if bill.unpriced:
        console.print(f"The service has no price yet for {bill.unpriced:,} of the tokens that it has billed.")
    console.print(
        "The service's dollars are its estimate before credits, and lag by up to a few hours. Storage of checkpoints "
        f"belongs to no session and is in neither; checkpoints written: {bill.checkpoints:,}."
    )


def _end_of_work(run: RunDirectory) -> datetime:
    """The time at which the run last counted tokens, plus an hour for requests after that."""
    file = run.file(USAGE)
    last_count = datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.is_file() else datetime.now(UTC)
    return last_count + timedelta(hours=1)
