"""Keys and values of prefixes that several rows of the batch cache share, stored once for all of them.

The samples of one prompt share the prompt, the questions on one schema the schema. A row's own positions then hold only
what follows; attention merges both (`backends.local.model.shared_attention`). `backends.planning.decode_plan` decides
what is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from backends.local.model.shared_attention import CascadeLevel
from backends.local.prefix_cache import PrefixKV
from backends.planning.decode_plan import PrefixSpan


@dataclass(frozen=True, eq=False, slots=True)
class SharedPrefix:
    """A span of prompt tokens and its keys and values, which several rows share."""

    span: PrefixSpan
    kv: PrefixKV


def build_cascade(prefixes: Sequence[Sequence[SharedPrefix]], device: torch.device) -> list[CascadeLevel]:
    """The shared prefixes of every row of a batch, level by level, as attention takes them."""
    levels = []
    for depth in range(max(map(len, prefixes), default=0)):
        rows: dict[SharedPrefix, list[int]] = {}
        for row, row_prefixes in enumerate(prefixes):
            if depth < len(row_prefixes):
                rows.setdefault(row_prefixes[depth], []).append(row)
        order = torch.tensor([row for members in rows.values() for row in members], device=device)  # [M]
        layers = [list(layer) for layer in zip(*(prefix.kv for prefix in rows), strict=True)]
        levels.append(CascadeLevel(order, [len(members) for members in rows.values()], layers))
    return levels
