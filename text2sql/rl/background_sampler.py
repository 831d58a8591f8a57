"""Sampling for later steps in a background thread, while the step before them is learnt from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue


class BackgroundSampler:
    """Does the sampling of later steps, one step after another, in a thread of its own.

    The thread waits for a sampler most of the time. One step's calls are all made before the next step's, so that a
    sampler that decodes calls together has the same ones together every time.
    """

    def __init__(self) -> None:
        self._futures: dict[int, Future[None]] = {}
        # None ends the thread.
        self._queue: SimpleQueue[tuple[Future[None], Callable[[], None]] | None] = SimpleQueue()
        # A process that ends does not wait for it: what is missing then is sampled again.
        self._thread = threading.Thread(target=self._run, name="sampling ahead", daemon=True)

    def submit(self, step: int, work: Callable[[], None]) -> None:
        """Have the work for a step done; a second call for the same step does nothing."""
        if step in self._futures:
            return
        if not self._thread.is_alive():
            self._thread.start()
        future: Future[None] = Future()
        self._futures[step] = future
        self._queue.put((future, work))

    def finish(self, step: int) -> None:
        """Wait for the work for a step, if there is any; raises what it raised."""
        if future := self._futures.pop(step, None):
            future.result()

    def settle(self) -> None:
        """Wait for all work that has been submitted; what it raised is raised when its step is finished."""
        wait(self._futures.values())

    def close(self) -> None:
        """Begin no more work, and wait for none."""
        for future in self._futures.values():
            future.cancel()
        self._queue.put(None)

    def _run(self) -> None:
        while item := self._queue.get():
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
