"""The exception that becomes an HTTP error, and what is refused with it in several places."""

from __future__ import annotations


class ApiError(Exception):
    """A request that is answered with an HTTP error and one sentence.

    Args:
        status: HTTP status.
        detail: The sentence.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def check_number(name: str, number: int) -> None:
    """Refuse (ApiError with 400) what does not number the models, samplers or requests of a session."""
    if not 0 <= number < 2**63:
        raise ApiError(400, f"{name} is {number}; it must be 0 or more and below 2 to the power of 63.")
