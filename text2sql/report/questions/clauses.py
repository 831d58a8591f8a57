"""The clauses of the gold queries, computed in chunks, as parsing many thousand queries takes long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from text2sql.sql.features import FEATURES, features_of
from text2sql.sql.prepare import parse


def clauses_of(queries: Sequence[str], seconds: float) -> list[list[int]]:
    """The clauses of queries as indices into `FEATURES`, for as many queries as the time allows and at least one."""
    deadline = time.monotonic() + seconds
    clauses = []
    for query in queries:
        clauses.append(list(_clauses(query)))
        if time.monotonic() >= deadline:
            break
    return clauses


# Cached, as several models are asked the same questions.
@lru_cache(maxsize=200_000)
def _clauses(query: str) -> tuple[int, ...]:
    tree = parse(query)
    if tree is None:
        return ()
    features = features_of(tree)
    return tuple(index for index, name in enumerate(FEATURES) if name in features)
