"""The group of processes by itself: two real ones over gloo, with work that needs no model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tinker
import torch

from backends.interface import BackendError
from backends.local.distributed import ProcessGroup
from backends.options import LocalOptions

PROGRAM = """
import tinker, torch
from backends.local.distributed import ProcessGroup

group = ProcessGroup(cpu=True)
assert group.size == 2
log = []

class Worker:
    replica_id = "worker"

    def add(self, rows):
        group.broadcast(self.add, rows)
        mine = group.shard(rows, len)
        log.append(mine)
        return group.gather(lambda: mine, lambda rows: sum(map(len, rows)))

    def total(self, tensors):
        group.broadcast(self.total, tensors)
        return group.reduce_sum([tensor * (group.rank + 1) for tensor in tensors])

    def fail(self, rank):
        group.broadcast(self.fail, rank)
        def work():
            if group.rank == rank:
                raise ValueError("out of luck")
        try:
            return group.run_in_all(work)
        except Exception as error:
            log.append(type(error).__name__)
            raise

    def largest(self):
        group.broadcast(self.largest)
        return group.reduce_max(group.rank * 3)

    def second(self):
        group.broadcast(self.second)
        return group.run_in_all(Second)

    def discard(self):
        log.append("worker")

class Second(Worker):
    replica_id = "second"

    def discard(self):
        log.append("second")

worker = Worker()
if group.rank == 0:
    assert worker.add(["a", "bbb", "cc", "dddd"]) == (["dddd", "cc"], [6, 4]), log
    ones = worker.total([torch.ones(2, 3), torch.full((4,), 2.0)])
    assert ones[0].shape == (2, 3) and ones[0].eq(3).all() and ones[1].eq(6).all(), ones
    assert worker.largest() == 3
    for rank, kind, text in ((0, ValueError, "out of luck"), (1, tinker.RequestFailedError, "process 1: ValueError")):
        try:
            worker.fail(rank)
        except kind as error:
            assert text in str(error), error
        else:
            raise AssertionError("nobody noticed")
    second = worker.second()
    # The other process has nothing to do, and goes on.
    assert second.add(["a"]) == (["a"], [1, 0])
    group.broadcast_discard("second")
    group.close()
    group.close()
else:
    group.follow(worker)
    assert log == [["bbb", "a"], "RequestFailedError", "ValueError", [], "second"], log
print("done", group.rank)
"""


class Nobody:
    replica_id = "nobody"

    def discard(self) -> None: ...


NOBODY = Nobody()


def test_two_processes() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(__file__).parents[3])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **common, "RANK": str(r), "LOCAL_RANK": str(r), "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    for rank, (process, output) in enumerate(zip(processes, outputs, strict=True)):
        assert process.returncode == 0, output
        assert f"done {rank}" in output


def test_one_process_is_a_group_of_one() -> None:
    def fail() -> Any:
        raise tinker.TinkerError("alone")

    group = ProcessGroup()
    assert (group.size, group.rank) == (1, 0)
    group.broadcast(NOBODY.discard)
    assert group.shard(["a", "ccc"], len) == ["ccc", "a"]
    assert group.gather(lambda: 5, str) == (5, ["5"])
    assert group.run_in_all(lambda: 6) == 6
    tensors = [torch.ones(2)]
    assert group.reduce_sum(tensors) is tensors
    with pytest.raises(tinker.TinkerError, match="alone"):
        group.run_in_all(fail)
    group.close()


def test_who_fails_amid_a_pass_takes_no_more_part() -> None:
    group = ProcessGroup()
    with pytest.raises(MemoryError):
        group.abort(MemoryError("no memory"))
    with pytest.raises(tinker.TinkerError, match=r"no longer together.*no memory"):
        group.broadcast(NOBODY.discard)
    group.close()
    group.rank = 1
    with pytest.raises(SystemExit, match="process 1: MemoryError: no memory"):
        group.abort(MemoryError("no memory"))


def test_one_process_splits_nothing(open_local: Any) -> None:
    with pytest.raises(BackendError, match=r"local\.fsdp.*accelerate launch"):
        open_local(fsdp=True)


@pytest.mark.parametrize(
    "also", [{"method": "full"}, {"quantization": "int8"}, {"dora": True}, {"neftune_alpha": 5.0}, {"compile": True}]
)
def test_what_a_split_base_does_not_go_with(also: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"fsdp.*{next(iter(also))}"):
        LocalOptions(fsdp=True, **also)
