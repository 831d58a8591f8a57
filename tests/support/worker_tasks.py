"""What workers do in the tests of the process pool: functions that a worker can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from text2sql.equivalence.scoring import PairResult, PairTask, score_pair


@dataclass(frozen=True)
class Behaviour:
    """What a worker shall do; None for nothing in particular."""

    how: str | None = None


@dataclass(frozen=True)
class Done:
    """Which process did it, and whether it was refused the memory that it wanted."""

    pid: int
    how: str | None = None
    refused: bool = False


def misbehave(task: Behaviour) -> Done:
    """Does what the task says."""
    refused = _do(task.how)
    return Done(os.getpid(), task.how, refused)


def misjudge(task: PairTask) -> PairResult:
    """Scores a pair, or does what its prediction says."""
    _do(task.predicted)
    return score_pair(task)


def _do(how: str | None) -> bool:
    if how == "compute":
        while True:
            pass
    if how == "pause":
        time.sleep(3)
    if how == "sleep":
        time.sleep(1000)
    if how == "exit":
        os._exit(3)
    if how == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "grow":
        try:
            return not bytearray(4 * 2**30)
        except MemoryError:
            return True
    if how == "keep":
        kept.append(bytearray(200 * 2**20))
    return False


kept: list[bytearray] = []
