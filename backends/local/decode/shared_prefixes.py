"""What several rows of the joint cache begin with, held once for all of them.

The samples of one prompt share the prompt, the questions on one schema the schema. A row's own columns then hold what
follows alone; attention puts both together (`backends.local.model.shared_attention`). What is held so is planned by
`backends.planning.decode_plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from backends.local.model.shared_attention import Level
from backends.local.prefix_cache import Beginning
from backends.planning.decode_plan import Span


@dataclass(frozen=True, eq=False, slots=True)
class Stem:
    """Keys and values that rows have in common: the tokens that are held, and theirs."""

    span: Span
    layers: Beginning


def in_levels(stems: Sequence[Sequence[Stem]], device: torch.device) -> list[Level]:
    """The stems of every row of a batch, as attention takes them."""
    levels = []
    for depth in range(max(map(len, stems), default=0)):
        rows: dict[Stem, list[int]] = {}
        for row, own in enumerate(stems):
            if depth < len(own):
                rows.setdefault(own[depth], []).append(row)
        order = torch.tensor([row for members in rows.values() for row in members], device=device)
        layers = [list(of_stems) for of_stems in zip(*(stem.layers for stem in rows), strict=True)]
        levels.append(Level(order, [len(members) for members in rows.values()], layers))
    return levels
