"""Several processes of one `accelerate launch`: the first runs the program, the others repeat its calls.

Every process has a replica of each client. When the first process calls a method of one, `broadcast` has the others
call the same method of their replica. A batch's rows are distributed, every process keeps the gradient of its share,
and `optim_step` sums them (data parallelism); all processes then make the same step. All communication is accelerate's.
A single process is a group of one.
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

# The other processes wait for as long as the first one samples and evaluates.
TIMEOUT = timedelta(days=7)


class Replica(Protocol):
    """An object that every process has a copy of, under one id."""

    @property
    def replica_id(self) -> str:
        """The id by which all processes know it."""
        ...

    def discard(self) -> None:
        """Free its tensors on the device, in a process that repeats the first one's calls."""
        ...


@dataclass(frozen=True)
class _Call:
    """A method call to repeat on another process's replica."""

    replica_id: str
    method: str
    arguments: tuple[object, ...]

    def repeat(self, replicas: dict[str, Replica]) -> None:
        result = getattr(replicas[self.replica_id], self.method)(*self.arguments)
        if hasattr(result, "replica_id"):
            replicas[result.replica_id] = result


@dataclass(frozen=True)
class _Discard:
    """The order to discard a replica."""

    replica_id: str

    def repeat(self, replicas: dict[str, Replica]) -> None:
        replicas.pop(self.replica_id).discard()


class ProcessGroup:
    """The processes that were launched together; `rank` 0 runs the program.

    Args:
        cpu: Compute on CPUs even if there are GPUs.

    Attributes:
        size: Number of processes.
        rank: Index of this process.
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
        """In the first process, have the others call this method too; in the others, do nothing.

        Args:
            method: A method of a `Replica`, bound to this process's replica.
            *arguments: Its arguments, which are pickled.

        Raises:
            TinkerError: The group has been aborted.
        """
        replica: Replica = method.__self__  # type: ignore[attr-defined]
        self._send(_Call(replica.replica_id, method.__name__, arguments))

    def broadcast_discard(self, replica_id: str) -> None:
        """In the first process, have the others discard a replica (TinkerError if the group has been aborted)."""
        self._send(_Discard(replica_id))

    def _send(self, message: _Call | _Discard | None) -> None:
        if self._aborted is not None:
            raise tinker.TinkerError(f"The processes are no longer together, since one failed: {self._aborted}")
        if self.rank == 0 and not self._closed:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list([message], from_process=0)

    def follow(self, service: Replica) -> None:
        """Repeat the first process's calls until it closes the group.

        Args:
            service: The replica that is called first; replicas that a call returns can be called as well.
        """
        from accelerate.utils import broadcast_object_list

        replicas = {service.replica_id: service}
        while True:
            [message] = broadcast_object_list([None], from_process=0)
            if message is None:
                self._state.destroy_process_group()
                return
            # The first process is told of an error in `gather`, and raises it.
            with suppress(Exception):
                message.repeat(replicas)

    def close(self) -> None:
        """End the other processes' `follow`."""
        if not self._closed:
            self._send(None)
            self._closed = True
            self._state.destroy_process_group()

    def abort(self, error: Exception) -> NoReturn:
        """Fail while the others wait in a collective call: the launcher ends them when this process ends.

        Raises:
            Exception: The error itself, in the first process.
            SystemExit: In another process.
        """
        self._closed, self._aborted = True, error
        if self.rank > 0:
            raise SystemExit(f"process {self.rank}: {type(error).__name__}: {error}")
        raise error

    def shard(self, rows: Sequence[T], length: Callable[[T], int]) -> list[T]:
        """This process's share of the rows; long and short ones are distributed evenly."""
        return sorted(rows, key=length, reverse=True)[self.rank :: self.size]

    def gather(self, work: Callable[[], T], report: Callable[[T], S]) -> tuple[T, list[S]]:
        """Run a function in every process; all of them fail if one does.

        Args:
            work: The function.
            report: Extracts from its result what the other processes receive, pickled.

        Returns:
            This process's result, and the reports of all processes by rank.

        Raises:
            Exception: What this process raised; RequestFailedError for what another one raised.
        """
        if self.size == 1:
            result = work()
            return result, [report(result)]
        results: list[T] = []
        part, error = None, None
        try:
            results.append(work())
            part = report(results[0])
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
        return results[0], [part for part, _ in reports]

    def run_in_all(self, work: Callable[[], T]) -> T:
        """Run a function in every process, and return this one's result; errors are those of `gather`."""
        return self.gather(work, lambda _: None)[0]

    def reduce_max(self, number: int) -> int:
        """The maximum over all processes."""
        from accelerate.utils import gather

        numbers: Any = gather(torch.tensor([number], device=self._state.device))
        return int(numbers.max())

    def reduce_sum(self, tensors: list[Tensor]) -> list[Tensor]:
        """The sums over all processes, in one message; tensors of a group of one are returned as they are."""
        if self.size == 1:
            return tensors
        from accelerate.utils import reduce

        flat: Any = reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="sum")
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
