"""Runs tasks in worker processes that can be killed, and that cannot grow or compute without end.

Every worker is a Python process that reads one task per line from its standard input and writes one answer per line,
both as JSON objects. The system itself limits it, because code in C does not look at Python's clock: address space by
``RLIMIT_AS``, processor time by an interval timer whose signal ends the process. The parent's clock on the wall is the
last resort, for a worker that sleeps. A task that is ended so costs its worker, not the run: a spare that has
already imported everything takes its place, and the task's answer says what happened.

The processes are started as commands, not by `multiprocessing`: a forked child would inherit the parent's threads and
accelerator, and a spawned one would run the caller's script again.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from text2sql.sql.sandbox import PROCESS

# Bytes by which a worker may grow. The sandbox stops a query at less; this is for what has no limit itself, such as
# SQLite's compiler, which puts in a common table expression anew wherever it is named.
MEMORY = 280 * 2**20
# Seconds on the wall for each of processor time before a worker is killed from outside: a busy machine is no fault of
# the task's.
_WALL = 4.0
_GRACE = 2.0
# Seconds for a worker to import what it needs, on a machine that does much else.
_START = 60.0
# A worker that dies without an evident reason may have been the victim of something else: once more, then no more.
_ATTEMPTS = 2
_COMMAND = "from text2sql.equivalence.process_pool import serve; serve()"

Task = dict[str, Any]
Work = Callable[[Task], Task]


@dataclass(frozen=True)
class Lost:
    """A task without an answer: its worker was killed for taking too long, died by itself, or nobody waits any more."""

    kind: Literal["timeout", "died", "stopped"]
    reason: str


def run_tasks(
    work: Work, tasks: Sequence[Task], *, workers: int, seconds: float, memory: int = MEMORY
) -> Iterator[tuple[int, Task | Lost]]:
    """Has every task done by one of some worker processes.

    Args:
        work: What a worker does with a task. A function at the top level of a module, because the worker imports it.
        tasks: The tasks, as JSON can write them.
        workers: Processes.
        seconds: The processor time that a task may take; the worker is ended then.
        memory: Bytes by which a worker may grow.

    Yields:
        The index of a task and its answer, as they are finished.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(tasks)):
        waiting.put(index)
    done: queue.SimpleQueue[tuple[int, Task | Lost] | None] = queue.SimpleQueue()
    stop = threading.Event()
    nursery = _Nursery([f"{work.__module__}:{work.__qualname__}", repr(seconds), str(memory)])
    crew = [_Keeper(nursery, tasks, waiting, done, stop, seconds) for _ in range(max(1, min(workers, len(tasks))))]
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
        nursery.close()


class _Worker:
    """One worker process.

    Attributes:
        overdue: Whether it was killed for not answering in time, be it that the answer came at that very moment.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        # The worker must find this very package, however the parent found it.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._ready = False
        self.overdue = False

    def ask(self, task: Task, seconds: float) -> Task | Lost:
        """Sends a task and waits for the answer, at most so long on the wall."""
        if not self._ready:
            begun = self._exchange(None, _START)
            if isinstance(begun, Lost):
                return Lost("died", begun.reason)
            self._ready = True
        return self._exchange(task, seconds)

    def _exchange(self, task: Task | None, seconds: float) -> Task | Lost:
        """Sends a task, if there is one, and reads one line."""
        watchdog = threading.Timer(seconds, self._kill_overdue)
        watchdog.daemon = True
        watchdog.start()
        assert self._process.stdin and self._process.stdout
        try:
            if task is not None:
                self._process.stdin.write(json.dumps(task) + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            watchdog.cancel()
        if line.endswith("\n"):
            answer: Task = json.loads(line)
            return answer
        self.close()
        ended = self._process.returncode
        if self.overdue or (hasattr(signal, "SIGPROF") and ended == -signal.SIGPROF):
            return Lost("timeout", "the worker did not answer within the time limit and was killed")
        return Lost("died", f"exit status {ended}")

    def _kill_overdue(self) -> None:
        self.overdue = True
        self._process.kill()

    def close(self) -> None:
        """Kills the process; safe from any thread, and more than once."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:
                # What was not yet sent to the dead cannot be sent any more.
                pass


class _Nursery:
    """Starts workers, and has one ready before it is needed, so that losing one costs the next task little."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()
        self._spare: _Worker | None = None
        self._closed = False

    def take(self) -> _Worker:
        """The spare, or a new worker where there is none.

        Raises:
            OSError: No process can be started.
        """
        with self._lock:
            spare, self._spare = self._spare, None
        return spare or _Worker(self._arguments)

    def prepare(self) -> None:
        """Starts a spare unless there is one."""
        with self._lock:
            if self._spare is None and not self._closed:
                try:
                    self._spare = _Worker(self._arguments)
                except OSError:
                    # Where no more processes can be had, the run goes on without a spare.
                    self._closed = True

    def close(self) -> None:
        """Ends the spare; no other is started."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()


class _Keeper(threading.Thread):
    """Feeds one worker, and replaces it when it is lost."""

    def __init__(
        self,
        nursery: _Nursery,
        tasks: Sequence[Task],
        waiting: queue.SimpleQueue[int],
        done: queue.SimpleQueue[tuple[int, Task | Lost] | None],
        stop: threading.Event,
        seconds: float,
    ) -> None:
        super().__init__(daemon=True)
        self._nursery, self._tasks, self._waiting, self._done = nursery, tasks, waiting, done
        self._stop_event, self._seconds = stop, _WALL * seconds + _GRACE
        self._worker: _Worker | None = None

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
        finally:
            self.end()
            self._done.put(None)

    def end(self) -> None:
        """Kills the worker; safe from any thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _carry_out(self, task: Task) -> Task | Lost:
        reason = ""
        for _ in range(_ATTEMPTS):
            answer = self._ask(task)
            if not isinstance(answer, Lost) or answer.kind == "timeout":
                return answer
            if self._stop_event.is_set():
                return Lost("stopped", "it was stopped")
            reason = answer.reason
        return Lost("died", f"the worker died on it ({reason})")

    def _ask(self, task: Task) -> Task | Lost:
        try:
            worker = self._worker = self._worker or self._nursery.take()
        except OSError as error:
            return Lost("died", f"it cannot be started: {error}")
        if self._stop_event.is_set():
            self.end()
            return Lost("stopped", "it was stopped")
        reply = worker.ask(task, self._seconds)
        if isinstance(reply, Lost) or reply["retires"] or worker.overdue:
            self.end()
        return reply if isinstance(reply, Lost) else reply["answer"]


def serve() -> None:
    """The worker's loop: one task per line in, one answer per line out, until the input ends.

    Its command line names the function (``module:name``), the seconds of a task and the bytes it may grow by.
    """
    name, seconds, memory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    module, _, function = name.partition(":")
    work: Work = getattr(import_module(module), function)
    begun = _address_space()
    _limit_memory(begun + memory if begun else 0)
    _limit_sqlite(memory * 3 // 4)
    PROCESS.limited = True
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        _limit_processor(seconds)
        answer = work(json.loads(line))
        _limit_processor(0)
        # The limit is on what was there at the start and the growth: memory that did not come back would be missing
        # from the next task's share.
        retires = _address_space() > begun + memory // 2
        answers.write(json.dumps({"answer": answer, "retires": retires}) + "\n")
        answers.flush()


def _address_space() -> int:
    """Bytes of address space that the process has, 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _limit_memory(limit: int) -> None:
    """Limits the process's address space where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _limit_sqlite(limit: int) -> None:
    """Limits SQLite's own memory, in all of the process and for good: it then reports what it cannot have."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"PRAGMA hard_heap_limit = {limit}")


def _limit_processor(seconds: float) -> None:
    """Has the system end the process once it has computed for so long; 0 takes the limit back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


__all__ = ["MEMORY", "Lost", "Task", "Work", "run_tasks", "serve"]
