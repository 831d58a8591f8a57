"""Connections: how many a client may hold, and how long one may stay half sent."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from backends.server.settings import Limits

CHECK_SECONDS = 1.0


def raise_open_files() -> None:
    """Allow as many open files and connections as the system allows this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_protocol(limits: Limits) -> type[H11Protocol]:
    """Uvicorn's HTTP protocol, less clients that hold connections without using them.

    uvicorn closes connections that are idle *between* requests. This adds those whose request does not come: its head
    must be complete `limits.header_seconds` after its first byte (or the connection's beginning), and more of its body
    must come within `limits.body_idle_seconds`. A client address holds at most `limits.connections_per_client`.
    """
    held: Counter[str] = Counter()

    class GuardedProtocol(H11Protocol):
        """One connection."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._counted = ""
            self._check: asyncio.TimerHandle | None = None
            # When the head that is awaited was begun; None while a request is under way.
            self._head_begun: float | None = None
            self._last_heard = 0.0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Count the connection; close it if its client has too many."""
            super().connection_made(transport)
            self._counted = self.client[0] if self.client else "local"
            held[self._counted] += 1
            if held[self._counted] > limits.connections_per_client:
                transport.abort()
                return
            self._head_begun = self._last_heard = self.loop.time()
            self._check = self.loop.call_later(CHECK_SECONDS, self._close_if_late)

        def connection_lost(self, exc: Exception | None) -> None:
            """Count it no longer."""
            super().connection_lost(exc)
            held[self._counted] -= 1
            if not held[self._counted]:
                del held[self._counted]
            if self._check is not None:
                self._check.cancel()

        def data_received(self, data: bytes) -> None:
            """Note when the client was heard."""
            self._last_heard = self.loop.time()
            if self._head_begun is None and self._is_between_requests():
                self._head_begun = self._last_heard
            super().data_received(data)
            if not self._is_between_requests():
                self._head_begun = None

        def _is_between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _close_if_late(self) -> None:
            now = self.loop.time()
            head_late = self._head_begun is not None and now - self._head_begun > limits.header_seconds
            body_awaited = not self._is_between_requests() and self.cycle.more_body
            body_late = body_awaited and now - self._last_heard > limits.body_idle_seconds
            if head_late or body_late:
                self.transport.abort()
                return
            self._check = self.loop.call_later(CHECK_SECONDS, self._close_if_late)

    return GuardedProtocol
