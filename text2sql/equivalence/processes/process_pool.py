"""Runs tasks in worker processes that can be killed, and that cannot grow or compute without end.

Every worker is a Python process (`worker_process`) that reads one task per line from its standard input and writes one
answer per line, both as JSON objects. The system itself limits it, because code in C does not look at Python's clock:
address space by ``RLIMIT_AS``, processor time by an interval timer whose signal ends the process. The parent's clock on
the wall is the last resort, for a worker that sleeps. A task that is ended so costs its worker, not the run: a spare
that has already imported everything takes its place, and the task's answer says what happened.

The processes are started as commands, not by `multiprocessing`: a forked child would inherit the parent's threads and
accelerator, and a spawned one would run the caller's script again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Generic

from text2sql.engines.dialect import Dialect
from text2sql.equivalence.processes.supervisor import Supervisor
from text2sql.equivalence.processes.tasks import A, Protocol, T, Work, protocol, work_name, written
from text2sql.equivalence.processes.worker import Lost, WorkersCannotStart
from text2sql.equivalence.processes.worker_pools import POOLS, WarmWorkers, close_pools, worker_arguments

# Bytes by which a worker may grow. The sandbox stops a query at less; this is for what has no limit itself, such as
# SQLite's compiler, which puts in a common table expression anew wherever it is named.
MEMORY = 280 * 2**20

# Processes on this machine, or the name of an executor: see `executors`.
Workers = int | str


def run_tasks(
    work: Work[T, A],
    tasks: Sequence[T],
    *,
    workers: Workers,
    seconds: float,
    memory: int = MEMORY,
    engines: Sequence[Dialect] = (),
) -> Iterator[tuple[int, A | Lost]]:
    """Has every task done by one of some worker processes.

    Args:
        work: What a worker does with a task, see `tasks.Work`.
        tasks: The tasks, of the type that it declares.
        workers: Processes on this machine, or the name of an executor whose machines do the tasks (`executors`).
        seconds: The processor time that a task may take; the worker is ended then.
        memory: Bytes by which a worker may grow.
        engines: The dialects whose engines each worker opens before its first task.

    Yields:
        The index of a task and its answer, as they are finished.

    Raises:
        WorkersCannotStart: A worker ended before it took a task, and so did the one after it.
        UserError: The executor cannot be had, or cannot be used.
    """
    if isinstance(workers, str):
        from text2sql.equivalence.processes.executors import run_elsewhere

        yield from run_elsewhere(workers, work, tasks, seconds=seconds, memory=memory, engines=engines)
        return
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(tasks)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, A | Lost] | WorkersCannotStart | None] = queue.SimpleQueue()
    stop = threading.Event()
    spoken = protocol(work)
    arguments = worker_arguments(work_name(work), seconds, memory, engines)
    warm = POOLS.warm(arguments)
    crew = [_Keeper(warm, spoken, tasks, waiting, done, stop, seconds) for _ in range(max(1, min(workers, len(tasks))))]
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
            warm.close()
        else:
            POOLS.keep(arguments, warm)


class _Keeper(threading.Thread, Generic[T, A]):
    """Feeds one worker until nothing waits."""

    def __init__(
        self,
        warm: WarmWorkers,
        spoken: Protocol[T, A],
        tasks: Sequence[T],
        waiting: queue.SimpleQueue[int],
        done: queue.SimpleQueue[tuple[int, A | Lost] | WorkersCannotStart | None],
        stop: threading.Event,
        seconds: float,
    ) -> None:
        super().__init__(daemon=True)
        self._spoken = spoken
        self._warm, self._tasks, self._waiting, self._done = warm, tasks, waiting, done
        self._stop_event = stop
        self._supervisor = Supervisor(warm, seconds, stop)

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                try:
                    index = self._waiting.get_nowait()
                except queue.Empty:
                    break
                answer = self._supervisor.carry_out(written(self._tasks[index]))
                self._done.put((index, answer if isinstance(answer, Lost) else self._spoken.read_answer(answer)))
                if not self._waiting.empty():
                    self._warm.prepare()
            self._supervisor.rest()
        except WorkersCannotStart as error:
            self._done.put(error)
        finally:
            self.end()
            self._done.put(None)

    def end(self) -> None:
        """Kills the worker; safe from any thread."""
        self._supervisor.end()


__all__ = ["MEMORY", "Lost", "Workers", "WorkersCannotStart", "close_pools", "run_tasks"]
