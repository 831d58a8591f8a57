"""What a run has spent: tokens trained on, prompted with and sampled, their price, and the limit.

Every token that a backend worked on counts, also those of steps that a killed run had to do again; ``usage.jsonl``
therefore only grows.
"""

from __future__ import annotations

import threading
from dataclasses import astuple, dataclass

from backends.options import Prices
from backends.planning.prices import find_prices
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.formats import dollars
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import USAGE, Usage


class BudgetReached(UserError):
    """The next piece of work could cost more than `tinker.max_cost` allows; nothing of it was started."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of one piece of work, by what the API charges for.

    Attributes:
        train: Tokens trained on.
        prefill: Tokens in prompts.
        sample: Sampled tokens.
        cached: Of the prompt tokens, those that the service had read before, and says so.
    """

    train: int = 0
    prefill: int = 0
    sample: int = 0
    cached: int = 0

    def __add__(self, other: TokenCount) -> TokenCount:
        return TokenCount(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: TokenCount) -> TokenCount:
        return TokenCount(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


def run_prices(config: Config) -> tuple[Prices, str] | None:
    """The prices of a run, and their source; None where it costs nothing, or where no price is known.

    Raises:
        UserError: There is a limit, but no price is known.
    """
    if not config.capabilities.charges:
        return None
    priced = find_prices(config.trained_model, config.tinker)
    if priced is None and config.tinker.max_cost is not None:
        raise UserError(
            f'tinker.max_cost: no price of "{config.trained_model}" is known. Set tinker.prices.train, '
            "tinker.prices.prefill and tinker.prices.sample, in dollars for a million tokens."
        )
    return priced


class TokenBudget:
    """The tokens of one run. Work is reserved before it is submitted, and spent when its tokens are known.

    Args:
        run: Has ``usage.jsonl``.
        config: Has prices and the limit, for a backend that charges; the others cost nothing.

    Raises:
        UserError: There is a limit, but no price is known.
    """

    def __init__(self, run: RunDirectory, config: Config) -> None:
        self._run, self._lock = run, threading.Lock()
        self.limit: float | None = None
        self.prices: Prices | None = None
        self.source: str | None = None
        if config.capabilities.charges:
            self.limit = config.tinker.max_cost
            self.prices, self.source = run_prices(config) or (None, None)
        self._reserved = self.total = TokenCount()
        for row in run.usage():
            self.total += TokenCount(row.train, row.prefill, row.sample, row.cached or 0)

    @property
    def dollars(self) -> float | None:
        """Cost of what has been spent; None where no price is known."""
        return self._cost(self.total)

    def reserve(self, upper_bound: TokenCount) -> TokenCount:
        """Set the tokens of a piece of work aside before it is submitted.

        Args:
            upper_bound: The most tokens that it can take.

        Returns:
            What was set aside: `upper_bound`, for `spend`.

        Raises:
            BudgetReached: It could cost more than is left.
        """
        with self._lock:
            cost = self._cost(self.total + self._reserved + upper_bound)
            if self.limit is not None and cost is not None and cost > self.limit:
                raise BudgetReached(
                    f"tinker.max_cost={self.limit:g}: {dollars(self.dollars)} spent, and what comes next could exceed "
                    "the limit. What was finished is kept; the same command with a higher tinker.max_cost goes on "
                    "there."
                )
            self._reserved += upper_bound
        return upper_bound

    def spend(self, stage: str, reserved: TokenCount, actual: TokenCount) -> None:
        """Count the actual tokens of finished work in place of those that were set aside for it."""
        with self._lock:
            self._reserved -= reserved
            self.total += actual
        row = Usage(
            stage=stage,
            train=actual.train,
            prefill=actual.prefill,
            sample=actual.sample,
            cached=actual.cached or None,
        )
        self._run.append(USAGE, [row])

    def _cost(self, tokens: TokenCount) -> float | None:
        return None if self.prices is None else self.prices.cost(*astuple(tokens))
