"""``rollouts.jsonl``: what was sampled and its rewards, on the disk before a gradient uses them.

A run that was killed reads there what the steps after its last checkpoint had sampled, and does not sample it again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import ROLLOUTS, GradedGroup, SampledGroup


class Journal:
    """The rollouts of a run; a background thread writes those of later steps.

    Args:
        run: The run's directory.
        first_step: The first step that may be asked for; earlier ones are not held in memory.
    """

    def __init__(self, run: RunDirectory, first_step: int = 0) -> None:
        self._run, self._lock, self._closed = run, threading.Lock(), False
        # By step, and index of the question within it.
        self._sampled: dict[tuple[int, int], SampledGroup] = {}
        self._graded: dict[tuple[int, int], GradedGroup] = {}
        for row in run.rollouts():
            if row.step >= first_step:
                self._hold(row)

    def sampled(self, step: int) -> dict[int, SampledGroup]:
        """The groups of a step that have been sampled, by the index of their question."""
        with self._lock:
            return {index: group for (of, index), group in self._sampled.items() if of == step}

    def graded(self, step: int) -> dict[int, GradedGroup]:
        """The groups of a step that have been graded, by the index of their question."""
        with self._lock:
            return {index: group for (of, index), group in self._graded.items() if of == step}

    def write(self, rows: Sequence[SampledGroup | GradedGroup]) -> None:
        """Add groups, to the disk before this returns; none once the journal is closed."""
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
        """Drop the groups of earlier steps from memory; the file keeps them."""
        with self._lock:
            self._sampled = {key: row for key, row in self._sampled.items() if key[0] >= step}
            self._graded = {key: row for key, row in self._graded.items() if key[0] >= step}

    def _hold(self, row: SampledGroup | GradedGroup) -> None:
        if isinstance(row, SampledGroup):
            self._sampled[row.step, row.index] = row
            # Rewards of the answers that were sampled before are not those of the new ones.
            self._graded.pop((row.step, row.index), None)
        else:
            self._graded[row.step, row.index] = row
