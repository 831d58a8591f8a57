"""Which clauses the gold queries have, some at a time: parsing many thousand takes longer than anybody waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from text2sql.sql.features import FEATURES, features_of
from text2sql.sql.prepare import parse


def clauses_of(queries: Sequence[str], seconds: float) -> list[list[int]]:
    """For queries from the first on, as many as the time allows and at least one, the places in `FEATURES`."""
    until = time.monotonic() + seconds
    found = []
    for query in queries:
        found.append(list(_clauses(query)))
        if time.monotonic() >= until:
            break
    return found


# Two models are asked the same questions.
@lru_cache(maxsize=200_000)
def _clauses(query: str) -> tuple[int, ...]:
    tree = parse(query)
    if tree is None:
        return ()
    had = features_of(tree)
    return tuple(place for place, name in enumerate(FEATURES) if name in had)
