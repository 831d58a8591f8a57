"""The budget of one pair: work, CPU time and wall-clock time.

Work comes first: SQLite's instructions and made rows, which are the same on every machine and under every load, so that
verdicts are too. Time is a last resort for work that is not counted. The limit is on CPU time, which other processes do
not use up; the limit on wall-clock time is many times wider.
"""

from __future__ import annotations

import time

# Seconds of CPU time for a pair. The counted work takes about one; but a slow processor, or a virtual one that is
# charged for its host's other guests, takes several times as long, and must reach the same verdict.
TIMEOUT = 8.0
# SQLite virtual machine instructions for a pair: about a second.
_MAX_STEPS = 50_000_000
# The instructions that making and storing one row counts as.
_STEPS_PER_ROW = 500
# Wall-clock seconds for each second of CPU time. A busy machine gives a process a small fraction of its time and may
# let it wait for seconds; this limit is only for code that hangs without computing.
WALL_FACTOR = 16.0


class Clock:
    """A time limit: seconds of this thread's CPU time, and many times as many wall-clock seconds.

    Args:
        seconds: Seconds of CPU time.
        wall: Wall-clock seconds for each second of CPU time.
    """

    def __init__(self, seconds: float, wall: float = WALL_FACTOR) -> None:
        now = time.monotonic()
        self._factor = wall
        self._cpu_deadline, self._wall_deadline = time.thread_time() + seconds, now + wall * seconds
        # Until then the CPU time cannot be up, and the system need not be asked for it.
        self._earliest_expiry = now + seconds

    @property
    def seconds(self) -> float:
        """The CPU seconds that are left, at least 0.01."""
        return max(
            0.01, min(self._cpu_deadline - time.thread_time(), (self._wall_deadline - time.monotonic()) / self._factor)
        )

    def at_most(self, seconds: float) -> float:
        """The seconds that are left, at most `seconds`."""
        now = time.monotonic()
        has_enough = self._earliest_expiry - now >= seconds and self._wall_deadline - now >= self._factor * seconds
        return seconds if has_enough else min(seconds, self.seconds)

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        now = time.monotonic()
        return now > self._earliest_expiry and (now > self._wall_deadline or time.thread_time() > self._cpu_deadline)


class Budget(Clock):
    """The work and the time that are left for a pair.

    Args:
        seconds: Seconds of CPU time.
        wall: Wall-clock seconds for each second of CPU time.
    """

    def __init__(self, seconds: float, wall: float = WALL_FACTOR) -> None:
        super().__init__(seconds, wall)
        self._steps_left = _MAX_STEPS

    def spend(self, steps: int, rows: int = 0) -> None:
        """Counts SQLite instructions and made rows."""
        self._steps_left -= steps + _STEPS_PER_ROW * rows

    @property
    def spent(self) -> bool:
        """Whether work or time is used up."""
        return self._steps_left < 0 or self.expired
