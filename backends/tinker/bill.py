"""Reads the charges for sessions from the service, in windows of the longest period that it allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import tinker

from backends.billing import Bill
from backends.interface import BackendError

HOUR = timedelta(hours=1)
# The longest period of one request.
MAX_WINDOW = timedelta(days=14)


def read_bill(url: str, key: str | None, sessions: Collection[str], begin: datetime, end: datetime) -> Bill:
    """The charges for sessions in a period, rounded to whole hours.

    Args:
        url: The service's address.
        key: The API key; None: the SDK looks for one.
        sessions: Ids of the sessions.
        begin: Start of the period.
        end: End of the period.

    Raises:
        BackendError: The service reports no charges, or this key may not read them.
    """
    # Older versions of the SDK have no AdminClient, and the method on RestClient.
    client_type: Any = getattr(tinker, "AdminClient", tinker.RestClient)
    client = client_type(base_url=url, api_key=key)
    bill, start = Bill(), _whole_hour(begin)
    last = _whole_hour(end) + HOUR
    while start < last:
        until = min(start + MAX_WINDOW, last)
        try:
            usage = client.get_billing_usage(start, until).result()
        except tinker.NotFoundError as error:
            raise BackendError(f"The server at {url} keeps no bills; the hosted service does.") from error
        except (tinker.AuthenticationError, tinker.PermissionDeniedError) as error:
            raise BackendError(
                f"The service does not show its bills to this key ({error}). Who may see them is said in the Tinker "
                "console, under the organisation's roles."
            ) from error
        for event in usage.data:
            if event.session_id in sessions:
                bill = _add(bill, event)
        start = until
    return bill


def _add(bill: Bill, event: Any) -> Bill:
    info = event.event_info
    tokens = getattr(info, "token_count", 0)
    priced = event.estimated_cost_usd is not None
    bill = replace(
        bill,
        dollars=bill.dollars + (event.estimated_cost_usd or 0.0),
        unpriced=bill.unpriced + (0 if priced else tokens),
    )
    if info.type == "training":
        return replace(bill, train=bill.train + tokens)
    if info.type == "sampling_prefill":
        return replace(bill, prefill=bill.prefill + tokens, cached=bill.cached + (tokens if info.cached else 0))
    if info.type == "sampling_sample":
        return replace(bill, sample=bill.sample + tokens)
    return replace(bill, checkpoints=bill.checkpoints + getattr(info, "count", 0))


def _whole_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
