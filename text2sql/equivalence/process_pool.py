"""Runs tasks in worker processes that can be killed, and that cannot grow or compute without end.

Every worker is a Python process (`worker_process`) that reads one task per line from its standard input and writes one
answer per line, both as JSON objects. The system itself limits it, because code in C does not look at Python's clock:
address space by ``RLIMIT_AS``, processor time by an interval timer whose signal ends the process. The parent's clock on
the wall is the last resort, for a worker that sleeps. A task that is ended so costs its worker, not the run: a spare
that has already imported everything takes its place, and the task's answer says what happened.

Starting a worker takes longer than most tasks. So the workers of a run that came to its end wait for the next run with
the same function and limits, until the process ends or `close_pools` is called.

The processes are started as commands, not by `multiprocessing`: a forked child would inherit the parent's threads and
accelerator, and a spawned one would run the caller's script again.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Generic

from text2sql.engines.dialect import Dialect
from text2sql.engines.postgres_server import shared_server
from text2sql.equivalence.tasks import A, Protocol, T, Work, protocol, written
from text2sql.equivalence.worker import Lost, Worker, WorkersCannotStart

# Bytes by which a worker may grow. The sandbox stops a query at less; this is for what has no limit itself, such as
# SQLite's compiler, which puts in a common table expression anew wherever it is named.
MEMORY = 280 * 2**20
# Seconds on the wall for each of processor time before a worker is killed from outside: a busy machine is no fault of
# the task's.
_WALL = 4.0
_GRACE = 2.0
# A worker that dies without an evident reason may have been the victim of something else: once more, then no more.
_ATTEMPTS = 2

# Functions, with their limits, whose workers are kept: of a run that trains, those that judge and those that pay.
_KEPT = 3


def run_tasks(
    work: Work[T, A],
    tasks: Sequence[T],
    *,
    workers: int,
    seconds: float,
    memory: int = MEMORY,
    engines: Sequence[Dialect] = (),
) -> Iterator[tuple[int, A | Lost]]:
    """Has every task done by one of some worker processes.

    Args:
        work: What a worker does with a task, see `tasks.Work`.
        tasks: The tasks, of the type that it declares.
        workers: Processes.
        seconds: The processor time that a task may take; the worker is ended then.
        memory: Bytes by which a worker may grow.
        engines: The dialects whose engines each worker opens before its first task.

    Yields:
        The index of a task and its answer, as they are finished.

    Raises:
        WorkersCannotStart: A worker ended before it took a task, and so did the one after it.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(tasks)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, A | Lost] | WorkersCannotStart | None] = queue.SimpleQueue()
    stop = threading.Event()
    spoken = protocol(work)
    server = shared_server() if "postgres" in engines else ""
    arguments = (f"{work.__module__}:{work.__qualname__}", repr(seconds), str(memory), ",".join(engines), server)
    nursery = _POOLS.nursery(arguments)
    crew = [
        _Keeper(nursery, spoken, tasks, waiting, done, stop, seconds) for _ in range(max(1, min(workers, len(tasks))))
    ]
    for keeper in crew:
        keeper.start()
    running = len(crew)
    try:
        while running:
            answer = done.get()
            if answer is None:
                running -= 1
            elif isinstance(answer, WorkersCannotStart):
                raise answer
            else:
                yield answer
    finally:
        stop.set()
        for keeper in crew:
            keeper.end()
        # A run that is given up leaves nothing behind; one that came to its end, workers for the next.
        if running:
            nursery.close()
        else:
            _POOLS.keep(arguments, nursery)


def close_pools() -> None:
    """Ends the workers that wait for a next run; one that begins later starts its own."""
    _POOLS.close()


class _Pools:
    """The workers of earlier runs, by what they do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], _Nursery] = {}

    def nursery(self, arguments: tuple[str, ...]) -> _Nursery:
        """Workers for a run, those of an earlier one if they are not in use."""
        with self._lock:
            found = self._kept.pop(self._key(arguments), None)
        return found or _Nursery(arguments)

    def keep(self, arguments: tuple[str, ...], nursery: _Nursery) -> None:
        """Takes workers back; those that were used longest ago are ended where there are too many."""
        ended = []
        with self._lock:
            key = self._key(arguments)
            ended += [self._kept.pop(key)] if key in self._kept else []
            self._kept[key] = nursery
            while len(self._kept) > _KEPT:
                ended.append(self._kept.pop(next(iter(self._kept))))
        for other in ended:
            other.close()

    def close(self) -> None:
        with self._lock:
            ended, self._kept = list(self._kept.values()), {}
        for nursery in ended:
            nursery.close()

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


_POOLS = _Pools()
atexit.register(close_pools)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOLS.forget)


class _Nursery:
    """Starts workers, and has one ready before it is needed, so that losing one costs the next task little."""

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


class _Keeper(threading.Thread, Generic[T, A]):
    """Feeds one worker, and replaces it when it is lost."""

    def __init__(
        self,
        nursery: _Nursery,
        spoken: Protocol[T, A],
        tasks: Sequence[T],
        waiting: queue.SimpleQueue[int],
        done: queue.SimpleQueue[tuple[int, A | Lost] | WorkersCannotStart | None],
        stop: threading.Event,
        seconds: float,
    ) -> None:
        super().__init__(daemon=True)
        self._spoken = spoken
        self._nursery, self._tasks, self._waiting, self._done = nursery, tasks, waiting, done
        self._stop_event, self._seconds = stop, _WALL * seconds + _GRACE
        self._worker: Worker | None = None

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                try:
                    index = self._waiting.get_nowait()
                except queue.Empty:
                    break
                self._done.put((index, self._carry_out(self._tasks[index])))
                if not self._waiting.empty():
                    self._nursery.prepare()
            worker, self._worker = self._worker, None
            if worker is not None:
                self._nursery.give_back(worker)
        except WorkersCannotStart as error:
            self._done.put(error)
        finally:
            self.end()
            self._done.put(None)

    def end(self) -> None:
        """Kills the worker; safe from any thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _carry_out(self, task: T) -> A | Lost:
        reason = ""
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._ask(task)
            except WorkersCannotStart:
                self.end()
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            if not isinstance(answer, Lost) or answer.kind == "timeout":
                return answer
            if self._stop_event.is_set():
                return Lost("stopped", "it was stopped")
            reason = answer.reason
        return Lost("died", f"the worker died on it ({reason})")

    def _ask(self, task: T) -> A | Lost:
        try:
            worker = self._worker = self._worker or self._nursery.take()
        except OSError as error:
            raise WorkersCannotStart(str(error)) from error
        if self._stop_event.is_set():
            self.end()
            return Lost("stopped", "it was stopped")
        reply = worker.ask(written(task), self._seconds)
        if isinstance(reply, Lost) or reply["retires"] or worker.overdue:
            self.end()
        return reply if isinstance(reply, Lost) else self._spoken.read_answer(reply["answer"])


__all__ = ["MEMORY", "Lost", "WorkersCannotStart", "close_pools", "run_tasks"]
