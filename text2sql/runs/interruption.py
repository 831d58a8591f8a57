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


class Request:
    """Whether somebody has asked a piece of work to stop."""

    def __init__(self) -> None:
        self.made = False

    def heed(self) -> None:
        """Raise KeyboardInterrupt where somebody has asked: nothing is lost here."""
        if self.made:
            raise KeyboardInterrupt


@contextmanager
def interruptions_wait(said: str) -> Iterator[Request]:
    """Make a request of the first Ctrl-C or SIGTERM, for work that can stop without loss now and then.

    The next one interrupts at once. Of several processes each gets the signal, and they cannot wait for one another:
    there the first one interrupts already.

    Args:
        said: What to tell whoever asks, in a sentence.
    """
    request = Request()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.made or shares_work():
            raise KeyboardInterrupt
        request.made = True
        console.print(said, markup=False)

    with _handling(ask, signal.SIGINT, signal.SIGTERM):
        yield request


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
