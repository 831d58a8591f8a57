"""Executors for the tests of `text2sql.equivalence.processes.executors`: functions that a path names."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor


def processes() -> Executor:
    """Two processes of their own, each as a machine of a cluster would be."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def threads() -> Executor:
    """Two threads of this process."""
    return ThreadPoolExecutor(2)


class Altered(ThreadPoolExecutor):
    """Changes what arrives, or does not let it arrive.

    Attributes:
        opened: How many there have been.
        sent: Texts that were submitted.
        alter: Makes the text that arrives out of the text and the number of times that it has been sent.
    """

    opened = 0
    sent: list[str] = []  # noqa: RUF012
    alter: Callable[[str, int], str] = staticmethod(lambda text, times: text)

    def __init__(self) -> None:
        super().__init__(2)
        Altered.opened += 1

    def submit(self, function: Callable[[str], str], text: str, /) -> Future[str]:  # type: ignore[override]
        """Calls the function with the altered text."""
        Altered.sent.append(text)
        times = Altered.sent.count(text)
        return super().submit(lambda: function(Altered.alter(text, times)))


def altered() -> Executor:
    """See `Altered`."""
    return Altered()


class Idle:
    """Never does anything.

    Attributes:
        given: The futures that it gave.
    """

    given: list[Future[str]] = []  # noqa: RUF012

    def submit(self, function: Callable[[str], str], text: str) -> Future[str]:
        """A future that is answered once, for the first batch, and never after."""
        future: Future[str] = Future()
        if not Idle.given:
            future.set_result(function(text))
        Idle.given.append(future)
        return future


def idle() -> Idle:
    """See `Idle`."""
    return Idle()


def no_executor() -> dict[str, int]:
    """Something else."""
    return json.loads("{}")


def unreachable() -> Executor:
    """A cluster that does not answer."""
    raise ConnectionError("nobody at 127.0.0.1:1")
