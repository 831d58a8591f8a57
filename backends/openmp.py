"""Limits how long idle OpenMP threads spin before they sleep.

In PyTorch's OpenMP (libgomp), a thread that has finished its share of an operation spins for milliseconds before it
sleeps. On a machine with other work that time is taken from other runs, from the processes that execute queries, and
from the other threads of the same operation. So it is cut to about the time between two operations.

This module imports only the standard library, since libgomp reads its settings once, when PyTorch is loaded.
"""

from __future__ import annotations

import logging
import os
import sys

# Iterations that an idle thread spins: some tens of microseconds. Measured in docs/performance.md.
SPIN_COUNT = 1000
# Environment variables that say how threads wait.
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
log = logging.getLogger("text2sql.local")


def limit_spin() -> None:
    """Have idle threads sleep soon, unless the environment says how they wait; must be called before torch is loaded.

    If torch is loaded already, it is too late, which is logged.
    """
    if any(name in os.environ for name in VARIABLES):
        return
    if "torch" in sys.modules:
        log.info(
            "PyTorch was loaded before text2sql's backend, so its idle threads keep the processor. Where this machine "
            "has something else to do, set GOMP_SPINCOUNT=%d in the environment.",
            SPIN_COUNT,
        )
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
