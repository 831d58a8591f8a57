"""One thread owns the device; every verb is a job in its queue, and its answer is a Tinker future."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import tinker
from tinker.types import RequestErrorCategory

from backends.interface import BackendError

T = TypeVar("T")


class LocalFuture(tinker.APIFuture[T], Generic[T]):
    """A `tinker.APIFuture` over a `concurrent.futures.Future`.

    Args:
        future: The pending result.
        before_wait: Called when somebody starts to wait; a sampling client uses it to stop collecting a batch.
    """

    def __init__(self, future: Future[T], before_wait: Callable[[], None] | None = None) -> None:
        self._future = future
        self._before_wait = before_wait

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result, at most `timeout` seconds."""
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


class Executor:
    """Runs jobs one at a time, in the order of submission, on a thread of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text2sql-device")
        self._closing = threading.Event()

    def submit(self, job: Callable[..., T], *args: Any) -> LocalFuture[T]:
        """Queue `job(*args)`; what it raises comes out of the future, in the SDK's terms."""
        return LocalFuture(self._pool.submit(self._run, job, *args))

    def _run(self, job: Callable[..., T], *args: Any) -> T:
        self.check()
        try:
            return job(*args)
        except (BackendError, ValueError, tinker.TinkerError):
            raise
        except Exception as error:  # anything else is a fault of the backend, reported as the service reports its own
            message = f"{type(error).__name__}: {error}"
            raise tinker.RequestFailedError(message, "local", RequestErrorCategory.Server) from error

    def check(self) -> None:
        """Raise if the backend is closing; long jobs call it between their steps."""
        if self._closing.is_set():
            raise tinker.TinkerError("The backend was closed before this call was finished.")

    def close(self) -> None:
        """Cancel what is queued, ask the running job to stop, and wait for it."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
