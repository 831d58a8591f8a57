"""What a service says that it has charged for sessions: the bill, to be held against a count of one's own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Bill:
    """Of some sessions, over some hours.

    Attributes:
        train: Tokens trained on.
        prefill: Prompt tokens, those read before included.
        cached: Those of them that were charged as read before.
        sample: Sampled tokens.
        checkpoints: Checkpoints written.
        dollars: The service's estimate, before credits; of what it has a price for.
        unpriced: Tokens for which it has no price yet.
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
        """All of them."""
        return self.train + self.prefill + self.sample


class BillingService(Protocol):
    """A service client whose service charges and says what."""

    @property
    def session_id(self) -> str:
        """The session under which this client's tokens are charged."""
        ...

    def read_bill(self, sessions: Collection[str], begin: datetime, end: datetime) -> Bill:
        """What has been charged for sessions in a time, in whole hours.

        Raises:
            BackendError: The service keeps no bills, or this key may not read them.
        """
        ...
