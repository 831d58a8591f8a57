"""The options for matching a run's answers with their gold queries, from its configuration."""

from __future__ import annotations

from backends.paths import cache_directory
from text2sql.config import Config
from text2sql.equivalence.scoring import MatchOptions


def match_options(config: Config) -> MatchOptions:
    """The options of `score_pairs` and related functions for every verdict of a run.

    The databases are seeded with `data.seed`, so that runs with different seeds are scored on the same databases.
    """
    settings = config.evaluation
    return MatchOptions(
        workers=settings.workers,
        effort=settings.databases,
        seed=config.data.seed,
        timeout=settings.timeout,
        cache=cache_directory("verdicts") if settings.cache else None,
        transpile=settings.transpile,
    )
