"""The server's log: what clients have sent stands in it escaped, so that it cannot look like lines of the server."""

from __future__ import annotations

import logging
import re
import time

from backends.redaction import redact

NAME = "text2sql.server"
REMEMBERED_LINES = 1000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escaped(text: str) -> str:
    """The text with its control characters (line breaks, terminal sequences) written as escapes."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Escape(logging.Filter):
    """Escapes messages when they are logged, secrets masked; tracebacks keep their lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape one record; all pass."""
        record.msg, record.args = escaped(redact(record.getMessage())), ()
        return True


class Repeats(logging.Filter):
    """Lets a line through once in `seconds`, and then says how often it came meanwhile."""

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._last: dict[tuple[int, str], float] = {}
        self._held_back: dict[tuple[int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        line, now = (record.levelno, record.getMessage()), time.monotonic()
        if now - self._last.get(line, -self._seconds) < self._seconds:
            self._held_back[line] = self._held_back.get(line, 0) + 1
            return False
        if len(self._last) >= REMEMBERED_LINES:
            self._last.clear()
            self._held_back.clear()
        self._last[line] = now
        if count := self._held_back.pop(line, 0):
            record.msg, record.args = f"{line[1]} ({count} more times since it was last written)", ()
        return True


log = logging.getLogger(NAME)
log.addFilter(_Escape())
# asyncio repeats itself each second while no connection can be accepted.
for name in (NAME, "asyncio", "uvicorn.error"):
    logging.getLogger(name).addFilter(Repeats())
