"""What prompts begin with alike is read once: which beginnings pay, and in which order prompts are best admitted.

All questions on one database begin with its schema. Of the prompts that are waiting, the beginnings that several of
them share are read first, the shorter before the longer that continue them; every prompt then goes on from the longest
beginning that is kept (`backends.local.prefix_cache`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from backends.local.prefix_cache import SHARED, Prompt
from backends.planning.prefix_tree import in_tree_order


def shared_beginnings(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Beginnings of `SHARED` tokens and more that several of these different prompts have, shorter ones first.

    A longer one that some of them share counts if it has N tokens more. Each prompt keeps a token of its own.
    """
    ordered, shared = _in_order(prompts)
    found: list[Prompt] = []
    runs = [(0, len(ordered), 0)]
    while runs:
        start, end, known = runs.pop()
        if end - start < 2:
            continue
        least = min(shared[start + 1 : end])
        if least - known >= SHARED:
            known = least
            found.append(ordered[start][:known])
        cuts = [k for k in range(start + 1, end) if shared[k] == least]
        runs += [(a, b, known) for a, b in zip([start, *cuts], [*cuts, end], strict=True)]
    return sorted(found, key=len)


def families(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """The places of the prompts, those that begin alike together; the family with the longest prompt first."""
    order, shared = in_tree_order([np.array(prompt) for prompt in prompts])
    grouped: list[list[int]] = []
    for place, common in zip(order, shared, strict=True):
        if grouped and common >= SHARED:
            grouped[-1].append(place)
        else:
            grouped.append([place])
    # Of families equally long, that whose first member came first.
    yield from sorted(grouped, key=lambda family: (-max(len(prompts[place]) for place in family), min(family)))


def _in_order(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[int]]:
    order, shared = in_tree_order([np.array(prompt) for prompt in prompts])
    ordered = [prompts[place] for place in order]
    # One prompt may begin another.
    capped = [
        min(common, len(a) - 1, len(b) - 1) for common, a, b in zip(shared[1:], ordered, ordered[1:], strict=False)
    ]
    return ordered, [0, *capped]
