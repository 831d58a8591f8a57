"""Runs tasks in worker processes that can be killed from outside.

Every worker is a Python process of its own that reads one task per line from its standard input and writes one answer
per line, both as JSON objects. A task that does not come back in time costs its worker, not the run: the worker is
killed, another is started, and the task's answer says so.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_GRACE = 5.0  # seconds beyond a task's own budget before its worker is killed
_START = 60.0  # seconds for a worker's first answer: it has to import first
_MEMORY = 4 * 2**30  # bytes of address space per worker, where the system can limit it
_ATTEMPTS = 2

Task = dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """A task without an answer: its worker was killed for taking too long, died by itself, or nobody waits any more."""

    kind: Literal["timeout", "died", "stopped"]
    reason: str


def run_tasks(
    command: str, tasks: Sequence[Task], *, workers: int, seconds: float
) -> Iterator[tuple[int, Task | Lost]]:
    """Has every task done by one of some worker processes.

    Args:
        command: Python source that a worker runs; it ends in a call of `serve`.
        tasks: The tasks.
        workers: Processes.
        seconds: The time that a task may take; its worker is killed some seconds later.

    Yields:
        The index of a task and its answer, as they are finished.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(tasks)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, Task | Lost] | None] = queue.SimpleQueue()
    stop = threading.Event()
    crew = [_Keeper(command, tasks, waiting, done, stop, seconds) for _ in range(max(1, min(workers, len(tasks))))]
    for keeper in crew:
        keeper.start()
    try:
        running = len(crew)
        while running:
            answer = done.get()
            if answer is None:
                running -= 1
            else:
                yield answer
    finally:
        stop.set()
        for keeper in crew:
            keeper.end()


class _Keeper(threading.Thread):
    """Feeds one worker process, watches the clock, and replaces the worker when it dies."""

    def __init__(
        self,
        command: str,
        tasks: Sequence[Task],
        waiting: queue.SimpleQueue[int],
        done: queue.SimpleQueue[tuple[int, Task | Lost] | None],
        stop: threading.Event,
        seconds: float,
    ) -> None:
        super().__init__(daemon=True)
        self._command, self._tasks, self._waiting, self._done = command, tasks, waiting, done
        self._stop_event, self._seconds = stop, seconds
        self._worker: subprocess.Popen[str] | None = None
        self._fresh = True
        self._overdue = False

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                try:
                    index = self._waiting.get_nowait()
                except queue.Empty:
                    break
                self._done.put((index, self._carry_out(self._tasks[index])))
        finally:
            self.end()
            self._done.put(None)

    def end(self) -> None:
        """Kills the worker; safe from any thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()

    def _carry_out(self, task: Task) -> Task | Lost:
        reason = ""
        for _ in range(_ATTEMPTS):
            answer = self._ask(task)
            if answer is not None:
                return answer
            if self._stop_event.is_set():
                return Lost("stopped", "it was stopped")
            if self._overdue:
                return Lost("timeout", "the worker did not answer within the time limit and was killed")
            reason = self._epitaph
        return Lost("died", f"the worker died on it ({reason})")

    def _ask(self, task: Task) -> Task | None:
        """Sends a task to the worker; None if the worker died or had to be killed."""
        try:
            worker = self._worker or self._start_worker()
        except OSError as error:
            self._epitaph, self._overdue = f"it cannot be started: {error}", False
            return None
        self._overdue = False
        watchdog = threading.Timer(self._seconds + (_START if self._fresh else _GRACE), self._kill, (worker,))
        watchdog.start()
        try:
            assert worker.stdin and worker.stdout
            worker.stdin.write(json.dumps(task) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            watchdog.cancel()
        if line.endswith("\n"):
            self._fresh = False
            answer: Task = json.loads(line)
            return answer
        self.end()
        self._epitaph = f"exit status {worker.returncode}"
        return None

    def _kill(self, worker: subprocess.Popen[str]) -> None:
        self._overdue = True
        worker.kill()

    def _start_worker(self) -> subprocess.Popen[str]:
        # The worker must find this very package, however the parent found it.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._worker = subprocess.Popen(
            [sys.executable, "-c", self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._fresh = True
        return self._worker


def serve(carry_out: Callable[[Task], Task]) -> None:
    """The worker's loop: one task per line in, one answer per line out, until the input ends."""
    _limit_memory()
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for line in sys.stdin:
        answers.write(json.dumps(carry_out(json.loads(line))) + "\n")
        answers.flush()


def _limit_memory() -> None:
    """Caps the worker's memory where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


__all__ = ["Lost", "run_tasks", "serve"]
