"""Conditions and functions that leave no row out, and decide what is shown, grouped or sorted by, are tried on rows."""

from __future__ import annotations

import pytest

from text2sql.equivalence.match import match_pair

SCHEMA = "CREATE TABLE m (id INTEGER PRIMARY KEY, s TEXT, n INT, d DATE, f REAL)"
DIFFERENT = [
    ("SELECT id, s || '' = 'high' FROM m", "SELECT id, s || '' = 'mid' FROM m"),
    ("SELECT id, UPPER(s) = 'HIGH' FROM m", "SELECT id, UPPER(s) = 'MID' FROM m"),
    ("SELECT id, 'x' || s = 'xhigh' FROM m", "SELECT id, 'x' || s = 'xmid' FROM m"),
    ("SELECT id FROM m WHERE 'x' || s = 'xhigh'", "SELECT id FROM m WHERE 'x' || s = 'xmid'"),
    ("SELECT id, n * 2 + 1 = 77 FROM m", "SELECT id, n*2+1 = 79 FROM m"),
    ("SELECT id, CASE WHEN TRIM(s)='high' THEN 1 END FROM m", "SELECT id, CASE WHEN TRIM(s)='mid' THEN 1 END FROM m"),
    ("SELECT COUNT(*) FROM m GROUP BY SUBSTR(s,1,3)='hig'", "SELECT COUNT(*) FROM m GROUP BY SUBSTR(s,1,3)='mid'"),
    ("SELECT id FROM m ORDER BY n * 2 > 500, id", "SELECT id FROM m ORDER BY n*2 > 600, id"),
    ("SELECT id FROM m ORDER BY (s) = 'high', id", "SELECT id FROM m ORDER BY (s) = 'mid', id"),
    (
        "SELECT id FROM m ORDER BY CASE (s) WHEN 'high' THEN 1 END, id",
        "SELECT id FROM m ORDER BY CASE (s) WHEN 'mid' THEN 1 END, id",
    ),
    ("SELECT SUM(UPPER(s)='HIGH') FROM m", "SELECT SUM(UPPER(s)='MID') FROM m"),
    (
        "SELECT SUM(CASE UPPER(s) WHEN 'HIGH' THEN 2 END) FROM m",
        "SELECT SUM(CASE UPPER(s) WHEN 'MID' THEN 2 END) FROM m",
    ),
    ("SELECT IIF(UPPER(s) IN ('HIGH','LOW'),1,2) FROM m", "SELECT IIF(UPPER(s) IN ('HIGH','LO'),1,2) FROM m"),
    ("SELECT UPPER(s) LIKE 'HIG%' FROM m", "SELECT UPPER(s) LIKE 'HIGH%' FROM m"),
    ("SELECT NULLIF(UPPER(s),'HIGH') FROM m", "SELECT NULLIF(UPPER(s),'MID') FROM m"),
    ("SELECT NULLIF(s,'high') FROM m", "SELECT NULLIF(s,'mid') FROM m"),
    ("SELECT REPLACE(s,'high','') FROM m", "SELECT REPLACE(s,'mid','') FROM m"),
    ("SELECT COALESCE(s,'high')='high' FROM m", "SELECT COALESCE(s,'mid')='mid' FROM m"),
    ("SELECT id FROM m WHERE '%' || s || '!' = '%abc!'", "SELECT id FROM m WHERE '%' || s || '!' = '%abd!'"),
    ("SELECT id FROM m ORDER BY d > '2020-05-05', id", "SELECT id FROM m ORDER BY d > '2020-05-06', id"),
    ("SELECT id, strftime('%Y',d) = '2020' FROM m", "SELECT id, strftime('%Y',d) = '2021' FROM m"),
    (
        "SELECT strftime('%Y',d) = '2020', COUNT(*) FROM m GROUP BY 1",
        "SELECT strftime('%Y',d) > '2020', COUNT(*) FROM m GROUP BY 1",
    ),
    (
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY n > 50 ORDER BY id) FROM m",
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY n > 51 ORDER BY id) FROM m",
    ),
    ("SELECT COUNT(n > 50 OR NULL) FROM m", "SELECT COUNT(n > 51 OR NULL) FROM m"),
    ("SELECT MAX(n BETWEEN 50 AND 60) FROM m", "SELECT MAX(n BETWEEN 50 AND 61) FROM m"),
    ("SELECT AVG(LENGTH(s) > 50) FROM m", "SELECT AVG(LENGTH(s) > 51) FROM m"),
    ("SELECT id, (n IN (77, 78)) + 1 FROM m", "SELECT id, (n IN (77, 79)) + 1 FROM m"),
    ("SELECT id, n = 77 AND s = 'x9' FROM m", "SELECT id, n = 77 OR s = 'x9' FROM m"),
    ("SELECT id, s LIKE 'abc%' FROM m", "SELECT id, s LIKE 'abcd%' FROM m"),
    ("SELECT id, ABS(n) > 700 FROM m", "SELECT id, ABS(n) >= 700 FROM m"),
    ("SELECT id, n IS NULL FROM m", "SELECT id, n IS NOT NULL FROM m"),
    (
        "SELECT CASE WHEN n > 5 THEN n * 2 > 900 ELSE 0 END FROM m",
        "SELECT CASE WHEN n > 5 THEN n * 2 > 902 ELSE 0 END FROM m",
    ),
    (
        "SELECT id FROM m ORDER BY CASE WHEN s = 'q1' THEN 0 WHEN s = 'q2' THEN 1 ELSE 2 END, id",
        "SELECT id FROM m ORDER BY CASE WHEN s = 'q1' THEN 0 WHEN s = 'q2' THEN 2 ELSE 1 END, id",
    ),
    ("SELECT DISTINCT n > 500 FROM m", "SELECT DISTINCT n > 501 FROM m"),
    ("SELECT (SELECT MAX(n) FROM m) > 900", "SELECT (SELECT MAX(n) FROM m) > 901"),
    ("SELECT COUNT(*) > 3 FROM m", "SELECT COUNT(*) > 4 FROM m"),
    ("SELECT COUNT(*) > 30 FROM m", "SELECT COUNT(*) >= 30 FROM m"),
    ("SELECT SUM(f) > 100.5 FROM m", "SELECT SUM(f) > 100.6 FROM m"),
    ("SELECT s, SUM(n) > 1000 FROM m GROUP BY s", "SELECT s, SUM(n) > 1001 FROM m GROUP BY s"),
    ("SELECT s FROM m GROUP BY s ORDER BY SUM(n) > 1000, s", "SELECT s FROM m GROUP BY s ORDER BY SUM(n) > 1001, s"),
    (
        "SELECT CASE COUNT(*) WHEN 7 THEN 'a' ELSE 'b' END FROM m",
        "SELECT CASE COUNT(*) WHEN 8 THEN 'a' ELSE 'b' END FROM m",
    ),
    (
        "SELECT CASE WHEN COUNT(*) > 17 THEN 'a' ELSE 'b' END FROM m",
        "SELECT CASE WHEN COUNT(*) > 18 THEN 'a' ELSE 'b' END FROM m",
    ),
    (
        "SELECT s, CASE WHEN AVG(n) > 170 THEN 'a' ELSE 'b' END FROM m GROUP BY s",
        "SELECT s, CASE WHEN AVG(n) > 180 THEN 'a' ELSE 'b' END FROM m GROUP BY s",
    ),
    (
        "SELECT s, CASE WHEN SUM(f) - 10 > 170 THEN 'a' ELSE 'b' END FROM m GROUP BY s",
        "SELECT s, CASE WHEN SUM(f) - 10 > 180 THEN 'a' ELSE 'b' END FROM m GROUP BY s",
    ),
    (
        "SELECT s || CASE WHEN n > 100 THEN '+' ELSE '-' END FROM m",
        "SELECT s || CASE WHEN n > 101 THEN '+' ELSE '-' END FROM m",
    ),
    ("SELECT MIN(n, 500) FROM m", "SELECT MIN(n, 501) FROM m"),
    ("SELECT MAX(n, -500) FROM m", "SELECT MAX(n, -501) FROM m"),
    ("SELECT id, n % 7 FROM m", "SELECT id, n % 8 FROM m"),
    ("SELECT id, n / 77 FROM m", "SELECT id, n / 78 FROM m"),
    ("SELECT id, ROUND(f, 3) FROM m", "SELECT id, ROUND(f, 4) FROM m"),
    ("SELECT id, SUBSTR(s, 1, 30) FROM m", "SELECT id, SUBSTR(s, 1, 31) FROM m"),
    ("SELECT id, INSTR(s, 'zq') FROM m", "SELECT id, INSTR(s, 'zk') FROM m"),
    ("SELECT id, INSTR(s, 'zq') > 0 FROM m", "SELECT id, INSTR(s, 'zk') > 0 FROM m"),
    ("SELECT id, n & 64 FROM m", "SELECT id, n & 128 FROM m"),
    ("SELECT id, n >> 9 FROM m", "SELECT id, n >> 10 FROM m"),
    ("SELECT id, TRIM(s, 'xq') FROM m", "SELECT id, TRIM(s, 'xk') FROM m"),
    ("SELECT id, date(d, '+1 month') FROM m", "SELECT id, date(d, '+31 days') FROM m"),
    ("SELECT id, strftime('%w', d) FROM m", "SELECT id, strftime('%u', d) FROM m"),
    ("SELECT id, CAST(f AS INT) FROM m", "SELECT id, ROUND(f) FROM m"),
]
SAME = [
    ("SELECT id, UPPER(s) = 'HIGH' FROM m", "SELECT id, 'HIGH' = UPPER(s) FROM m"),
    ("SELECT id FROM m ORDER BY n * 2 > 500, id", "SELECT id FROM m ORDER BY 500 < n * 2, id"),
    ("SELECT CASE s WHEN 'a' THEN 1 ELSE 2 END FROM m", "SELECT CASE WHEN s = 'a' THEN 1 ELSE 2 END FROM m"),
    ("SELECT COUNT(n > 50 OR NULL) FROM m", "SELECT COUNT(CASE WHEN n > 50 THEN 1 END) FROM m"),
    ("SELECT id, n BETWEEN 5 AND 7 FROM m", "SELECT id, n >= 5 AND n <= 7 FROM m"),
    ("SELECT id, SUBSTR(s, 1, 30) FROM m", "SELECT id, SUBSTR(s, -LENGTH(s), 30) FROM m"),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("gold", "predicted"), DIFFERENT)
def test_a_difference_is_seen(gold: str, predicted: str, seed: int) -> None:
    assert match_pair(SCHEMA, gold, predicted, seed=seed).status == "different"


@pytest.mark.parametrize(("gold", "predicted"), SAME)
def test_the_same_stays_the_same(gold: str, predicted: str) -> None:
    assert match_pair(SCHEMA, gold, predicted).status == "equivalent"


@pytest.mark.parametrize("expression", ["src", "src || ''", "UPPER(src)"])
def test_conditions_reach_the_source_of_a_generated_column(expression: str) -> None:
    schema = f"CREATE TABLE m (id INTEGER PRIMARY KEY, src TEXT, s TEXT AS ({expression}))"
    texts = ("HIGH", "MID") if "UPPER" in expression else ("high", "mid")
    queries = [f"SELECT id FROM m ORDER BY s = '{text}', id" for text in texts]
    assert match_pair(schema, *queries).status == "different"
