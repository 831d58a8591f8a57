"""Several sources as one, in given proportions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from text2sql.data.example import Example


def mix(parts: Sequence[tuple[str, float, Sequence[Example]]], seed: int) -> list[Example]:
    """As many examples of all parts together as their proportions allow, none twice.

    Args:
        parts: Name, weight and examples of each part.
        seed: Of the draw.

    Returns:
        The examples, shuffled; a part of weight w gives w / (sum of weights) of them. Ids begin with the part's place
        and name.
    """
    total = sum(weight for _, weight, _ in parts)
    size = min(len(examples) * total / weight for _, weight, examples in parts)
    chosen: list[Example] = []
    for place, (name, weight, examples) in enumerate(parts):
        count = min(len(examples), round(size * weight / total))
        drawn = random.Random(f"mix-{seed}-{place}").sample(list(examples), count)
        chosen += [replace(e, id=f"{place}-{name}/{e.id}") for e in drawn]
    random.Random(f"mix-{seed}").shuffle(chosen)
    return chosen
