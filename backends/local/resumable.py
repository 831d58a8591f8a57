"""Jobs on the device that can be suspended between two of their steps and resumed later, so that others get time.

A step is a token of a batch of samples, a prompt that is read, a micro-batch. Between two steps nothing of the job is
in the model: its weights are switched on at the beginning of a time slice and off at its end. So whatever runs in
between, the results are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from backends.local.futures import Executor, LocalFuture
from backends.local.model.causal import CausalModel

T = TypeVar("T")
S = TypeVar("S")

# A computation in steps: yields between two of them, and returns the result.
Resumable = Generator[None, None, T]


class ResumableJob(Generic[T]):
    """A job that runs in one time slice or in several.

    Args:
        executor: The device's thread.
        prepare: Gives the model as the job needs it; entered at the beginning of each slice, left at its end.
        start: Makes the steps, given the model. They rely on nothing in the model that `prepare` does not restore.

    Attributes:
        result: What the job returned, once it is finished.
    """

    result: T

    def __init__(
        self,
        executor: Executor,
        prepare: Callable[[], AbstractContextManager[CausalModel]],
        start: Callable[[CausalModel], Resumable[T]],
    ) -> None:
        self._executor, self._prepare, self._start = executor, prepare, start
        self._steps: Resumable[T] | None = None

    def then(self, convert: Callable[[T], S]) -> ResumableJob[S]:
        """The same job with its result converted to another, on the device's thread."""

        def start(model: CausalModel) -> Resumable[S]:
            return convert((yield from self._start(model)))

        return ResumableJob(self._executor, self._prepare, start)

    def run(self) -> T:
        """Run the whole job in one slice (on the device's thread)."""
        self._run_steps(lambda: False)
        return self.result

    def run_slice(self, is_over: Callable[[], bool]) -> LocalFuture[bool]:
        """Queue a time slice of at least one step; the future says whether the job is finished.

        Args:
            is_over: Called after each step, on the device's thread: whether the slice is over.
        """
        return self._executor.submit(self._run_steps, is_over)

    def _run_steps(self, is_over: Callable[[], bool]) -> bool:
        with self._prepare() as model:
            if self._steps is None:
                self._steps = self._start(model)
            while True:
                self._executor.check()
                try:
                    next(self._steps)
                except StopIteration as end:
                    self.result = end.value
                    return True
                if is_over():
                    return False
