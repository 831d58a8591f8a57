"""What a hosted model's tokens cost: as the user says, as the service publishes it today, or as the dated file has it.

The service publishes its prices for programs, one object a model and context variant, next to its documentation. The
list is asked for when a price is needed, and once in a process; where it cannot be reached, `lineup.json` stands in.
A server at another address than the service's own, such as `text2sql serve`, charges nothing by that list. A price
that is not known is None, never zero.
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

PUBLISHED = "https://tinker-docs.thinkingmachines.ai/tinker/models.json"
# A run that cannot reach the list does without it, and is not to be held up.
SECONDS = 2.0
# The service's addresses end so.
SERVICE = (".thinkingmachines.dev", ".thinkingmachines.ai")


class PublishedPrices(BaseModel):
    """A model of the published list: dollars for a million tokens, None where the list has no number.

    Attributes:
        note: What the list says next to the prices, for example that a discount is for a limited time.
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
        """What a run is charged; None unless training, prompts and sampling all have a price."""
        if self.train is None or self.prefill is None or self.sample is None:
            return None
        return Prices(train=self.train, prefill=self.prefill, sample=self.sample, cached_prefill=self.cached_prefill)


def find_prices(model: str, options: TinkerOptions) -> tuple[Prices, str] | None:
    """The prices of a model and where they are from; None where nobody knows them all.

    Args:
        model: As the server names it, with the context variant in it.
        options: Prices that were given, the address of the server, and that of its list.
    """
    if options.prices is not None:
        return options.prices, "tinker.prices"
    address = list_address(options)
    if address is None:
        return None
    if (published := fetch_list(address)) is not None:
        # What a list leaves out is not filled from an older one: the model may be gone, or cost more.
        found = published.get(model)
        if found is None or found.prices is None:
            return None
        note = f", which says: {found.note}" if found.note else ""
        return found.prices, f"the price list at {address} on {datetime.now(UTC):%Y-%m-%d}{note}"
    hosted = lineup().find(model)
    if hosted is None or hosted.prices is None:
        return None
    return hosted.prices, f"Tinker's public price list as of {lineup().as_of} (today's could not be reached)"


def list_address(options: TinkerOptions) -> str | None:
    """Where the prices of a server are published; None where nothing is known of it."""
    if options.price_list is not None:
        return options.price_list
    server = options.base_url or os.environ.get("TINKER_BASE_URL")
    if not server:
        return PUBLISHED
    return PUBLISHED if (urlsplit(server).hostname or "").endswith(SERVICE) else None


@cache
def fetch_list(address: str) -> dict[str, PublishedPrices] | None:
    """The published list by model; None where it cannot be reached or is no such list."""
    import httpx

    try:
        # The documentation's server turns away the names that libraries give themselves.
        answer = httpx.get(address, timeout=SECONDS, follow_redirects=True, headers={"User-Agent": "text2sql"})
        entries = answer.raise_for_status().json()
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
        train=_dollars(entry.get("train")),
        prefill=_dollars(entry.get("prefill")),
        cached_prefill=_dollars(entry.get("cached_prefill")),
        sample=_dollars(entry.get("sample")),
        note=note if isinstance(note, str) and note.strip() else None,
    )


def _dollars(written: object) -> float | None:
    """A price such as ``$1,234.50``; None for what is none, and for zero, by which a limit would hold nothing back."""
    try:
        price = float(str(written).strip().lstrip("$").replace(",", ""))
    except ValueError:
        return None
    return price if math.isfinite(price) and price > 0 else None
