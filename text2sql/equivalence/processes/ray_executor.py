"""Ray as an executor of `executors`: each batch is a Ray task on one processor of any node."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any


class RayExecutor:
    """Has functions called on the nodes of a Ray cluster.

    The cluster is the one that this process has joined, else that of ``$RAY_ADDRESS`` or of ``ray start`` on this
    machine; where there is none, Ray uses this machine alone. Ray keeps the processes that tasks ran in for those that
    follow, and with them their workers.

    Raises:
        ConnectionError: The cluster does not answer.
    """

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._joined = not ray.is_initialized()
        if self._joined:
            ray.init(log_to_driver=False, logging_level="ERROR")
        # What is lost is sent again by who sent it, so that it is counted.
        self._call = ray.remote(num_cpus=1, max_retries=0)(_call)

    def submit(self, function: Callable[[str], str], text: str, /) -> Future[str]:
        """Calls an importable function with a text on any node."""
        return _RayFuture(self._ray, self._call.remote(function, text))

    def shutdown(self, wait: bool = True) -> None:
        """Leaves the cluster, if this has joined it."""
        if self._joined and self._ray.is_initialized():
            self._ray.shutdown()


class _RayFuture(Future[str]):
    """A result of Ray's that can be cancelled."""

    def __init__(self, ray: Any, reference: Any) -> None:
        super().__init__()
        self._ray, self._reference = ray, reference
        reference.future().add_done_callback(self._settle)

    def _settle(self, done: Future[str]) -> None:
        # One that has been cancelled is settled.
        with suppress(InvalidStateError):
            if error := done.exception():
                self.set_exception(error)
            else:
                self.set_result(done.result())

    def cancel(self) -> bool:
        """Takes the task back; Ray interrupts one that is being done."""
        if not super().cancel():
            return False
        self._ray.cancel(self._reference, force=False)
        return True


def _call(function: Callable[[str], str], text: str) -> str:
    return function(text)
