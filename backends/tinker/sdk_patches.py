"""Rate limits and lost connections on the way to a remote server, which the SDK bears in silence: the user is told."""

from __future__ import annotations

import logging
import time
from typing import Any

EVERY_SECONDS = 30.0  # between two notices of one kind

_told = logging.getLogger("tinker.server")  # the SDK's warnings are shown; this is one of them


class _Notices(logging.LoggerAdapter[logging.Logger]):
    """Stands in for the logger of the SDK's HTTP client, whose debug messages tell of every answer and every failure.

    The logger itself stays at its level: at DEBUG the SDK would write out every request.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self._last: dict[str, float] = {}
        self._away = False  # and the user knows

    def debug(self, msg: object, *args: Any, **options: Any) -> None:
        """Pass a message on, and tell the user if it is of trouble or of its end."""
        text = str(msg)
        if text.startswith("HTTP Response:") and len(args) > 2:
            self._answered(int(args[2]))
        elif text in ("Encountered Exception", "Encountered httpx.TimeoutException"):
            told = self._tell("lost", "No connection to the server; trying again, for five minutes at most.")
            self._away = self._away or told
        super().debug(msg, *args, **options)

    def _answered(self, status: int) -> None:
        if status == 429:
            self._tell("busy", "The server asks for patience (rate limit, 429); waiting, then trying again.")
        elif status >= 500:
            self._tell("failing", f"The server answers {status}; trying again, for five minutes at most.")
        elif self._away:
            self._away = False
            _told.warning("The server answers again.")

    def _tell(self, kind: str, sentence: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(kind, -EVERY_SECONDS) < EVERY_SECONDS:
            return False
        self._last[kind] = now
        _told.warning(sentence)
        return True


def show_notices() -> None:
    """From now on, log as warnings what the SDK only tells its debug log; nothing has been told so far."""
    from tinker import _base_client

    logger = _base_client.log
    _base_client.log = _Notices(logger.logger if isinstance(logger, _Notices) else logger)  # type: ignore[assignment]
