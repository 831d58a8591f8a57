"""The bounds on answers and queries that docs/evaluation.md names are those of the code."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from text2sql.equivalence import process_pool
from text2sql.equivalence.match import LONGEST
from text2sql.sql import complexity, sandbox

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8").split())


def test_the_page_names_the_bounds_of_the_code() -> None:
    limits = sandbox._LIMITS
    for said in (
        f"expressions {limits[sqlite3.SQLITE_LIMIT_EXPR_DEPTH]:,} deep",
        f"{limits[sqlite3.SQLITE_LIMIT_COMPOUND_SELECT]} parts of a UNION",
        f"{limits[sqlite3.SQLITE_LIMIT_COLUMN]:,} columns",
        f"LIKE patterns are limited to {limits[sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH]} bytes",
        f"on rows ({sandbox.MAX_ROWS:,} of a made database)",
        f"on the memory of a query ({sandbox._MEMORY // 2**20} MiB)",
        f"longer than {LONGEST:,} characters",
        f"{process_pool.MEMORY // 2**20} MiB beyond what they begin with",
        f"more than {complexity._LONG:,} characters",
        f"more than {complexity._SUBQUERIES} queries inside",
    ):
        assert said in PAGE, said
