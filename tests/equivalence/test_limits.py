"""Queries are as large as SQLite lets them be, and are compared as small ones are."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from text2sql.equivalence.match import match_pair
from text2sql.evaluation import execution_match

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c TEXT)"

LARGE = {
    "300 ORs": "SELECT c FROM t WHERE " + " OR ".join(f"a = {i}" for i in range(300)),
    "900 ORs": "SELECT c FROM t WHERE " + " OR ".join(f"a = {i}" for i in range(900)),
    "300 ANDs": "SELECT c FROM t WHERE " + " AND ".join(f"a <> {i}" for i in range(300)),
    "60 parts": " UNION ALL ".join(f"SELECT {i}, c FROM t WHERE id = {i}" for i in range(60)),
    "400 parts": " UNION ALL ".join(f"SELECT {i}, c FROM t WHERE id = {i}" for i in range(400)),
    "a sum of 500": "SELECT a" + " + b" * 500 + " FROM t",
    "a CASE of 300": "SELECT CASE " + " ".join(f"WHEN a = {i} THEN 'x{i}'" for i in range(300)) + " END FROM t",
    "a list of 3000": f"SELECT c FROM t WHERE a IN ({', '.join(map(str, range(3000)))})",
    "nested 25": "SELECT " + "abs(" * 25 + "a" + ")" * 25 + " FROM t",
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_query_is_itself(name: str) -> None:
    # Size must not be the obstacle; on a machine that others use, time might be.
    verdict = execution_match(SCHEMA, LARGE[name], LARGE[name] + " ", timeout=10.0)
    assert verdict.correct, verdict


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("300 ORs", "a = 7 ", "a = 7777 "),
        ("300 ANDs", "a <> 7 ", "a <> 7777 "),
        ("60 parts", "SELECT 7,", "SELECT 77,"),
        ("400 parts", "id = 7 ", "id = 777 "),
        ("a CASE of 300", "'x7'", "'y7'"),
    ],
)
def test_a_small_difference_in_it_is_found(name: str, old: str, new: str) -> None:
    assert old in LARGE[name]
    verdict = execution_match(SCHEMA, LARGE[name], LARGE[name].replace(old, new, 1))
    assert verdict.status == "different", verdict


def test_a_busy_machine_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    # It lets the process wait for five seconds, three times while a pair is judged.
    asked = itertools.count()
    clock = SimpleNamespace(thread_time=lambda: 0.0, monotonic=lambda: 5.0 * min(3, next(asked) // 10))
    monkeypatch.setattr("text2sql.sql.budget.time", clock)
    sql = LARGE["a CASE of 300"]
    assert match_pair(SCHEMA, sql, sql.replace("'x7'", "'y7'", 1)).status == "different"
    asked = itertools.count()
    assert match_pair(SCHEMA, sql, sql.replace("'x7'", "'x7' || ''", 1)).status == "equivalent"
    assert next(asked) > 30


def test_what_is_beyond_sqlites_limits_is_an_error() -> None:
    deep = "SELECT " + "(" * 1500 + "a" + ")" * 1500 + " FROM t"
    wide = " UNION ALL ".join(["SELECT a FROM t"] * 501)
    for predicted in (deep, wide, "SELECT a FROM t WHERE " + " OR ".join(["a = 1"] * 1001)):
        assert execution_match(SCHEMA, "SELECT a FROM t", predicted).status == "error"
