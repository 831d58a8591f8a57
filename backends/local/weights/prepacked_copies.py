"""Packed weights of snapshots that are not in use, for their next turn."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from backends.local.model.prepacked_weights import Packed
from backends.local.weights.protocol import Snapshot


class PrepackedCopies:
    """Packed weights that are not in use at this moment, the latest ones: to pack a model takes as long as many tokens.

    None are kept unless somebody says how many.
    """

    def __init__(self) -> None:
        self._most = 0
        self._has_room: Callable[[], bool] = lambda: True
        # The oldest first. None stands for the bare base.
        self._copies: list[tuple[weakref.ref[Snapshot] | None, Packed]] = []

    def keep(self, most: int, has_room: Callable[[], bool]) -> None:
        """Keep N from now on, and fewer where `has_room` says that memory is short."""
        self._most, self._has_room = most, has_room

    def put(self, snapshot: Snapshot | None, packed: Packed) -> None:
        """Keep what is packed of a snapshot, if it may be; what was kept longest goes first."""
        alive = [(whose, kept) for whose, kept in self._copies if whose is None or whose() is not None]
        self._copies = [*alive, (None if snapshot is None else weakref.ref(snapshot), packed)]
        while self._copies and (len(self._copies) > self._most or not self._has_room()):
            del self._copies[0]

    def take(self, snapshot: Snapshot | None) -> Packed | None:
        """What is kept of a snapshot, and is kept no longer; None if there is nothing."""
        for place, (whose, packed) in enumerate(self._copies):
            if (whose and whose()) is snapshot:
                del self._copies[place]
                return packed
        return None
