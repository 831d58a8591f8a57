"""Bytes of requests that are being read and parsed: no more than fit, in all and of one user."""

from __future__ import annotations

from collections import Counter

from backends.server.scheduler import Busy


class ArrivingBytes:
    """Counts what requests hold from their first byte until they are answered or wait in a queue, which counts them.

    The event loop's thread alone changes it.

    Args:
        most: How many bytes may arrive at once.
        most_per_user: How many of one user.
    """

    def __init__(self, most: int, most_per_user: int) -> None:
        self._most, self._most_per_user = most, most_per_user
        self._held: Counter[str] = Counter()

    def total(self) -> int:
        """Bytes that are held now."""
        return self._held.total()

    def hold(self, owner: str, size: int) -> None:
        """Count more bytes of a user's request (Busy, with nothing counted, if they do not fit)."""
        if self._held.total() + size > self._most:
            raise Busy(f"{self._most} bytes of requests are arriving already.")
        if self._held[owner] + size > self._most_per_user:
            raise Busy(f"{self._most_per_user} bytes of your requests are arriving already.")
        self._held[owner] += size

    def release(self, owner: str, size: int) -> None:
        """Count them no longer."""
        self._held[owner] -= size
