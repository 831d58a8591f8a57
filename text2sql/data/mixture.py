"""Mixes several sources in given proportions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from text2sql.data.example import Example


def mix(parts: Sequence[tuple[str, float, Sequence[Example]]], seed: int) -> list[Example]:
    """Draws as many examples of all parts as their proportions allow, none twice.

    Args:
        parts: The name, the weight and the examples of each part.
        seed: The seed of the draw.

    Returns:
        The examples, shuffled; a part of weight w gives w / (sum of weights) of them. Ids start with the part's index
        and name.
    """
    total = sum(weight for _, weight, _ in parts)
    size = min(len(examples) * total / weight for _, weight, examples in parts)
    chosen: list[Example] = []
    for index, (name, weight, examples) in enumerate(parts):
        count = min(len(examples), round(size * weight / total))
        drawn = random.Random(f"mix-{seed}-{index}").sample(list(examples), count)
        chosen += [replace(e, id=f"{index}-{name}/{e.id}") for e in drawn]
    random.Random(f"mix-{seed}").shuffle(chosen)
    return chosen
