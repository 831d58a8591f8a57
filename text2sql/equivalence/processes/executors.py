"""Tasks done on other machines: by Ray, or by any executor with the interface of `concurrent.futures`.

Tasks travel in batches, as text. Where a batch arrives, `run_batch` has it done by a worker process of that machine,
with the limits that the local pool has: what hangs or grows is killed there, and costs its task alone. What comes back
is JSON, so that nothing in an answer can be run here. The caller's machine keeps the cache of verdicts.

An executor is named ``ray``, or by the path of a function without arguments, ``package.module:function``, that returns
one: an object whose ``submit(function, text)`` gives a `concurrent.futures.Future`. Such are
`concurrent.futures.ProcessPoolExecutor`, Dask's ``Client(...).get_executor()`` and ``mpi4py.futures.MPIPoolExecutor``.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Protocol

from backends.extras import missing_package
from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine import engine_versions
from text2sql.equivalence.processes.supervisor import Supervisor
from text2sql.equivalence.processes.tasks import A, T, Work, task_codec, to_json, work_name
from text2sql.equivalence.processes.worker import Lost
from text2sql.equivalence.processes.worker_pools import POOL_CACHE, worker_arguments
from text2sql.equivalence.verdict_cache import evaluator_version
from text2sql.errors import UserError
from text2sql.functions import find_function

RAY = "ray"
# What a lost machine costs is one batch: larger ones would repeat more, smaller ones cost more messages.
_MAX_BATCH_TASKS = 8
# Batches that a run with few tasks is cut into, so that many machines have something to do.
_MIN_BATCHES = 128
# Batches that the executor holds: it queues what its machines cannot do yet.
_MAX_BATCHES_IN_FLIGHT = 1024
# A batch whose machine is lost is sent once more.
_MAX_ATTEMPTS = 2


class Executor(Protocol):
    """What has a function called somewhere else; `concurrent.futures.Executor` has more."""

    def submit(self, function: Callable[[str], str], text: str, /) -> Future[str]:
        """Calls an importable function with a text on any machine."""
        ...


class ExecutorFails(UserError):
    """Other machines do not do what they were asked for; nothing is wrong with a task."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"evaluation.workers: {name} cannot judge: {reason}. What was judged before is kept where it was going to "
            "be; when that is mended, the same command goes on, and with evaluation.workers=2 on this machine."
        )


@dataclass(frozen=True)
class Batch:
    """What is sent to a machine.

    Attributes:
        work: The function that a worker does tasks with, ``module:function``.
        seconds: The processor time that a task may take.
        memory: Bytes by which a worker may grow.
        engines: The engines that the tasks need, by dialect, each with the version that the asking machine has.
        evaluator: The asking machine's `evaluator_version`.
        files: The database files of the tasks, with the size of each.
        tasks: The tasks as JSON has them.
    """

    work: str
    seconds: float
    memory: int
    engines: dict[Dialect, str]
    evaluator: str
    files: dict[str, int]
    tasks: list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """What a machine sends back.

    Attributes:
        refusal: Why it does none of the tasks; empty if it does.
        answers: For each task, ``answer`` with the answer as JSON has it, or ``lost`` with the fields of `Lost`.
    """

    refusal: str = ""
    answers: tuple[tuple[Literal["answer", "lost"], Any], ...] = ()


class _Slice(NamedTuple):
    """Some of a run's tasks, which travel together.

    Attributes:
        indices: Of the tasks.
        attempt: 1 when they are first sent.
    """

    indices: range
    attempt: int = 1


def run_elsewhere(
    name: str,
    work: Work[T, A],
    tasks: Sequence[T],
    *,
    seconds: float,
    memory: int,
    engines: Sequence[Dialect],
) -> Iterator[tuple[int, A | Lost]]:
    """Has every task done through an executor; arguments and what is yielded are those of `process_pool.run_tasks`.

    Args:
        name: The executor's.
        work: What a worker does with a task.
        tasks: The tasks.
        seconds: The processor time that a task may take.
        memory: Bytes by which a worker may grow.
        engines: The dialects whose engines each worker opens.

    Raises:
        ExecutorFails: It cannot be opened, a machine refuses, or the same batch was lost twice.
    """
    if not tasks:
        return
    executor, codec = open_executor(name), task_codec(work)
    versions = engine_versions(engines)

    def send(indices: range) -> Future[str]:
        messages = [to_json(tasks[index]) for index in indices]
        files = _database_sizes(messages)
        batch = Batch(work_name(work), seconds, memory, versions, evaluator_version(), files, messages)
        try:
            return executor.submit(run_batch, json.dumps(asdict(batch)))
        # Executors fail in ways of their own.
        except Exception as error:
            raise ExecutorFails(name, f"it takes no work ({_describe_error(error)})") from error

    waiting = _slices(len(tasks))
    done: queue.SimpleQueue[tuple[Future[str], _Slice]] = queue.SimpleQueue()
    in_flight: set[Future[str]] = set()
    try:
        while waiting or in_flight:
            while waiting and len(in_flight) < _MAX_BATCHES_IN_FLIGHT:
                part = waiting.pop()
                future = send(part.indices)
                in_flight.add(future)
                future.add_done_callback(lambda ended, sent=part: done.put((ended, sent)))  # type: ignore[misc]
            future, part = done.get()
            in_flight.remove(future)
            reply = _read_reply(name, future, part)
            if reply is None:
                waiting.append(part._replace(attempt=part.attempt + 1))
                continue
            for index, (kind, content) in zip(part.indices, reply.answers, strict=True):
                yield index, Lost(**content) if kind == "lost" else codec.read_answer(content)
    except ExecutorFails:
        # One that has broken is not used again.
        close_executor(name)
        raise
    finally:
        for future in in_flight:
            future.cancel()


def _slices(tasks: int) -> list[_Slice]:
    """All tasks in slices, the first of them last."""
    size = max(1, min(_MAX_BATCH_TASKS, tasks // _MIN_BATCHES))
    return [_Slice(range(start, min(start + size, tasks))) for start in range(0, tasks, size)][::-1]


def _read_reply(name: str, future: Future[str], part: _Slice) -> Reply | None:
    """What a machine answered; None if it was lost, and the batch is to be sent once more.

    Raises:
        ExecutorFails: The machine refuses, or the batch was lost before.
    """
    try:
        reply = Reply(**json.loads(future.result()))
    # The machine is gone, or the executor's process on it.
    except Exception as error:
        if part.attempt == _MAX_ATTEMPTS:
            raise ExecutorFails(name, f"the same pairs were lost twice ({_describe_error(error)})") from error
        return None
    if reply.refusal:
        raise ExecutorFails(name, reply.refusal)
    return reply


def run_batch(text: str) -> str:
    """What another machine does with a `Batch`: has its tasks done by its own worker, and answers a `Reply`."""
    batch = Batch(**json.loads(text))
    try:
        if refusal := _refusal(batch):
            return json.dumps(asdict(Reply(refusal)))
        arguments = worker_arguments(batch.work, batch.seconds, batch.memory, list(batch.engines))
        supervisor = Supervisor(POOL_CACHE.shared(arguments), batch.seconds)
        answers: list[tuple[Literal["answer", "lost"], Any]] = []
        try:
            for task in batch.tasks:
                answer = supervisor.run_task(task)
                answers.append(("lost", asdict(answer)) if isinstance(answer, Lost) else ("answer", answer))
        except BaseException:
            # An executor interrupts what is cancelled: a worker that still owes an answer would give it to the next.
            supervisor.kill()
            raise
        supervisor.release()
    except UserError as error:
        return json.dumps(asdict(Reply(str(error))))
    return json.dumps(asdict(Reply(answers=tuple(answers))))


def _refusal(batch: Batch) -> str:
    """Why this machine would find other verdicts than the one that asks; empty if it would not.

    Raises:
        EngineMissing: An engine cannot be had here.
    """
    here = f"the machine {os.uname().nodename}" if hasattr(os, "uname") else "a machine"
    if evaluator_version() != batch.evaluator:
        return f"{here} has another version of text2sql, of SQLite or of sqlglot; install the same on all"
    for dialect, version in engine_versions(list(batch.engines)).items():
        if version != batch.engines[dialect]:
            return f"{here} has {version}, and this one {batch.engines[dialect]}; take one version on all"
    for path, size in batch.files.items():
        if not os.path.isfile(path) or os.path.getsize(path) != size:
            return f"{here} does not have the database {path} of this one; put it where all machines read it"
    return ""


def _database_sizes(tasks: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The database files that tasks name and that are there, with their sizes."""
    paths = {path for task in tasks for path in (task.get("database"), *(task.get("databases") or ())) if path}
    return {path: os.path.getsize(path) for path in sorted(paths) if os.path.isfile(path)}


def _describe_error(error: BaseException) -> str:
    """The error's type, and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")


# An executor is opened once for all runs of a process.
_OPEN: dict[str, Executor] = {}
_OPEN_LOCK = threading.Lock()


def check_executor(name: str) -> None:
    """Checks that an executor can be opened, without opening it.

    Raises:
        UserError: It cannot.
    """
    if name == RAY:
        if find_spec("ray") is None:
            raise UserError(_NO_RAY)
        return
    try:
        find_function(name)
    # Importing somebody's module can fail in any way.
    except Exception as error:
        raise UserError(
            f"evaluation.workers: {name} names no function that can be imported ({_describe_error(error)}). It takes a "
            'number of processes, "ray", or the path package.module:function of a function that returns an executor.'
        ) from error


def open_executor(name: str) -> Executor:
    """The executor of a name, opened on the first call and kept.

    Raises:
        UserError: It cannot be opened.
    """
    with _OPEN_LOCK:
        if name not in _OPEN:
            check_executor(name)
            try:
                _OPEN[name] = _open(name)
            except UserError:
                raise
            # Clusters refuse in ways of their own.
            except Exception as error:
                raise ExecutorFails(name, f"it cannot be opened ({_describe_error(error)})") from error
        return _OPEN[name]


def _open(name: str) -> Executor:
    if name == RAY:
        from text2sql.equivalence.processes.ray_executor import RayExecutor

        return RayExecutor()
    executor: Executor = find_function(name)()
    if not hasattr(executor, "submit"):
        raise ExecutorFails(name, f"it returned {type(executor).__name__}, which is no executor: it has no submit")
    return executor


def close_executor(name: str) -> None:
    """Lets go of an executor; the next run opens another."""
    with _OPEN_LOCK:
        executor = _OPEN.pop(name, None)
    # It may be what broke.
    with suppress(Exception):
        if executor is not None and hasattr(executor, "shutdown"):
            executor.shutdown(wait=False)


def _close_all() -> None:
    for name in list(_OPEN):
        close_executor(name)


atexit.register(_close_all)
_NO_RAY = missing_package(
    "evaluation.workers: ray", "ray", "ray", "set evaluation.workers to a number of processes of this machine"
)
