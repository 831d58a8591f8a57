"""Workers that are ready before they are needed, and kept from one run to the next.

Starting a worker takes longer than most tasks. So the workers of a run that came to its end wait for the next run with
the same function and limits, until the process ends or `close_pools` is called.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Sequence

from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.postgres_server import shared_server_url
from text2sql.equivalence.processes.worker import Worker

# Functions, with their limits, whose workers are kept: of a run that trains, those that judge and those that pay.
_KEPT = 3


def worker_arguments(work: str, seconds: float, memory: int, engines: Sequence[Dialect]) -> tuple[str, ...]:
    """The command line of a worker, see `worker_process.serve`.

    Args:
        work: What it does with a task, as ``module:function``.
        seconds: The processor time that a task may take.
        memory: Bytes by which the worker may grow.
        engines: The dialects whose engines it opens.
    """
    server = shared_server_url() if "postgres" in engines else ""
    return (work, repr(seconds), str(memory), ",".join(engines), server)


class WarmWorkers:
    """Starts workers, and has one ready before it is needed, so that losing one costs the next task little.

    Args:
        arguments: Of `worker_arguments`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()
        self._spares: list[Worker] = []
        self._closed = False

    def take(self) -> Worker:
        """A spare, or a new worker where there is none.

        Raises:
            OSError: No process can be started.
        """
        while True:
            with self._lock:
                spare = self._spares.pop() if self._spares else None
            if spare is None:
                return Worker(self._arguments)
            if spare.alive:
                return spare
            spare.close()

    def prepare(self) -> None:
        """Starts a spare unless there is one."""
        with self._lock:
            if not self._spares and not self._closed:
                try:
                    self._spares.append(Worker(self._arguments))
                except OSError:
                    # Where no more processes can be had, the run goes on without a spare.
                    self._closed = True

    def give_back(self, worker: Worker) -> None:
        """Takes a worker that has nothing to do."""
        with self._lock:
            if not self._closed:
                self._spares.append(worker)
                return
        worker.close()

    def close(self) -> None:
        """Ends the spares; no other is started."""
        with self._lock:
            self._closed = True
            spares, self._spares = self._spares, []
        for spare in spares:
            spare.close()


class Pools:
    """The workers of earlier runs, by what they do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], WarmWorkers] = {}

    def warm(self, arguments: tuple[str, ...]) -> WarmWorkers:
        """Workers for a run, those of an earlier one if they are not in use; `keep` takes them back."""
        with self._lock:
            found = self._kept.pop(self._key(arguments), None)
        return found or WarmWorkers(arguments)

    def shared(self, arguments: tuple[str, ...]) -> WarmWorkers:
        """Workers that stay here while they are used, for several threads that do the same work."""
        key = self._key(arguments)
        with self._lock:
            found = self._kept.pop(key, None) or WarmWorkers(arguments)
            # Used last, it is ended last.
            self._kept[key] = found
            ended = self._too_many()
        _close(ended)
        return found

    def keep(self, arguments: tuple[str, ...], warm: WarmWorkers) -> None:
        """Takes workers back; those that were used longest ago are ended where there are too many."""
        key = self._key(arguments)
        with self._lock:
            ended = [self._kept.pop(key)] if key in self._kept else []
            self._kept[key] = warm
            ended += self._too_many()
        _close(ended)

    def _too_many(self) -> list[WarmWorkers]:
        ended = []
        while len(self._kept) > _KEPT:
            ended.append(self._kept.pop(next(iter(self._kept))))
        return ended

    def close(self) -> None:
        """Ends all workers that are not in use."""
        with self._lock:
            ended, self._kept = list(self._kept.values()), {}
        _close(ended)

    def forget(self) -> None:
        """Lets go of all workers without ending them: in a forked process they are its parent's."""
        self._lock, self._kept = threading.Lock(), {}

    @staticmethod
    def _key(arguments: tuple[str, ...]) -> tuple[str, ...]:
        # A worker looks for modules and for files where its parent did when it was started.
        try:
            here = os.getcwd()
        except OSError:
            here = ""
        return (*arguments, here, *sys.path)


def _close(ended: Sequence[WarmWorkers]) -> None:
    for warm in ended:
        warm.close()


POOLS = Pools()


def close_pools() -> None:
    """Ends the workers that wait for a next run; one that begins later starts its own."""
    POOLS.close()


atexit.register(close_pools)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOLS.forget)
