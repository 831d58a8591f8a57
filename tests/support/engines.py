"""Engines for tests: those that can be had, and why the others cannot."""

from __future__ import annotations

from functools import cache

import pytest

from text2sql.engines.sandbox.engine import EngineMissing, open_engine

ENGINES = ("duckdb", "postgres", "mysql")


@cache
def missing_engine(dialect: str) -> str:
    """Why the engine of a dialect cannot be had; empty if it can."""
    try:
        open_engine(dialect)
    except EngineMissing as error:
        return str(error)
    return ""


def require_engine(dialect: str) -> None:
    """Skips a test without the engine that it needs, and says so; DuckDB is always there."""
    if reason := missing_engine(dialect):
        assert dialect != "duckdb", reason
        pytest.skip(reason)
