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
from text2sql.equivalence.processes.tasks import A, T, TaskCodec, Work, task_codec, to_json, work_name
from text2sql.equivalence.processes.worker import Lost, WorkersCannotStart
from text2sql.equivalence.processes.worker_pools import POOL_CACHE, WorkerPool, close_pools, worker_arguments

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
    arguments = worker_arguments(work_name(work), seconds, memory, engines)
    pool = POOL_CACHE.checkout(arguments)
    job = _Job(tasks, task_codec(work), pool, seconds)
    feeders = [_FeederThread(job) for _ in range(max(1, min(workers, len(tasks))))]
    for feeder in feeders:
        feeder.start()
    running = len(feeders)
    try:
        while running:
            reply = job.replies.get()
            if reply is None:
                running -= 1
            elif isinstance(reply, WorkersCannotStart):
                raise reply
            else:
                yield reply
    finally:
        job.stop.set()
        for feeder in feeders:
            feeder.kill_worker()
        # A run that is given up leaves nothing behind; one that came to its end, workers for the next.
        if running:
            pool.close()
        else:
            POOL_CACHE.checkin(arguments, pool)


class _Job(Generic[T, A]):
    """What the threads of one run share.

    Args:
        tasks: The tasks.
        codec: Reads their answers.
        pool: Where workers come from.
        seconds: The processor time that a task may take.

    Attributes:
        waiting: The indices of tasks that no worker has yet.
        replies: The index of a task with its answer; an error that ends the run; None from a thread that has ended.
        stop: Set when nobody waits for answers any more.
    """

    def __init__(self, tasks: Sequence[T], codec: TaskCodec[T, A], pool: WorkerPool, seconds: float) -> None:
        self.tasks, self.codec, self.pool, self.seconds = tasks, codec, pool, seconds
        self.waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(tasks)):
            self.waiting.put(index)
        self.replies: queue.SimpleQueue[tuple[int, A | Lost] | WorkersCannotStart | None] = queue.SimpleQueue()
        self.stop = threading.Event()


class _FeederThread(threading.Thread, Generic[T, A]):
    """Feeds one worker until no task waits."""

    def __init__(self, job: _Job[T, A]) -> None:
        super().__init__(daemon=True)
        self._job = job
        self._supervisor = Supervisor(job.pool, job.seconds, job.stop)

    def run(self) -> None:
        job = self._job
        try:
            while not job.stop.is_set():
                try:
                    index = job.waiting.get_nowait()
                except queue.Empty:
                    break
                answer = self._supervisor.run_task(to_json(job.tasks[index]))
                job.replies.put((index, answer if isinstance(answer, Lost) else job.codec.read_answer(answer)))
                if not job.waiting.empty():
                    job.pool.start_spare()
            self._supervisor.release()
        except WorkersCannotStart as error:
            job.replies.put(error)
        finally:
            self.kill_worker()
            job.replies.put(None)

    def kill_worker(self) -> None:
        """Kills the worker; safe from any thread."""
        self._supervisor.kill()


__all__ = ["MEMORY", "Lost", "Workers", "WorkersCannotStart", "close_pools", "run_tasks"]
