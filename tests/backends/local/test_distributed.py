"""The team of processes by itself: two real ones over gloo, with work that needs no model."""

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
from backends.local.distributed import Team
from backends.options import LocalOptions

PROGRAM = """
import tinker, torch
from backends.local.distributed import Team

team = Team(cpu=True)
assert team.size == 2
log = []

def add(rows):
    team.tell("add", rows)
    mine = team.share(rows, len)
    log.append(mine)
    return team.agree(lambda: sum(len(row) for row in mine))

def total(tensors):
    team.tell("total", tensors)
    return team.sum([tensor * (team.rank + 1) for tensor in tensors])

def fail(rank):
    team.tell("fail", rank)
    def work():
        if team.rank == rank:
            raise ValueError("out of luck")
    return team.agree(work)

def largest():
    team.tell("largest")
    return team.largest(team.rank * 3)

methods = {"add": add, "total": total, "fail": fail, "largest": largest}

def carry_out(name, arguments):
    try:
        methods[name](*arguments)
    except Exception as error:
        log.append(type(error).__name__)

if team.rank == 0:
    assert add(["a", "bbb", "cc", "dddd"]) == [6, 4], log
    assert log[0] == ["dddd", "cc"], log
    ones = total([torch.ones(2, 3), torch.full((4,), 2.0)])
    assert ones[0].shape == (2, 3) and ones[0].eq(3).all() and ones[1].eq(6).all(), ones
    assert largest() == 3
    for rank, kind, text in ((0, ValueError, "out of luck"), (1, tinker.RequestFailedError, "process 1: ValueError")):
        try:
            fail(rank)
        except kind as error:
            assert text in str(error), error
        else:
            raise AssertionError("nobody noticed")
    assert add(["a"]) == [1, 0]  # the others have nothing to do, and go on
    team.close()
    team.close()
else:
    team.follow(carry_out)
    assert log == [["bbb", "a"], "RequestFailedError", "ValueError", []], log
print("done", team.rank)
"""


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


def test_one_process_is_a_team_of_one() -> None:
    def fail() -> Any:
        raise tinker.TinkerError("alone")

    team = Team()
    assert (team.size, team.rank) == (1, 0)
    team.tell("anything")
    assert team.share(["a", "ccc"], len) == ["ccc", "a"]
    assert team.agree(lambda: 5) == [5]
    tensors = [torch.ones(2)]
    assert team.sum(tensors) is tensors
    with pytest.raises(tinker.TinkerError, match="alone"):
        team.agree(fail)
    team.close()


def test_who_fails_amid_a_pass_takes_no_more_part() -> None:
    team = Team()
    with pytest.raises(MemoryError):
        team.desert(MemoryError("no room"))
    with pytest.raises(tinker.TinkerError, match=r"no longer together.*no room"):
        team.tell("anything")
    team.close()
    team.rank = 1
    with pytest.raises(SystemExit, match="process 1: MemoryError: no room"):
        team.desert(MemoryError("no room"))


def test_one_process_splits_nothing(open_local: Any) -> None:
    with pytest.raises(BackendError, match=r"local\.fsdp.*accelerate launch"):
        open_local(fsdp=True)


@pytest.mark.parametrize(
    "also", [{"method": "full"}, {"quantization": "int8"}, {"dora": True}, {"neftune_alpha": 5.0}, {"compile": True}]
)
def test_what_a_split_base_does_not_go_with(also: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"fsdp.*{next(iter(also))}"):
        LocalOptions(fsdp=True, **also)
