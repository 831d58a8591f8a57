"""Several processes of one `accelerate launch`: the first runs the program, the others do their share of its work.

The first process tells the others what to do; each then runs the same method on its copy of the client. A batch's rows
are dealt out, every process keeps the gradient of its share, and `optim_step` adds them up (data parallelism); all
processes then take the same step. All communication is accelerate's. One process alone is a team of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import tinker
import torch
from tinker.types import RequestErrorCategory
from torch import Tensor

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # the others wait while the first one samples and evaluates
CLOSE = "close"


class Team:
    """The processes that were launched together; `rank` 0 leads.

    Args:
        cpu: Compute on CPUs even where there are GPUs.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", "1")), 0
        if self.size > 1:
            from accelerate import PartialState

            self._state = PartialState(cpu=cpu or not torch.cuda.is_available(), timeout=PATIENCE)
            self.size, self.rank = self._state.num_processes, self._state.process_index
        self._closed = self.size == 1
        self._deserted: Exception | None = None

    def tell(self, method: str, *arguments: Any) -> None:
        """From the first process to the others: run this too. Nothing where nobody is told.

        Raises:
            TinkerError: This process has deserted the others.
        """
        if self._deserted is not None:
            raise tinker.TinkerError(f"The processes are no longer together, since one failed: {self._deserted}")
        if self.rank == 0 and not self._closed:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list([(method, arguments)], from_process=0)

    def follow(self, carry_out: Callable[[str, tuple[Any, ...]], None]) -> None:
        """Carry out what the first process tells, until it closes."""
        from accelerate.utils import broadcast_object_list

        while True:
            [(method, arguments)] = broadcast_object_list([None], from_process=0)
            if method == CLOSE:
                self._state.destroy_process_group()
                return
            carry_out(method, arguments)

    def close(self) -> None:
        """Send the others home."""
        if not self._closed:
            self.tell(CLOSE)
            self._closed = True
            self._state.destroy_process_group()

    def desert(self, error: Exception) -> NoReturn:
        """Fail where the others wait for this process, and cannot be told: the launcher ends them when this one ends.

        Raises:
            Exception: The error itself, in the first process.
            SystemExit: In another process.
        """
        self._closed, self._deserted = True, error
        if self.rank > 0:
            raise SystemExit(f"process {self.rank}: {type(error).__name__}: {error}")
        raise error

    def share(self, rows: Sequence[T], length: Callable[[T], int]) -> list[T]:
        """This process's part of the rows; long and short ones are dealt out evenly."""
        return sorted(rows, key=length, reverse=True)[self.rank :: self.size]

    def agree(self, work: Callable[[], T]) -> list[T]:
        """Do the work, and return what came of it in every process.

        Raises:
            Exception: What this process raised; RequestFailedError for what another one raised.
        """
        if self.size == 1:
            return [work()]
        result, error = None, None
        try:
            result = work()
        except Exception as raised:
            if self._deserted is not None:
                raise
            error = raised
        from accelerate.utils import gather_object

        reports = gather_object([(result, None if error is None else f"{type(error).__name__}: {error}")])
        if error is not None:
            raise error
        for rank, (_, message) in enumerate(reports):
            if message is not None:
                raise tinker.RequestFailedError(f"process {rank}: {message}", "local", RequestErrorCategory.Server)
        return [report for report, _ in reports]

    def largest(self, number: int) -> int:
        """The largest of every process's numbers."""
        from accelerate.utils import gather

        numbers: Any = gather(torch.tensor([number], device=self._state.device))
        return int(numbers.max())

    def sum(self, tensors: list[Tensor]) -> list[Tensor]:
        """The sum of every process's tensors, in one message."""
        if self.size == 1:
            return tensors
        from accelerate.utils import reduce

        flat: Any = reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="sum")
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
