"""What one pair may cost.

Work is counted first: SQLite's instructions and rows made, which are the same on every machine and under every load, so
that a verdict is too. The clock is a last resort, for what is not counted. It is the processor's, which a busy machine
runs down little; the clock on the wall has a separate limit, which is many times wider.
"""

from __future__ import annotations

import time

# Seconds of processor time for a pair. What is counted takes about one; but a slow processor, or a virtual one whose
# clock also counts what its host gave to others, takes several times as long, and must come to the same verdict.
TIMEOUT = 8.0
# Instructions of SQLite's virtual machine for a pair: about a second.
_WORK = 50_000_000
# Instructions that making and storing one row stands for.
_ROW = 500
# Seconds on the wall for each of the processor's. A busy machine gives a process a small fraction of its time, and may
# let it wait for seconds at once; only what hangs without computing needs this limit.
WALL = 16.0


class Clock:
    """Seconds of this thread's processor time, and many times as many on the wall.

    Args:
        seconds: Of processor time.
        wall: Seconds on the wall for each of them.
    """

    def __init__(self, seconds: float, wall: float = WALL) -> None:
        now = time.monotonic()
        self._factor = wall
        self._processor, self._wall = time.thread_time() + seconds, now + wall * seconds
        # Until then the processor's time cannot be up, and that clock, which asks the system, need not be read.
        self._safe = now + seconds

    @property
    def seconds(self) -> float:
        """What is left, at least a little."""
        return max(0.01, min(self._processor - time.thread_time(), (self._wall - time.monotonic()) / self._factor))

    def at_most(self, seconds: float) -> float:
        """What is left, or N seconds if that is less."""
        now = time.monotonic()
        plenty = self._safe - now >= seconds and self._wall - now >= self._factor * seconds
        return seconds if plenty else min(seconds, self.seconds)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        now = time.monotonic()
        return now > self._safe and (now > self._wall or time.thread_time() > self._processor)


class Budget(Clock):
    """The work that is left for a pair.

    Args:
        seconds: Of processor time, a last resort.
        wall: Seconds on the wall for each of them.
    """

    def __init__(self, seconds: float, wall: float = WALL) -> None:
        super().__init__(seconds, wall)
        self._work = _WORK

    def spend(self, steps: int, rows: int = 0) -> None:
        """Counts instructions of SQLite and rows made."""
        self._work -= steps + _ROW * rows

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self._work < 0 or self.over
