"""One thread owns the device; every call of the API is a job in its queue, and returns a Tinker future."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple

import tinker
from tinker.types import RequestErrorCategory

from backends.interface import BackendError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
log = logging.getLogger("text2sql.local")
THREAD_NAME = "text2sql-device"


class BackendClosed(tinker.TinkerError):
    """A call that cannot be finished, since the backend is closing or closed."""

    def __init__(self, message: str = "The backend was closed before this call was finished.") -> None:
        super().__init__(message)


class LocalFuture(tinker.APIFuture[T], Generic[T]):
    """A `tinker.APIFuture` over a `concurrent.futures.Future`.

    Args:
        future: The pending result.
        before_wait: Called when somebody starts to wait; a sampling client then stops collecting a batch.
    """

    def __init__(self, future: Future[T], before_wait: Callable[[], None] | None = None) -> None:
        self._future = future
        self._before_wait = before_wait

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, at most `timeout` seconds (RuntimeError on the device thread, which would hang)."""
        if threading.current_thread().name.startswith(THREAD_NAME) and not self._future.done():
            raise RuntimeError("A result of this backend cannot be waited for inside a function that it is running.")
        if self._before_wait is not None:
            self._before_wait()
        return self._future.result(timeout)

    async def result_async(self, timeout: float | None = None) -> T:
        """Wait for the result without blocking the event loop."""
        if self._before_wait is not None:
            self._before_wait()
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(self._future)

    def future(self) -> Future[T]:
        """The underlying `concurrent.futures.Future`."""
        if self._before_wait is not None:
            self._before_wait()
        return self._future


class LocalClientFuture(LocalFuture[T]):
    """A future of a client that can also be used as the client, with a warning, as the SDK's can."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        warnings.warn(
            f"Using .{name} of the future that a client-creating call returns: call .result() on it first.",
            FutureWarning,
            stacklevel=2,
        )
        return getattr(self.result(), name)


def run_now(job: Callable[[*Ts], T], *args: *Ts) -> LocalFuture[T]:
    """Run `job(*args)` on this thread; returns a finished future with its result or its exception."""
    future: Future[T] = Future()
    try:
        future.set_result(job(*args))
    except Exception as error:
        future.set_exception(error)
    return LocalFuture(future)


class Executor:
    """Runs jobs one at a time, in the order of submission, on one thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=THREAD_NAME)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        # Held while a job runs.
        self._job_lock = threading.Lock()
        self._waiting = 0
        # To be done before the next job.
        self._tasks: deque[Callable[[], object]] = deque()

    @property
    def waiting(self) -> int:
        """Jobs that are queued behind the running one."""
        return self._waiting

    def submit(self, job: Callable[[*Ts], T], *args: *Ts) -> LocalFuture[T]:
        """Queue `job(*args)`; the future has its result, or its exception as the SDK would raise it."""
        return LocalFuture(self._queue(job, *args))

    def submit_client(self, job: Callable[[*Ts], T], *args: *Ts) -> LocalClientFuture[T]:
        """Queue a job that creates a client."""
        return LocalClientFuture(self._queue(job, *args))

    def before_next(self, task: Callable[[], object]) -> None:
        """Run a task before the next job. For finalizers, which may run anywhere: it takes no lock."""
        self._tasks.append(task)

    def _queue(self, job: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
        self._count(1)
        try:
            future = self._pool.submit(self._run, partial(job, *args))
        except RuntimeError as error:
            # The pool has been shut down.
            self._count(-1)
            raise BackendClosed() from error
        # A cancelled job never begins, so `_run` does not decrement the count.
        future.add_done_callback(lambda done: self._count(-done.cancelled()))
        return future

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change

    def _run(self, job: Callable[[], T]) -> T:
        self._count(-1)
        self.check()
        while self._tasks:
            try:
                self._tasks.popleft()()
            except Exception:
                # Nobody waits for the task, and it is not the job's failure.
                log.exception("tidying up failed")
        try:
            with self._job_lock:
                return job()
        except (BackendError, ValueError, tinker.TinkerError):
            raise
        except Exception as error:
            raise as_sdk_error(error) from error

    def check(self) -> None:
        """Raise BackendClosed if the backend is closing; long jobs call this between their steps."""
        if self._closing.is_set():
            raise BackendClosed()

    def stop(self) -> None:
        """Ask the running job to stop at its next step, and begin no other; returns at once."""
        self._closing.set()

    def close(self) -> None:
        """Cancel what is queued, ask the running job to stop, and wait for it."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        # Wait for the job before the thread is joined: when a join is interrupted (by another Ctrl-C), CPython 3.11
        # regards the thread as ended, and the interpreter would exit while PyTorch computes.
        with self._job_lock:
            pass
        self._pool.shutdown(wait=True)


def as_sdk_error(error: Exception) -> Exception:
    """An unexpected exception as the SDK's error: out of memory is for the user to fix, the rest is a server error."""
    from accelerate.utils.memory import should_reduce_batch_size

    out_of_memory = should_reduce_batch_size(error)
    category = RequestErrorCategory.User if out_of_memory else RequestErrorCategory.Server
    advice = " (out of memory: lower local.sample_batch_size or local.micro_batch_tokens)" if out_of_memory else ""
    return tinker.RequestFailedError(f"{type(error).__name__}: {error}{advice}", "local", category)
