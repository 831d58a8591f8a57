"""Made rows in an engine: filled once, and queries that are stopped by the processor's time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.support.engines import require_engine
from text2sql.engines.sandbox import duckdb_engine
from text2sql.engines.sandbox.engine import open_engine
from text2sql.engines.sandbox.engine_sandbox import EngineSandbox
from text2sql.engines.sandbox.schema_reader import read_engine_schema
from text2sql.sql.sandbox import QueryFailed

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR(10))"
QUERY = "SELECT a, b FROM t ORDER BY a"


def _sandbox(monkeypatch: pytest.MonkeyPatch) -> tuple[EngineSandbox, list[list[str]]]:
    require_engine("duckdb")
    engine, schema = open_engine("duckdb"), read_engine_schema(SCHEMA, "duckdb")
    filled: list[list[str]] = []
    replace_rows = engine.replace_rows

    def counted(statements: Sequence[str]) -> None:
        filled.append(list(statements))
        replace_rows(statements)

    monkeypatch.setattr(engine, "replace_rows", counted)
    return EngineSandbox(engine, schema, schema.schema.tables, []), filled


def test_rows_that_the_engine_holds_are_not_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox, filled = _sandbox(monkeypatch)
    table = read_engine_schema(SCHEMA, "duckdb").schema.tables["t"]
    sandbox.check(QUERY)
    sandbox.check("SELECT COUNT(*) FROM t")
    assert filled == [[]]
    for _ in range(2):
        sandbox.load({"t": (table, [(1, "x"), (2, "y")])})
        assert sandbox.run(QUERY, 0, 1.0).rows == [(1, "x"), (2, "y")]
    assert len(filled) == 2
    # The same rows in another order are others, and so are those behind a query that failed.
    sandbox.perturb(reverse=True)
    sandbox.run(QUERY, 0, 1.0)
    with pytest.raises(QueryFailed):
        sandbox.run("SELECT CAST(b AS INTEGER) FROM t", 0, 1.0)
    assert sandbox.run(QUERY, 0, 1.0).rows == [(1, "x"), (2, "y")]
    assert len(filled) == 4
    sandbox.check("SELECT MAX(a) FROM t")
    assert filled[-1] == [] and sandbox.run(QUERY, 0, 1.0).rows == [(1, "x"), (2, "y")]
    sandbox.close()


def test_empty_tables_are_asked_once_unless_rows_are_perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox, filled = _sandbox(monkeypatch)
    table = read_engine_schema(SCHEMA, "duckdb").schema.tables["t"]
    by_chance = "SELECT RANDOM() FROM (SELECT COUNT(*) FROM t)"
    sandbox.check(by_chance)
    sandbox.load({"t": (table, [(1, "x")])})
    full = sandbox.run(by_chance, 0, 1.0).rows
    sandbox.load({"t": (table, [])})
    empty = sandbox.run(by_chance, 0, 1.0).rows
    assert empty == sandbox.run(by_chance, 0, 1.0).rows != full
    # What is open to chance must be seen to be so.
    sandbox.perturb()
    assert sandbox.run(by_chance, 0, 1.0).rows != empty
    assert filled == [[], ["INSERT INTO t VALUES (1, 'x')"], []]
    sandbox.close()


def test_a_query_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox, _ = _sandbox(monkeypatch)
    sandbox.check(QUERY)
    monkeypatch.setattr(sandbox, "run", None)
    sandbox.check(QUERY)
    sandbox.close()


def test_a_busy_machine_stops_no_query_of_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's time does not pass while others have it; the wall's limit is four times as wide."""
    require_engine("duckdb")
    engine = open_engine("duckdb")
    long = "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 3"
    monkeypatch.setattr(duckdb_engine.time, "process_time", lambda: 0.0)
    begun = time.monotonic()
    with pytest.raises(QueryFailed, match="too long"):
        engine.query(long, 0.2, 10)
    assert time.monotonic() - begun >= 0.8
