"""The bounds on answers and queries that docs/evaluation.md names are those of the code."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from text2sql.equivalence import match, real_database, search
from text2sql.equivalence.databases import joint_conditions
from text2sql.equivalence.databases.differences import aggregate_comparison_samples, collisions, separate_rows
from text2sql.equivalence.databases.drawing import recursive_chains as chain_drawing
from text2sql.equivalence.databases.phenomena import (
    aggregate_comparisons,
    column_functions,
    count_thresholds,
    recursive_chains,
    window_reach,
)
from text2sql.equivalence.databases.reading import constant_tables
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
        f"on the memory of a query ({sandbox._MAX_MEMORY_GROWTH // 2**20} MiB)",
        f"longer than {match.MAX_PREDICTION_CHARACTERS:,} characters",
        f"{process_pool.MEMORY // 2**20} MiB beyond what they begin with",
        f"more than {complexity._MAX_CHARACTERS:,} characters",
        f"more than {complexity._MAX_SUBQUERIES} queries inside",
    ):
        assert said in PAGE, said


def test_what_it_cannot_see_names_the_bounds_of_the_code() -> None:
    unseen = PAGE.partition("## What it cannot see")[2].partition("## ")[0]
    for said in (
        f"Counts beyond {count_thresholds.MAX_COUNTED_ROWS:,} rows",
        f"Results beyond {sandbox.MAX_ROWS:,} rows are not compared",
        f"on a real database beyond {real_database.ON_FILE_ROWS:,}",
        f"{match.DEFAULT_EFFORT} are made for a pair, {2 * match.DEFAULT_EFFORT} where groups compete",
        f"three times as many as {match.DEFAULT_EFFORT} at most",
        f"at most {aggregate_comparisons.MAX_COMPARISONS} comparisons of each query",
        f"over at most {aggregate_comparisons.MAX_COLUMNS} columns together",
        f"have {aggregate_comparison_samples.MAX_ROWS_IN_ALL:,} rows in all",
        f"from at most {joint_conditions.MAX_TRIED_ROWS} rows of values tried",
        f"further than {window_reach.MAX_WINDOW_ROWS} rows away",
        f"more than {recursive_chains.MAX_RECURSION_STEPS} steps",
        f"at most {chain_drawing.MAX_RECURSIONS} ways are followed",
        f"of more than {constant_tables.MAX_ROWS:,} rows",
        f"at most {separate_rows.MAX_REFERENCES} places",
        f"at most {column_functions.MAX_FUNCTIONS} expressions over it",
        f"{collisions.MAX_VALUES} values are put through each",
    ):
        assert said in unseen, said
    assert search.MIN_INFORMATIVE == 6 and "On at least six of the databases" in PAGE
