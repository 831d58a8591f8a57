"""Keys and values of prompt prefixes that have been prefilled, cached for as long as the same weights are sampled."""

from __future__ import annotations

from torch import Tensor

from backends.planning.decode_plan import MIN_PREFIX_TOKENS, Prompt

# Keys and values of every layer, each [1, H, T, D].
PrefixKV = list[tuple[Tensor, Tensor]]


class PrefixCache:
    """A least-recently-used cache of prefixes under one set of weights.

    Args:
        max_bytes: Bytes to keep; a single prefix may be larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._weights: object = None
        # The most recently used prefix comes last.
        self._entries: dict[Prompt, PrefixKV] = {}

    def use_weights(self, weights: object) -> None:
        """Belong to these weights from now on: prefixes under any others are dropped."""
        if weights is not self._weights:
            self._entries.clear()
            self._weights = weights

    def clear(self) -> None:
        """Drop every prefix."""
        self._entries.clear()

    def match(self, tokens: Prompt, max_length: int) -> tuple[int, Prompt | None]:
        """Number of leading tokens that are cached, and the entry that has them; fewer than `MIN_PREFIX_TOKENS` are 0.

        Args:
            tokens: The prompt.
            max_length: Most tokens to match.
        """
        longest, best = 0, None
        for entry in self._entries:
            if (common := _common_prefix_length(entry, tokens, max_length)) > longest:
                longest, best = common, entry
        return (0, None) if longest < MIN_PREFIX_TOKENS else (longest, best)

    def lookup(self, tokens: Prompt, max_length: int) -> tuple[int, PrefixKV]:
        """Number of leading tokens that are cached, as `match` finds it, and views of their keys and values."""
        length, entry = self.match(tokens, max_length)
        if entry is None:
            return 0, []
        kv = self._entries[entry] = self._entries.pop(entry)
        return length, [(keys[:, :, :length], values[:, :, :length]) for keys, values in kv]

    def store(self, tokens: Prompt, kv: PrefixKV) -> None:
        """Store a copy in place of the entries that it extends; evict the least recently used beyond the limit."""
        for entry in [entry for entry in self._entries if tokens[: len(entry)] == entry]:
            del self._entries[entry]
        self._entries[tokens] = [(keys.clone(), values.clone()) for keys, values in kv]
        size = sum(map(_size, self._entries.values()))
        for entry in list(self._entries)[:-1]:
            if size <= self._max_bytes:
                break
            size -= _size(self._entries.pop(entry))


def _size(kv: PrefixKV) -> int:
    return sum(tensor.nbytes for pair in kv for tensor in pair)


def _common_prefix_length(first: Prompt, second: Prompt, max_length: int) -> int:
    low, high = 0, min(len(first), len(second), max_length)
    # Bisection compares slices at once: token by token, long prompts would take milliseconds.
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
