"""The tokens and dollars that a service has charged for sessions, to compare with a run's own count."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Bill:
    """What a service has charged for some sessions over some hours.

    Attributes:
        train: Tokens trained on.
        prefill: Prompt tokens, cached ones included.
        cached: Prompt tokens that were charged at the cached price.
        sample: Sampled tokens.
        checkpoints: Checkpoints written.
        dollars: The service's estimate, before credits, of the tokens that have a price.
        unpriced: Tokens that have no price yet.
    """

    train: int = 0
    prefill: int = 0
    cached: int = 0
    sample: int = 0
    checkpoints: int = 0
    dollars: float = 0.0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all kinds."""
        return self.train + self.prefill + self.sample


class BillingService(Protocol):
    """A service client of a service that charges, and reports its charges."""

    @property
    def session_id(self) -> str:
        """The session under which this client's tokens are charged."""
        ...

    def read_bill(self, sessions: Collection[str], begin: datetime, end: datetime) -> Bill:
        """The charges for sessions in a period of whole hours.

        Raises:
            BackendError: The service reports no charges, or this key may not read them.
        """
        ...
