"""Ctrl-C (SIGINT) and SIGTERM, with which a machine is taken back, as requests that a run can honour.

By default SIGINT breaks off whatever is being done, and SIGTERM ends a process without a word.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from backends import shares_work
from text2sql.console import console


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does; a second one ends the process at once."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    with _handling(interrupt, signal.SIGTERM):
        yield


class Interruption:
    """Whether a piece of work has been asked to stop.

    Attributes:
        requested: Whether it has.
    """

    def __init__(self) -> None:
        self.requested = False

    def raise_if_requested(self) -> None:
        """Raise KeyboardInterrupt where the work has been asked to stop; called where nothing is lost."""
        if self.requested:
            raise KeyboardInterrupt


@contextmanager
def defer_interruptions(message: str) -> Iterator[Interruption]:
    """Let the first Ctrl-C or SIGTERM only be noted, for work that can stop without loss now and then.

    The next one interrupts at once. Of several processes each gets the signal, and they cannot wait for one another:
    there the first one interrupts already.

    Args:
        message: Printed when the first signal comes.
    """
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.requested or shares_work():
            raise KeyboardInterrupt
        interruption.requested = True
        console.print(message, markup=False)

    with _handling(note, signal.SIGINT, signal.SIGTERM):
        yield interruption


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    # Python runs signal handlers in its main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous_handler in previous.items():
            signal.signal(number, previous_handler)
