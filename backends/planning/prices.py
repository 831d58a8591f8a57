"""Prices of a hosted model's tokens: configured, as the service publishes them today, or from the dated file.

The service publishes its prices as JSON next to its documentation, one object for each model and context variant. The
list is fetched when a price is needed, once in a process; if it cannot be reached, `lineup.json` is used. The list says
nothing about a server at another address than the service's own, such as `text2sql serve`. An unknown price is None,
never zero.
"""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from functools import cache
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from backends.options import Prices, TinkerOptions
from backends.planning.lineup import lineup

PUBLISHED_URL = "https://tinker-docs.thinkingmachines.ai/tinker/models.json"
# Seconds to wait for the list; a run is not to be delayed by it.
TIMEOUT_SECONDS = 2.0
# Endings of the service's host names.
SERVICE_DOMAINS = (".thinkingmachines.dev", ".thinkingmachines.ai")


class PublishedPrices(BaseModel):
    """A model of the published list: dollars for a million tokens, None where the list has no number.

    Attributes:
        note: A remark of the list on the prices, for example that a discount is temporary.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    train: float | None
    prefill: float | None
    cached_prefill: float | None
    sample: float | None
    note: str | None = None

    @property
    def prices(self) -> Prices | None:
        """The prices of a run; None unless training, prompts and sampling all have one."""
        return Prices.if_complete(
            train=self.train, prefill=self.prefill, sample=self.sample, cached_prefill=self.cached_prefill
        )


def find_prices(model: str, options: TinkerOptions) -> tuple[Prices, str] | None:
    """The prices of a model and their source; None where not all of them are known.

    Args:
        model: The server's name of it, context variant included.
        options: Configured prices, the address of the server, and that of its list.
    """
    if options.prices is not None:
        return options.prices, "tinker.prices"
    address = list_address(options)
    if address is None:
        return None
    if (published := fetch_list(address)) is not None:
        # A missing price is not taken from the older file: the model may be retired, or cost more.
        entry = published.get(model)
        if entry is None or entry.prices is None:
            return None
        note = f", which says: {entry.note}" if entry.note else ""
        return entry.prices, f"the price list at {address} on {datetime.now(UTC):%Y-%m-%d}{note}"
    hosted = lineup().find(model)
    if hosted is None or hosted.prices is None:
        return None
    return hosted.prices, f"Tinker's public price list as of {lineup().as_of} (today's could not be reached)"


def list_address(options: TinkerOptions) -> str | None:
    """The address where the prices of a server are published; None if unknown."""
    if options.price_list is not None:
        return options.price_list
    server = options.base_url or os.environ.get("TINKER_BASE_URL")
    if not server:
        return PUBLISHED_URL
    return PUBLISHED_URL if (urlsplit(server).hostname or "").endswith(SERVICE_DOMAINS) else None


@cache
def fetch_list(address: str) -> dict[str, PublishedPrices] | None:
    """The published list by model; None if it cannot be reached or has another format."""
    import httpx

    try:
        # The documentation's server rejects the default user agents of HTTP libraries.
        response = httpx.get(
            address, timeout=TIMEOUT_SECONDS, follow_redirects=True, headers={"User-Agent": "text2sql"}
        )
        entries = response.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    if not isinstance(entries, list):
        return None
    models = [_read(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("tinker_id"), str)]
    return {model.name: model for model in models} or None


def _read(entry: dict[str, object]) -> PublishedPrices:
    note = entry.get("note")
    return PublishedPrices(
        name=str(entry["tinker_id"]),
        train=_parse_dollars(entry.get("train")),
        prefill=_parse_dollars(entry.get("prefill")),
        cached_prefill=_parse_dollars(entry.get("cached_prefill")),
        sample=_parse_dollars(entry.get("sample")),
        note=note if isinstance(note, str) and note.strip() else None,
    )


def _parse_dollars(text: object) -> float | None:
    """Parse a price such as ``$1,234.50``; None for anything else, and for zero, with which no budget would end."""
    try:
        price = float(str(text).strip().lstrip("$").replace(",", ""))
    except ValueError:
        return None
    return price if math.isfinite(price) and price > 0 else None
