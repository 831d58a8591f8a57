"""Queries about the last days and hours, in each engine's own words, and rows whose dialects are mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.engines import require_engine
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.execution_match import execution_match
from text2sql.equivalence.scoring import Pair, score_pairs

SCHEMA = "CREATE TABLE t (id INTEGER, d DATE, ts TIMESTAMP)"
STYLE = Path(__file__).parent / "data" / "gretel_style.jsonl"
# How a query says the moment so long ago, and the unit of it.
LAST = [
    ("postgres", "ts > NOW() - INTERVAL '{} hours'", 6),
    ("postgres", "ts > NOW() - INTERVAL '{} hours'", 24),
    ("postgres", "ts >= LOCALTIMESTAMP - INTERVAL '{} days'", 30),
    ("postgres", "d >= CURRENT_DATE - INTERVAL '{} days'", 30),
    ("mysql", "ts >= DATE_SUB(NOW(), INTERVAL {} WEEK)", 1),
    ("mysql", "ts > NOW() - INTERVAL {} HOUR", 5),
    ("mysql", "d >= DATE_SUB(CURDATE(), INTERVAL {} DAY)", 30),
    ("duckdb", "ts >= NOW() - INTERVAL {} DAY", 30),
    ("duckdb", "ts > NOW() - INTERVAL {} HOUR", 5),
    ("duckdb", "d > TODAY() - INTERVAL {} DAY", 7),
]


@pytest.mark.parametrize(("dialect", "condition", "count"), LAST)
def test_the_last_hours_and_days_are_those_before_now(dialect: Dialect, condition: str, count: int) -> None:
    require_engine(dialect)
    gold = f"SELECT id FROM t WHERE {condition.format(count)}"
    same = execution_match(SCHEMA, gold, gold.replace("id", "id + 0"), dialect=dialect)
    assert same.correct and same.informative >= 6, same.reason
    other = f"SELECT id FROM t WHERE {condition.format(count + 1)}"
    assert execution_match(SCHEMA, gold, other, dialect=dialect).status == "different"


# Of two moments: whole units against smaller ones, and seconds with and without their fractions.
BETWEEN = [
    ("mysql", "TIMESTAMPDIFF(HOUR, a, b) > 3", "TIMESTAMPDIFF(MINUTE, a, b) > 180"),
    ("mysql", "TIMESTAMPDIFF(DAY, a, b) > 2", "DATEDIFF(b, a) > 2"),
    ("mysql", "TIMESTAMPDIFF(MINUTE, a, b) >= 30", "TIMESTAMPDIFF(SECOND, a, b) > 1800"),
    ("duckdb", "DATE_SUB('hour', a, b) > 3", "DATE_SUB('minute', a, b) > 180"),
    ("duckdb", "DATE_DIFF('day', a, b) > 3", "b - a > INTERVAL 3 DAY"),
    ("postgres", "FLOOR(EXTRACT(epoch FROM b - a) / 3600) > 3", "EXTRACT(epoch FROM b - a) / 3600 > 3"),
    ("postgres", "EXTRACT(second FROM b) = 0", "TO_CHAR(b, 'SS')::int = 0"),
    ("postgres", "EXTRACT(epoch FROM b)::bigint % 60 = 0", "DATE_TRUNC('minute', b) = b"),
]


@pytest.mark.parametrize(("dialect", "condition", "other"), BETWEEN)
def test_what_is_more_than_a_unit_and_less_than_a_second(dialect: Dialect, condition: str, other: str) -> None:
    require_engine(dialect)
    kind = "DATETIME(3)" if dialect == "mysql" else "TIMESTAMP"
    schema = f"CREATE TABLE trip (id INT PRIMARY KEY, a {kind} NOT NULL, b {kind} NOT NULL)"
    pair = f"SELECT id FROM trip WHERE {condition}", f"SELECT id FROM trip WHERE {other}"
    assert [execution_match(schema, *pair, dialect=dialect, seed=seed).status for seed in range(2)] == ["different"] * 2


@pytest.mark.parametrize(("dialect", "judged"), [("sqlite", 24), ("duckdb", 51), ("postgres", 44), ("mysql", 42)])
def test_rows_of_mixed_dialects_are_judged_where_they_are_at_home(dialect: Dialect, judged: int) -> None:
    if dialect != "sqlite":
        require_engine(dialect)
    rows = [json.loads(line) for line in STYLE.read_text().splitlines()]
    pairs = [Pair(row["context"], row["answer"], row["answer"], None, dialect) for row in rows]
    found = [verdict.correct for _, verdict in score_pairs(pairs, workers=2, timeout=10.0)]
    assert len(rows) == 60 and sum(found) >= judged
