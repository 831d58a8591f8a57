"""Keys and values of beginnings of prompts that have been read, kept for as long as the same weights are sampled."""

from __future__ import annotations

from torch import Tensor

from backends.planning.decode_plan import SHARED, Prompt

# Of each layer, ``[1, H, T, D]``.
Beginning = list[tuple[Tensor, Tensor]]


class PrefixCache:
    """Keys and values of beginnings under one set of weights; those used last are kept.

    Args:
        limit: Bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._owner: object = None
        # The one used last comes last.
        self._kept: dict[Prompt, Beginning] = {}

    def serve(self, owner: object) -> None:
        """Be about these weights from now on: what was kept of others is forgotten."""
        if owner is not self._owner:
            self._kept.clear()
            self._owner = owner

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def known(self, tokens: Prompt, most: int) -> tuple[int, Prompt | None]:
        """How many of the tokens, at most N, are kept, and in what; 0 of fewer than `SHARED`."""
        longest, found = 0, None
        for kept in self._kept:
            if (common := _in_common(kept, tokens, most)) > longest:
                longest, found = common, kept
        return (0, None) if longest < SHARED else (longest, found)

    def find(self, tokens: Prompt, most: int) -> tuple[int, Beginning]:
        """How many of the tokens, at most N, are kept, and their keys and values; 0 of fewer than `SHARED`."""
        longest, found = self.known(tokens, most)
        if found is None:
            return 0, []
        layers = self._kept[found] = self._kept.pop(found)
        return longest, [(keys[:, :, :longest], values[:, :, :longest]) for keys, values in layers]

    def keep(self, tokens: Prompt, layers: Beginning) -> None:
        """Keep a copy, in the place of what it continues, and of the rest as much as there is room for."""
        for kept in [kept for kept in self._kept if tokens[: len(kept)] == kept]:
            del self._kept[kept]
        self._kept[tokens] = [(keys.clone(), values.clone()) for keys, values in layers]
        held = sum(map(_size, self._kept.values()))
        for kept in list(self._kept)[:-1]:
            if held <= self._limit:
                break
            held -= _size(self._kept.pop(kept))


def _size(layers: Beginning) -> int:
    return sum(tensor.nbytes for pair in layers for tensor in pair)


def _in_common(one: Prompt, other: Prompt, most: int) -> int:
    low, high = 0, min(len(one), len(other), most)
    # Halves are compared as they are: token by token, long prompts would take milliseconds.
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
