"""How late the event loop is, and what holds it: whatever does, delays every request."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable

from backends.server.log import log

TICK_SECONDS = 0.1
# From here on what holds the loop is written into the log.
HELD_SECONDS = 0.2
SHOWN_FRAMES = 3


class LoopWatch:
    """A task that measures the delay of its loop, and a thread that looks where the loop is when it is late.

    Args:
        saw_lag: Called on the loop with each delay, in seconds.
    """

    def __init__(self, saw_lag: Callable[[float], None]) -> None:
        self._saw_lag = saw_lag
        self._ticked = time.monotonic()
        self._thread = 0
        self._over = threading.Event()

    async def run(self) -> None:
        """Watch the loop that this runs on, until cancelled."""
        self._thread, self._ticked = threading.get_ident(), time.monotonic()
        threading.Thread(target=self._look, name="text2sql-loop-watch", daemon=True).start()
        try:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now = time.monotonic()
                self._saw_lag(max(0.0, now - self._ticked - TICK_SECONDS))
                self._ticked = now
        finally:
            self._over.set()

    def _look(self) -> None:
        woken = said = time.monotonic()
        before = ""
        while not self._over.wait(TICK_SECONDS):
            late = time.monotonic() - woken - TICK_SECONDS
            woken = time.monotonic()
            held = woken - self._ticked > TICK_SECONDS + HELD_SECONDS
            # Where this thread is late too, the machine or another thread is what is waited for.
            place = self._place() if held and late < TICK_SECONDS else ""
            # Twice in a row: a loop that the machine has put aside for a moment may be anywhere.
            if place and place == before and self._ticked > said:
                said = woken
                log.warning("the event loop was held for more than %d ms: %s", HELD_SECONDS * 1000, place)
            before = place

    def _place(self) -> str:
        """The innermost functions that the loop is in, the last one first; nothing if it waits for events."""
        frame = sys._current_frames().get(self._thread)
        calls = traceback.extract_stack(frame)[::-1] if frame else []
        if not calls or calls[0].name == "select":
            return ""
        return ", called by ".join(f"{call.name} ({call.filename}:{call.lineno})" for call in calls[:SHOWN_FRAMES])
