"""``rollouts.jsonl``: what was sampled and what it was paid, on the disk before a gradient uses it.

A run that was killed reads there what the steps after its last checkpoint had sampled, and does not sample it again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import ROLLOUTS, PaidGroup, SampledGroup


class Journal:
    """The rollouts of a run; steps ahead are written to it by another thread.

    Args:
        run: Its directory.
        kept_from: The first step that may be asked for; what came before it is not held in memory.
    """

    def __init__(self, run: RunDirectory, kept_from: int = 0) -> None:
        self._run, self._lock, self._closed = run, threading.Lock(), False
        self._sampled: dict[tuple[int, int], SampledGroup] = {}
        self._paid: dict[tuple[int, int], PaidGroup] = {}
        for row in run.rollouts():
            if row.step >= kept_from:
                self._hold(row)

    def sampled(self, step: int) -> dict[int, SampledGroup]:
        """The groups of a step that have been sampled, by place."""
        with self._lock:
            return {place: group for (of, place), group in self._sampled.items() if of == step}

    def paid(self, step: int) -> dict[int, PaidGroup]:
        """The groups of a step that have been paid, by place."""
        with self._lock:
            return {place: group for (of, place), group in self._paid.items() if of == step}

    def write(self, rows: Sequence[SampledGroup | PaidGroup]) -> None:
        """Add groups, to the disk before this returns; none once it is closed."""
        with self._lock:
            if not rows or self._closed:
                return
            self._run.append(ROLLOUTS, rows)
            for row in rows:
                self._hold(row)

    def close(self) -> None:
        """Write nothing more: another process, or this one at another try, may go on with the file."""
        with self._lock:
            self._closed = True

    def forget_before(self, step: int) -> None:
        """Let the groups of earlier steps be in the file alone."""
        with self._lock:
            self._sampled = {key: row for key, row in self._sampled.items() if key[0] >= step}
            self._paid = {key: row for key, row in self._paid.items() if key[0] >= step}

    def _hold(self, row: SampledGroup | PaidGroup) -> None:
        if isinstance(row, SampledGroup):
            self._sampled[row.step, row.place] = row
            # What was paid for other answers is not theirs.
            self._paid.pop((row.step, row.place), None)
        else:
            self._paid[row.step, row.place] = row
