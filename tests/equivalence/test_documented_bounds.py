"""The bounds on answers and queries that docs/evaluation.md names are those of the code."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from text2sql.equivalence import match, real_database, search
from text2sql.equivalence.databases import boundaries, reaches, samples
from text2sql.equivalence.databases.differences import collisions, separate_rows
from text2sql.equivalence.databases.drawing import chains, joint
from text2sql.equivalence.databases.reading import made_up_tables
from text2sql.equivalence.databases.values import thresholds
from text2sql.equivalence.processes import process_pool
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
        f"longer than {match.MAX_PREDICTION_CHARACTERS:,} characters",
        f"{process_pool.MEMORY // 2**20} MiB beyond what they begin with",
        f"more than {complexity._LONG:,} characters",
        f"more than {complexity._SUBQUERIES} queries inside",
    ):
        assert said in PAGE, said


def test_what_it_cannot_see_names_the_bounds_of_the_code() -> None:
    unseen = PAGE.partition("## What it cannot see")[2].partition("## ")[0]
    for said in (
        f"Counts beyond {thresholds.MOST:,} rows",
        f"Results beyond {sandbox.MAX_ROWS:,} rows are not compared",
        f"on a real database beyond {real_database.ON_FILE_ROWS:,}",
        f"{match.DEFAULT_EFFORT} are made for a pair, {2 * match.DEFAULT_EFFORT} where groups compete",
        f"three times as many as {match.DEFAULT_EFFORT} at most",
        f"at most {boundaries._MOST} comparisons of each query",
        f"over at most {boundaries._MOST_COLUMNS} columns together",
        f"have {samples._MOST_ROWS:,} rows in all",
        f"from at most {joint._MOST_TRIED} rows of values tried",
        f"further than {reaches.MOST_ROWS} rows away",
        f"more than {reaches.MOST_STEPS} steps",
        f"at most {chains._MOST} ways are followed",
        f"of more than {made_up_tables._MOST:,} rows",
        f"at most {separate_rows._PARTS} places",
        f"at most {collisions._MOST_FUNCTIONS} expressions over it",
        f"{collisions._MOST_VALUES} values are put through each",
    ):
        assert said in unseen, said
    assert search.MIN_INFORMATIVE == 6 and "On at least six of the databases" in PAGE
