"""Made rows in an engine: written once, and queries that are stopped by the processor's time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.support.engines import require_engine
from text2sql.engines.sandbox import in_duckdb
from text2sql.engines.sandbox.box import EngineSandbox
from text2sql.engines.sandbox.engine import open_engine
from text2sql.engines.sandbox.tables import engine_schema
from text2sql.sql.sandbox import QueryFailed

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR(10))"
QUERY = "SELECT a, b FROM t ORDER BY a"


def _box(monkeypatch: pytest.MonkeyPatch) -> tuple[EngineSandbox, list[list[str]]]:
    require_engine("duckdb")
    engine, schema = open_engine("duckdb"), engine_schema(SCHEMA, "duckdb")
    written: list[list[str]] = []
    fill = engine.fill

    def counted(insertions: Sequence[str]) -> None:
        written.append(list(insertions))
        fill(insertions)

    monkeypatch.setattr(engine, "fill", counted)
    return EngineSandbox(engine, schema, schema.schema.tables, []), written


def test_rows_that_the_engine_holds_are_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    box, written = _box(monkeypatch)
    table = engine_schema(SCHEMA, "duckdb").schema.tables["t"]
    box.check(QUERY)
    box.check("SELECT COUNT(*) FROM t")
    assert written == [[]]
    for _ in range(2):
        box.load({"t": (table, [(1, "x"), (2, "y")])})
        assert box.run(QUERY, 0, 1.0).rows == [(1, "x"), (2, "y")]
    assert len(written) == 2
    # The same rows in another order are others, and so are those behind a query that failed.
    box.perturb(reverse=True)
    box.run(QUERY, 0, 1.0)
    with pytest.raises(QueryFailed):
        box.run("SELECT CAST(b AS INTEGER) FROM t", 0, 1.0)
    assert box.run(QUERY, 0, 1.0).rows == [(1, "x"), (2, "y")]
    assert len(written) == 4
    box.check("SELECT MAX(a) FROM t")
    assert written[-1] == [] and box.run(QUERY, 0, 1.0).rows == [(1, "x"), (2, "y")]
    box.close()


def test_empty_tables_are_asked_once_unless_rows_are_perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    box, written = _box(monkeypatch)
    table = engine_schema(SCHEMA, "duckdb").schema.tables["t"]
    by_chance = "SELECT RANDOM() FROM (SELECT COUNT(*) FROM t)"
    box.check(by_chance)
    box.load({"t": (table, [(1, "x")])})
    full = box.run(by_chance, 0, 1.0).rows
    box.load({"t": (table, [])})
    empty = box.run(by_chance, 0, 1.0).rows
    assert empty == box.run(by_chance, 0, 1.0).rows != full
    # What is open to chance must be seen to be so.
    box.perturb()
    assert box.run(by_chance, 0, 1.0).rows != empty
    assert written == [[], ["INSERT INTO t VALUES (1, 'x')"], []]
    box.close()


def test_a_query_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    box, _ = _box(monkeypatch)
    box.check(QUERY)
    monkeypatch.setattr(box, "run", None)
    box.check(QUERY)
    box.close()


def test_a_busy_machine_stops_no_query_of_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's time does not pass while others have it; the wall's limit is four times as wide."""
    require_engine("duckdb")
    engine = open_engine("duckdb")
    long = "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 3"
    monkeypatch.setattr(in_duckdb.time, "process_time", lambda: 0.0)
    begun = time.monotonic()
    with pytest.raises(QueryFailed, match="too long"):
        engine.query(long, 0.2, 10)
    assert time.monotonic() - begun >= 0.8
