"""Prepacked weights of snapshots that are not being sampled, kept for the next time."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from backends.local.model.prepacked_weights import PrepackedModules
from backends.local.weights.protocol import Snapshot


class PrepackedCopies:
    """A cache of prepacked weights, most recently used ones: prepacking a model takes as long as many tokens.

    It is empty unless `set_limit` allows some.
    """

    def __init__(self) -> None:
        self._max_copies = 0
        self._has_room: Callable[[], bool] = lambda: True
        # The least recently used first. None stands for the bare base model.
        self._copies: list[tuple[weakref.ref[Snapshot] | None, PrepackedModules]] = []

    def set_limit(self, max_copies: int, has_room: Callable[[], bool]) -> None:
        """Keep at most so many from now on, and fewer where `has_room` says that memory is short."""
        self._max_copies, self._has_room = max_copies, has_room

    def put(self, snapshot: Snapshot | None, prepacked: PrepackedModules) -> None:
        """Add the prepacked weights of a snapshot, and evict the least recently used ones beyond the limit."""
        alive = [(owner, copy) for owner, copy in self._copies if owner is None or owner() is not None]
        self._copies = [*alive, (None if snapshot is None else weakref.ref(snapshot), prepacked)]
        while self._copies and (len(self._copies) > self._max_copies or not self._has_room()):
            del self._copies[0]

    def take(self, snapshot: Snapshot | None) -> PrepackedModules | None:
        """Remove and return the prepacked weights of a snapshot; None if there are none."""
        for index, (owner, prepacked) in enumerate(self._copies):
            if (owner and owner()) is snapshot:
                del self._copies[index]
                return prepacked
        return None
