"""The exception that becomes an HTTP error."""

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
