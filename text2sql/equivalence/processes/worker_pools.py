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

# Pools that are kept, each for one function with its limits: of a run that trains, those of verdicts and of rewards.
_MAX_KEPT_POOLS = 3


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


class WorkerPool:
    """Workers with one command line; has a spare ready before it is needed, so that losing one costs little.

    Args:
        arguments: Of `worker_arguments`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()
        self._spares: list[Worker] = []
        self._closed = False

    def checkout(self) -> Worker:
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

    def start_spare(self) -> None:
        """Starts a spare unless there is one."""
        with self._lock:
            if not self._spares and not self._closed:
                try:
                    self._spares.append(Worker(self._arguments))
                except OSError:
                    # Where no more processes can be had, the run goes on without a spare.
                    self._closed = True

    def checkin(self, worker: Worker) -> None:
        """Takes a worker back, which becomes a spare."""
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


class PoolCache:
    """The pools of earlier runs, by the command line of their workers, the least recently used first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, ...], WorkerPool] = {}

    def checkout(self, arguments: tuple[str, ...]) -> WorkerPool:
        """A pool for one run, that of an earlier one if it is not in use; `checkin` takes it back."""
        with self._lock:
            pool = self._pools.pop(self._key(arguments), None)
        return pool or WorkerPool(arguments)

    def shared(self, arguments: tuple[str, ...]) -> WorkerPool:
        """A pool that stays here while it is used, for several threads that do the same work."""
        key = self._key(arguments)
        with self._lock:
            pool = self._pools.pop(key, None) or WorkerPool(arguments)
            # Used last, it is evicted last.
            self._pools[key] = pool
            evicted = self._evict()
        _close(evicted)
        return pool

    def checkin(self, arguments: tuple[str, ...], pool: WorkerPool) -> None:
        """Takes a pool back; those that were used longest ago are closed where there are too many."""
        key = self._key(arguments)
        with self._lock:
            evicted = [self._pools.pop(key)] if key in self._pools else []
            self._pools[key] = pool
            evicted += self._evict()
        _close(evicted)

    def _evict(self) -> list[WorkerPool]:
        evicted = []
        while len(self._pools) > _MAX_KEPT_POOLS:
            evicted.append(self._pools.pop(next(iter(self._pools))))
        return evicted

    def close(self) -> None:
        """Closes all pools that are not in use."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        _close(pools)

    def forget(self) -> None:
        """Lets go of all pools without closing them: in a forked process their workers are its parent's."""
        self._lock, self._pools = threading.Lock(), {}

    @staticmethod
    def _key(arguments: tuple[str, ...]) -> tuple[str, ...]:
        # A worker looks for modules and for files where its parent did when it was started.
        try:
            directory = os.getcwd()
        except OSError:
            directory = ""
        return (*arguments, directory, *sys.path)


def _close(pools: Sequence[WorkerPool]) -> None:
    for pool in pools:
        pool.close()


POOL_CACHE = PoolCache()


def close_pools() -> None:
    """Ends the workers that wait for a next run; one that begins later starts its own."""
    POOL_CACHE.close()


atexit.register(close_pools)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL_CACHE.forget)
