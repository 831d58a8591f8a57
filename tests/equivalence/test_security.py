"""Model output is hostile: nothing is written, nothing hangs, the caller goes on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from text2sql.equivalence.sqlite_pair import compile_prediction
from text2sql.evaluation import execution_match
from text2sql.sql.budget import TIMEOUT

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT)"
GOLD = "SELECT a FROM t"

REFUSED = [
    "DROP TABLE t",
    "DELETE FROM t",
    "UPDATE t SET a = 1",
    "INSERT INTO t VALUES (1, 'x')",
    "REPLACE INTO t VALUES (1, 'x')",
    "CREATE TABLE u (a)",
    "CREATE TEMP TABLE u AS SELECT 1",
    "ATTACH DATABASE '/tmp/x.db' AS x",
    "PRAGMA writable_schema = 1",
    "PRAGMA data_version",
    "PRAGMA page_size",
    "VACUUM INTO '/tmp/x.db'",
    "BEGIN EXCLUSIVE",
    "EXPLAIN SELECT a FROM t",
    "WITH x AS (SELECT 1) DELETE FROM t",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT 1, 'x'",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT * FROM pragma_database_list",
    "SELECT name FROM sqlite_master",
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(2000000000)",
    "SELECT printf('%.1000000000c', 'x')",
    "SELECT format('%' || '9' || '999999999d', 1)",
    "SELECT printf('%*d', 1000000000, 1)",
]

STOPPED = [
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT COUNT(*) FROM r",
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r",
    "WITH RECURSIVE r(x) AS (SELECT 'ab' UNION ALL SELECT x || x FROM r) SELECT MAX(LENGTH(x)) FROM r",
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 100000) SELECT COUNT(*) FROM r p, r q, r s",
    "WITH RECURSIVE r(x) AS (SELECT zeroblob(9000) UNION ALL SELECT zeroblob(9000) FROM r) SELECT x FROM r ORDER BY x",
    "SELECT COUNT(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000,
    "SELECT " + "NOT " * 5000 + "1",
    "SELECT a FROM t WHERE " + " OR ".join(["a = 1"] * 3000),
    "SELECT " + ", ".join(["a"] * 5000) + " FROM t",
    "SELECT 1" + " UNION ALL SELECT 1" * 2000,
    "SELECT * FROM (" * 300 + "SELECT a FROM t" + ")" * 300,
    "SELECT a FROM t WHERE b LIKE '" + "%a" * 4000 + "'",
    "SELECT '" + "x" * 3_000_000 + "'",
    "SELECT a FROM t; " * 2000,
    "```sql\n" * 5000,
    "(" * 100_000,
    "-- " * 100_000,
    "WITH a AS (" * 2000,
    "SELECT replace(hex(zeroblob(9000)), '0', hex(zeroblob(9000))) FROM t",
    "SELECT group_concat(x.a || hex(zeroblob(4000))) FROM t x, t y, t z, t u, t v, t w",
    "SELECT hex(zeroblob(4000)) LIKE '" + "%0" * 200 + "1' FROM t, t b, t c, t d, t e",
    "SELECT '" + "\x00" * 100 + "' FROM t",
    "SELECT '\ud800', a FROM t",
    "SELECT a + 9223372036854775807 * 1e400 FROM t WHERE a > 99999999999999999999999",
    "SELECT " + "CASE WHEN a THEN " * 400 + "1" + " END" * 400 + " FROM t",
    "SELECT " + "abs(" * 1500 + "a" + ")" * 1500 + " FROM t",
    "SELECT a FROM t WHERE a IN (" + ", ".join(map(str, range(20_000))) + ")",
    "SELECT " + "-" * 5000 + "1",
    "SELECT max(" + ", ".join(["randomblob(19000)"] * 100) + ") FROM t a, t b, t c",
]


@pytest.mark.parametrize("predicted", REFUSED)
def test_refused(predicted: str) -> None:
    verdict = execution_match(SCHEMA, GOLD, predicted)
    assert verdict.status == "refused" and not verdict.correct, verdict


@pytest.mark.parametrize("predicted", STOPPED, ids=lambda text: text[:40])
def test_stopped_in_time(predicted: str) -> None:
    start = time.thread_time()
    verdict = execution_match(SCHEMA, GOLD, predicted)
    # The search and the witness of what it finds have a limit each.
    assert time.thread_time() - start < 2 * TIMEOUT
    assert verdict.status in ("timeout", "refused", "error", "different", "equivalent", "undecided")
    if not predicted.startswith("SELECT a FROM t;"):
        assert not verdict.correct, verdict


def test_hostile_gold_and_schema_do_not_break_the_evaluator() -> None:
    for gold in ("DROP TABLE t", STOPPED[0], "PRAGMA x", "", ";;;", "SELECT a FROM t WHERE"):
        assert execution_match(SCHEMA, gold, "SELECT a FROM t").status == "undecided"
    for schema in ("", "garbage", "CREATE TABLE", "CREATE TABLE (", "CREATE TABLE t (" * 500, "CREATE TABLE t ()"):
        assert execution_match(schema, GOLD, GOLD).status in ("equivalent", "undecided")
    check = "CREATE TABLE t (a INTEGER CHECK (a = (SELECT 1)), b TEXT CHECK (load_extension('x')))"
    assert execution_match(check, GOLD, GOLD).status in ("equivalent", "undecided")
    check = "CREATE TABLE t (a INTEGER, b TEXT CHECK (load_extension('x')))"
    verdict = execution_match(check, "SELECT a FROM t", "SELECT b FROM t")
    assert verdict.status == "undecided" and "not authorized" in verdict.reason


def test_hostile_texts_in_gold_and_schema_get_a_verdict() -> None:
    numbers = "SELECT a FROM t WHERE a < 1e999 AND a > -99999999999999999999 AND b <> '1e400'"
    for gold in (numbers, "SELECT '\ud800\x00', a FROM t", STOPPED[-4]):
        assert "evaluator failed" not in execution_match(SCHEMA, gold, "SELECT a FROM t").reason
    for schema in (
        "CREATE TABLE t (/*a INTEGER)",
        "CREATE TABLE \x00 (a)",
        "CREATE TABLE \ud800 (\ud800 \ud800)",
        "(" * 9999,
    ):
        assert "evaluator failed" not in execution_match(schema, GOLD, GOLD).reason


def test_memory_of_a_hostile_query_is_bounded() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for predicted in (REFUSED[-5], STOPPED[4]):
        execution_match(SCHEMA, GOLD, predicted)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 400 * 2**20  # on Linux in KiB: the limit of one query is 256 MiB


def test_no_file_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for predicted in REFUSED + STOPPED[:4]:
        execution_match(SCHEMA, GOLD, predicted.replace("/tmp/", f"{tmp_path}/"))
    assert os.listdir(tmp_path) == []


def test_one_hostile_prediction_does_not_poison_the_next() -> None:
    for predicted in REFUSED[:8]:
        execution_match(SCHEMA, GOLD, predicted)
        assert execution_match(SCHEMA, GOLD, "SELECT a FROM t").correct


def test_a_read_only_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)")
    db.close()
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    for predicted in REFUSED:
        assert not execution_match(SCHEMA, GOLD, predicted, str(path)).correct
    assert path.read_bytes() == before and path.stat().st_mtime_ns == stamp
    assert os.listdir(tmp_path) == ["d.sqlite"]


WIDE = "CREATE TABLE t (a INTEGER, b TEXT, " + ", ".join(f"c{i} INTEGER" for i in range(200)) + ")"
ALL = ", ".join(f"c{i}" for i in range(200))
LONG = 199_000


def _repeated(piece: str) -> str:
    return piece * (LONG // len(piece))


EXPENSIVE = [
    f"WITH x0 AS (SELECT {ALL} FROM t)"
    + "".join(f", x{i} AS (SELECT * FROM x{i - 1} UNION ALL SELECT * FROM x{i - 1})" for i in range(1, 16))
    + " SELECT COUNT(*) FROM x15",
    "WITH x0 AS (SELECT a FROM t)"
    + "".join(f", x{i} AS (SELECT a+a a FROM x{i - 1})" for i in range(1, 31))
    + " SELECT a FROM x30",
    f"SELECT {', '.join(['x'] * 1900)} FROM (SELECT {' || '.join(['a'] * 900)} x FROM t)",
    "SELECT a FROM t WHERE " + " OR ".join(f'a = "x{i}"' for i in range(9000)),
    "SELECT a FROM t WHERE a IN (" + ", ".join(f'"x{i}"' for i in range(15_000)) + ")",
    "SELECT * FROM t" + " UNION ALL SELECT * FROM t" * 499,
    "SELECT "
    + ", ".join(f"SUM(c{i % 200}) OVER (PARTITION BY c{i % 7} ORDER BY c{i % 9})" for i in range(1500))
    + " FROM t",
    "SELECT " + ", ".join(f"(SELECT MAX(c{i % 200}) FROM t x WHERE x.a = t.a)" for i in range(1900)) + " FROM t",
    *map(_repeated, ("\n", ">", "\n(", "[", "SELECT (", "WITH a AS (", "CASE WHEN a THEN ", "order group ")),
]


def test_no_text_costs_more_than_the_limit_or_300_megabytes() -> None:
    pytest.importorskip("resource")
    given = json.dumps([WIDE, GOLD, ["SELECT 1", *EXPENSIVE]])
    command = [sys.executable, "-m", "tests.support.worker_cost"]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    (_, nothing, _), *found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(EXPENSIVE)
    for text, (status, seconds, kibibytes) in zip(EXPENSIVE, found, strict=True):
        # A fresh worker imports, for as long as it takes with the first text, and 60 MB before it reads the text.
        assert seconds < TIMEOUT + 3 * nothing, (text[:60], seconds, nothing)
        assert kibibytes < 380 * 1024, (text[:60], kibibytes)
        assert status != "equivalent"


def test_what_may_explode_is_not_compiled_in_the_callers_process() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF)
    for text in EXPENSIVE[:3]:
        assert execution_match(WIDE, GOLD, text).status == "timeout"
        failure = compile_prediction(WIDE, GOLD, text)
        assert failure is not None and failure.kind == "refused"
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < TIMEOUT and after.ru_maxrss - before.ru_maxrss < 100 * 1024
