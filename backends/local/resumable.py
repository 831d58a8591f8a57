"""Work on the device that can be left between two of its steps and gone on with later, while other work has its turn.

A step is a token of a batch of samples, a prompt that is read, a micro-batch. Between two steps nothing of the work is
in the model: its weights are switched on at the beginning of a turn and off at its end. So whatever comes in between,
the results are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from backends.local.futures import Executor, LocalFuture
from backends.local.model.causal import CausalModel

T = TypeVar("T")
S = TypeVar("S")

# Work in steps: yields between two of them, returns the result.
Steps = Generator[None, None, T]


class ResumableJob(Generic[T]):
    """Work that is carried out in one turn or in several.

    Args:
        executor: The device's thread.
        prepare: Gives the model as the work needs it; entered at the beginning of each turn, left at its end.
        begin: The steps, given the model. They ask nothing of the model that `prepare` does not restore.

    Attributes:
        result: What the work returned, once a turn has ended with it.
    """

    result: T

    def __init__(
        self,
        executor: Executor,
        prepare: Callable[[], AbstractContextManager[CausalModel]],
        begin: Callable[[CausalModel], Steps[T]],
    ) -> None:
        self._executor, self._prepare, self._begin = executor, prepare, begin
        self._steps: Steps[T] | None = None

    def then(self, end: Callable[[T], S]) -> ResumableJob[S]:
        """The same work with one step more, on the device's thread, which makes another result of its result."""

        def begin(model: CausalModel) -> Steps[S]:
            return end((yield from self._begin(model)))

        return ResumableJob(self._executor, self._prepare, begin)

    def run(self) -> T:
        """Carry it out in one turn (on the device's thread)."""
        self._turn(lambda: False)
        return self.result

    def run_slice(self, is_over: Callable[[], bool]) -> LocalFuture[bool]:
        """Queue a turn of at least one step; the future says whether the work is finished.

        Args:
            is_over: Asked after each step, on the device's thread: whether the turn is over.
        """
        return self._executor.submit(self._turn, is_over)

    def _turn(self, is_over: Callable[[], bool]) -> bool:
        with self._prepare() as model:
            if self._steps is None:
                self._steps = self._begin(model)
            while True:
                self._executor.check()
                try:
                    next(self._steps)
                except StopIteration as end:
                    self.result = end.value
                    return True
                if is_over():
                    return False
