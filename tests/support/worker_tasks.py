"""What workers do in the tests of the process pool: functions that a worker can import."""

from __future__ import annotations

import os
import signal
import time

from text2sql.equivalence.process_pool import Task
from text2sql.equivalence.workers import score


def echo(task: Task) -> Task:
    return {"pid": os.getpid(), **task}


def misbehave(task: Task) -> Task:
    """Does what the task's ``how`` says; scores it where it has a prediction that says nothing of the kind."""
    how = task.get("how") or task.get("predicted")
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
            taken = bytearray(4 * 2**30)
        except MemoryError:
            return {"pid": os.getpid(), "refused": True}
        return {"pid": os.getpid(), "refused": not taken}
    if how == "keep":
        kept.append(bytearray(200 * 2**20))
    return score(task) if "predicted" in task else echo(task)


kept: list[bytearray] = []
