"""Several processes of one `accelerate launch`: the first runs the program, the others repeat what it does.

Every process has a copy of each client. When the first one calls a method of one, `broadcast` has the others call the
same method of their copy. A batch's rows are dealt out, every process keeps the gradient of its share, and `optim_step`
adds them up (data parallelism); all processes then take the same step. All communication is accelerate's. One process
alone is a group of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple

import tinker
import torch
from tinker.types import RequestErrorCategory
from torch import Tensor

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
S = TypeVar("S")

# The others wait while the first one samples and evaluates.
TIMEOUT = timedelta(days=7)


class Replica(Protocol):
    """An object that every process has a copy of."""

    @property
    def replica_id(self) -> str:
        """The id by which all processes know it."""
        ...

    def discard(self) -> None:
        """Free what it has on the device, in a process that repeats the first one's calls."""
        ...


@dataclass(frozen=True)
class _Call:
    """A method call to repeat on the copy of a replica."""

    replica_id: str
    method: str
    arguments: tuple[object, ...]

    def repeat(self, replicas: dict[str, Replica]) -> None:
        made = getattr(replicas[self.replica_id], self.method)(*self.arguments)
        if hasattr(made, "replica_id"):
            replicas[made.replica_id] = made


@dataclass(frozen=True)
class _Discard:
    """A replica that nobody holds any more."""

    replica_id: str

    def repeat(self, replicas: dict[str, Replica]) -> None:
        replicas.pop(self.replica_id).discard()


class ProcessGroup:
    """The processes that were launched together; `rank` 0 leads.

    Args:
        cpu: Compute on CPUs even where there are GPUs.

    Attributes:
        size: Number of processes.
        rank: This one's number.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", "1")), 0
        if self.size > 1:
            from accelerate import PartialState

            self._state = PartialState(cpu=cpu or not torch.cuda.is_available(), timeout=TIMEOUT)
            self.size, self.rank = self._state.num_processes, self._state.process_index
        self._closed = self.size == 1
        self._aborted: Exception | None = None

    def broadcast(self, method: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """From the first process to the others: call this method too. Does nothing in the others.

        Args:
            method: A method of a `Replica`, bound to this process's copy.
            *arguments: Its arguments, which are pickled.

        Raises:
            TinkerError: The group has been aborted.
        """
        replica: Replica = method.__self__  # type: ignore[attr-defined]
        self._send(_Call(replica.replica_id, method.__name__, arguments))

    def broadcast_discard(self, replica_id: str) -> None:
        """From the first process to the others: forget this replica (TinkerError if the group has been aborted)."""
        self._send(_Discard(replica_id))

    def _send(self, message: _Call | _Discard | None) -> None:
        if self._aborted is not None:
            raise tinker.TinkerError(f"The processes are no longer together, since one failed: {self._aborted}")
        if self.rank == 0 and not self._closed:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list([message], from_process=0)

    def follow(self, service: Replica) -> None:
        """Repeat the first process's calls, until it closes.

        Args:
            service: What the first calls are made on; replicas that a call returns can be called as well.
        """
        from accelerate.utils import broadcast_object_list

        replicas = {service.replica_id: service}
        while True:
            [message] = broadcast_object_list([None], from_process=0)
            if message is None:
                self._state.destroy_process_group()
                return
            # The first process learns of an error in `gather`, and raises it.
            with suppress(Exception):
                message.repeat(replicas)

    def close(self) -> None:
        """End the work of the other processes."""
        if not self._closed:
            self._send(None)
            self._closed = True
            self._state.destroy_process_group()

    def abort(self, error: Exception) -> NoReturn:
        """Fail where the others wait in a collective call, out of reach: the launcher ends them when this one ends.

        Raises:
            Exception: The error itself, in the first process.
            SystemExit: In another process.
        """
        self._closed, self._aborted = True, error
        if self.rank > 0:
            raise SystemExit(f"process {self.rank}: {type(error).__name__}: {error}")
        raise error

    def shard(self, rows: Sequence[T], length: Callable[[T], int]) -> list[T]:
        """This process's part of the rows; long and short ones are dealt out evenly."""
        return sorted(rows, key=length, reverse=True)[self.rank :: self.size]

    def gather(self, work: Callable[[], T], report: Callable[[T], S]) -> tuple[T, list[S]]:
        """Do the work in every process; all of them fail if one does.

        Args:
            work: What to do.
            report: What of the result the other processes are to know; it is pickled.

        Returns:
            This process's result, and the reports of all processes by rank.

        Raises:
            Exception: What this process raised; RequestFailedError for what another one raised.
        """
        if self.size == 1:
            result = work()
            return result, [report(result)]
        mine: list[T] = []
        part, error = None, None
        try:
            mine.append(work())
            part = report(mine[0])
        except Exception as raised:
            if self._aborted is not None:
                raise
            error = raised
        from accelerate.utils import gather_object

        reports = gather_object([(part, None if error is None else f"{type(error).__name__}: {error}")])
        if error is not None:
            raise error
        for rank, (_, message) in enumerate(reports):
            if message is not None:
                raise tinker.RequestFailedError(f"process {rank}: {message}", "local", RequestErrorCategory.Server)
        return mine[0], [found for found, _ in reports]

    def run_in_all(self, work: Callable[[], T]) -> T:
        """Do the work in every process, and return this one's result; errors are those of `gather`."""
        return self.gather(work, lambda _: None)[0]

    def reduce_max(self, number: int) -> int:
        """The largest of every process's numbers."""
        from accelerate.utils import gather

        numbers: Any = gather(torch.tensor([number], device=self._state.device))
        return int(numbers.max())

    def reduce_sum(self, tensors: list[Tensor]) -> list[Tensor]:
        """The sum of every process's tensors, in one message; tensors of a group of one are returned as they are."""
        if self.size == 1:
            return tensors
        from accelerate.utils import reduce

        flat: Any = reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="sum")
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
