"""One worker at a time: given tasks, killed where it breaks a limit, and replaced."""

from __future__ import annotations

import threading

from text2sql.equivalence.processes.worker import Lost, Worker, WorkersCannotStart
from text2sql.equivalence.processes.worker_pools import WorkerPool
from text2sql.sql.budget import WALL_FACTOR

# Seconds after the limit on the wall before a worker, which ends by itself there, is killed from outside.
_GRACE_SECONDS = 2.0
# A worker that dies without an evident reason may have been the victim of something else: its task is tried once more.
_MAX_ATTEMPTS = 2


class Supervisor:
    """Has a worker do tasks, and replaces it when it is lost.

    Tasks and answers are as JSON has them: see `tasks.TaskCodec`.

    Args:
        pool: Where workers come from.
        seconds: The processor time that a task may take.
        stop: Set when nobody waits for answers any more.
    """

    def __init__(self, pool: WorkerPool, seconds: float, stop: threading.Event | None = None) -> None:
        self._pool, self._wall_seconds = pool, WALL_FACTOR * seconds + _GRACE_SECONDS
        self._stop = stop or threading.Event()
        self._worker: Worker | None = None

    def run_task(self, task: dict[str, object]) -> object | Lost:
        """The answer to a task.

        Raises:
            WorkersCannotStart: A worker ended before it took the task, and so did the one after it.
        """
        reason = ""
        for attempt in range(_MAX_ATTEMPTS):
            try:
                answer = self._ask(task)
            except WorkersCannotStart:
                self.kill()
                if attempt + 1 == _MAX_ATTEMPTS:
                    raise
                continue
            if not isinstance(answer, Lost) or answer.kind == "timeout":
                return answer
            if self._stop.is_set():
                return Lost("stopped", "it was stopped")
            reason = answer.reason
        return Lost("died", f"the worker died on it ({reason})")

    def _ask(self, task: dict[str, object]) -> object | Lost:
        try:
            worker = self._worker = self._worker or self._pool.checkout()
        except OSError as error:
            raise WorkersCannotStart(str(error)) from error
        if self._stop.is_set():
            self.kill()
            return Lost("stopped", "it was stopped")
        reply = worker.ask(task, self._wall_seconds)
        if isinstance(reply, Lost) or reply["retires"] or worker.overdue:
            self.kill()
        return reply if isinstance(reply, Lost) else reply["answer"]

    def release(self) -> None:
        """Gives the worker back to the pool."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._pool.checkin(worker)

    def kill(self) -> None:
        """Kills the worker; safe from any thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
