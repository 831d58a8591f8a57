"""How the answers of a run are matched with their gold queries, as its configuration says."""

from __future__ import annotations

from backends.paths import cache_directory
from text2sql.config import Config
from text2sql.equivalence.scoring import MatchOptions


def match_options(config: Config) -> MatchOptions:
    """The options of `score_pairs` and its kin for every verdict of a run.

    The databases hang on `data.seed`, so that runs of several seeds are judged alike.
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
