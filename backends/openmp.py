"""How the threads of a computation wait for each other: shortly awake, then asleep.

PyTorch's OpenMP (libgomp) lets a thread that has finished its share of an operation run idle for milliseconds before it
sleeps. On a machine with something else to do that time is taken from whoever has work: from another run, from the
processes that judge, from the other threads of the same operation. So it is cut to what lies between two operations.

It loads nothing but the standard library, since libgomp reads its settings once, when PyTorch is loaded.
"""

from __future__ import annotations

import logging
import os
import sys

# Turns that an idle thread stays awake for: some tens of microseconds. Measured in docs/performance.md.
TURNS = 1000
SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
log = logging.getLogger("text2sql.local")


def limit_spin() -> None:
    """Have idle threads go to sleep soon, unless the environment says how they wait; to be called before torch loads.

    Where torch is loaded already nothing can be done, which is logged.
    """
    if any(name in os.environ for name in SETTINGS):
        return
    if "torch" in sys.modules:
        log.info(
            "PyTorch was loaded before text2sql's backend, so its idle threads keep the processor. Where this machine "
            "has something else to do, set GOMP_SPINCOUNT=%d in the environment.",
            TURNS,
        )
        return
    os.environ["GOMP_SPINCOUNT"] = str(TURNS)
