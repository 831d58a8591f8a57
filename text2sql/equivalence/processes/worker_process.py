"""A worker process: does one task after the other, within limits that the system keeps; see `process_pool`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any

from text2sql.equivalence.processes.tasks import Work, task_codec, to_json
from text2sql.sql.sandbox import PROCESS


def serve() -> None:
    """The worker's loop: one task per line in, one answer per line out, until the input ends.

    Its command line names the function (``module:name``), the seconds of a task, the bytes it may grow by, the dialects
    of engines to open, and the server of its parent if there is one.
    """
    name, seconds, memory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    engines = [dialect for dialect in sys.argv[4].split(",") if dialect]
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    module, _, function = name.partition(":")
    work: Work[Any, Any] = getattr(import_module(module), function)
    codec = task_codec(work)
    if engines:
        _open_engines(engines, *sys.argv[5:])
    initial = _address_space()
    _limit_memory(initial + memory if initial else 0)
    _limit_sqlite(memory * 3 // 4)
    PROCESS.limited = True
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        _limit_cpu(seconds)
        answer = to_json(work(codec.read_task(json.loads(line))))
        _limit_cpu(0)
        # The limit is on what was there at the start and the growth: memory that did not come back would be missing
        # from the next task's share.
        retires = _address_space() > initial + memory // 2
        answers.write(json.dumps({"answer": answer, "retires": retires}) + "\n")
        answers.flush()


def _open_engines(dialects: list[str], server: str = "") -> None:
    """Opens engines before memory is limited: they take theirs once."""
    from text2sql.engines.dialect import dialect_named
    from text2sql.engines.sandbox.engine import open_engine
    from text2sql.engines.sandbox.postgres_server import set_parent_server

    if server:
        set_parent_server(server)
    for name in dialects:
        dialect = dialect_named(name)
        assert dialect is not None
        open_engine(dialect)


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


def _limit_cpu(seconds: float) -> None:
    """Has the system end the process once it has computed for so long; 0 takes the limit back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


@contextmanager
def exclude_from_cpu_limit() -> Iterator[None]:
    """Does not count what is done inside against a task's processor time: libraries that its first use loads."""
    if not PROCESS.limited or not hasattr(signal, "setitimer"):
        yield
        return
    remaining, _ = signal.setitimer(signal.ITIMER_PROF, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, remaining)
