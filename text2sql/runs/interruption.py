"""Ctrl-C, and the signal with which a machine is taken back, as something that a run can heed.

Left to themselves, the one breaks off whatever is being done, and the other ends a process without a word.
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
def terminations_interrupt() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, which closes what is open and says what is kept; a second one ends at once."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    with _handling(interrupt, signal.SIGTERM):
        yield


class Interruption:
    """A request to stop, which the work heeds where nothing is lost.

    Attributes:
        requested: Whether it has been made.
    """

    def __init__(self) -> None:
        self.requested = False

    def raise_if_requested(self) -> None:
        """Raise KeyboardInterrupt if the request has been made."""
        if self.requested:
            raise KeyboardInterrupt


@contextmanager
def interruptions_wait(said: str) -> Iterator[Interruption]:
    """Make a request of the first Ctrl-C or SIGTERM, for work that can stop without loss now and then.

    The next one interrupts at once. Of several processes each gets the signal, and they cannot wait for one another:
    there the first one interrupts already.

    Args:
        said: What to tell whoever asks, in a sentence.
    """
    interruption = Interruption()

    def request(number: int, frame: FrameType | None) -> None:
        if interruption.requested or shares_work():
            raise KeyboardInterrupt
        interruption.requested = True
        console.print(said, markup=False)

    with _handling(request, signal.SIGINT, signal.SIGTERM):
        yield interruption


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    # Python hears signals in its first thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)
