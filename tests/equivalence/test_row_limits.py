"""Partitions and chains are as long as windows look and recursions go, up to a limit; beyond it, nothing is decided."""

from __future__ import annotations

import pytest

from text2sql.equivalence.databases.phenomena.recursive_chains import MAX_RECURSION_STEPS
from text2sql.equivalence.databases.phenomena.window_reach import MAX_WINDOW_ROWS
from text2sql.evaluation import execution_match

SCHEMA = """CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE sale (shop_id INTEGER NOT NULL REFERENCES shop(id), day DATE NOT NULL, qty INTEGER, note TEXT,
  PRIMARY KEY (shop_id, day));
CREATE TABLE staff (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES staff(id), name TEXT, CHECK (boss > id));
CREATE TABLE part (id INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE TABLE bom (whole INTEGER NOT NULL REFERENCES part(id), piece INTEGER NOT NULL REFERENCES part(id), qty INTEGER,
  PRIMARY KEY (whole, piece), CHECK (whole < piece));
CREATE TABLE path (a TEXT, b TEXT, km INTEGER)"""
PER_SHOP = "OVER (PARTITION BY shop_id ORDER BY day"
# What stands for the number, and a number that differs from it.
WINDOWS = [
    (f"SELECT shop_id, day, LAG(qty, {{}}) {PER_SHOP}) FROM sale", 11, 12),
    (f"SELECT shop_id, day, LEAD(note, {{}}, 'none') {PER_SHOP}) FROM sale", 30, 29),
    (f"SELECT shop_id, day, SUM(qty) {PER_SHOP} ROWS BETWEEN {{}} PRECEDING AND CURRENT ROW) FROM sale", 6, 7),
    (f"SELECT shop_id, day, MAX(qty) {PER_SHOP} ROWS BETWEEN 1 FOLLOWING AND {{}} FOLLOWING) FROM sale", 6, 5),
    (f"SELECT shop_id, day, MIN(note) {PER_SHOP} ROWS {{}} PRECEDING) FROM sale", 4, 5),
    (f"SELECT shop_id, day, NTH_VALUE(day, {{}}) {PER_SHOP} GROUPS UNBOUNDED PRECEDING) FROM sale", 9, 10),
    ("SELECT day, NTILE({}) OVER (ORDER BY day) FROM sale", 20, 21),
    ("SELECT day, SUM(qty) OVER w FROM sale WINDOW w AS (PARTITION BY shop_id ORDER BY day ROWS {} PRECEDING)", 13, 14),
    (
        "SELECT day FROM (SELECT day, qty, AVG(qty) OVER (PARTITION BY shop_id ORDER BY day ROWS BETWEEN {} PRECEDING "
        "AND 1 PRECEDING) AS m FROM sale WHERE day >= '2023-05-01') WHERE qty > m",
        8,
        9,
    ),
    (
        "SELECT name, day, LAG(qty, {}) OVER (PARTITION BY shop_id ORDER BY day) FROM sale JOIN shop ON id = shop_id",
        MAX_WINDOW_ROWS - 1,
        MAX_WINDOW_ROWS,
    ),
    (
        "SELECT strftime('%Y', day) AS y, AVG(SUM(qty)) OVER (ORDER BY strftime('%Y', day) ROWS {} PRECEDING) "
        "FROM sale GROUP BY y",
        9,
        10,
    ),
]
# A number that rows are ranked up to, and shares of them.
OF_SHOP = "OVER (PARTITION BY shop_id ORDER BY day)"
RANKS = [
    (f"SELECT day FROM (SELECT day, ROW_NUMBER() {OF_SHOP} r FROM sale) WHERE r <= {{}}", 12, 11),
    ("SELECT day FROM (SELECT day, COUNT(*) OVER (PARTITION BY shop_id) n FROM sale) WHERE n >= {}", 15, 16),
    ("SELECT day FROM (SELECT day, PERCENT_RANK() OVER (ORDER BY day) p FROM sale) WHERE p > {}", 0.9, 0.95),
    (f"SELECT day FROM (SELECT day, CUME_DIST() {OF_SHOP} p FROM sale) WHERE p {{}} 0.8", "<=", "<"),
    ("SELECT day FROM (SELECT day, PERCENT_RANK() OVER (ORDER BY day) p FROM sale) WHERE p {} 0.85", ">", ">="),
]
DOWN = (
    "WITH RECURSIVE u(id, n) AS (SELECT id, 1 FROM staff WHERE boss IS NULL UNION ALL SELECT s.id, n + 1 FROM staff s"
)
PARTS = "WITH RECURSIVE d(id, depth) AS (SELECT 7, 0 UNION SELECT piece, depth + 1 FROM d JOIN bom ON whole = d.id"
ROADS = "WITH RECURSIVE r(b, km) AS (SELECT b, km FROM path WHERE a = 'Oslo' UNION SELECT path.b, r.km + path.km"
RECURSIONS = [
    (f"{DOWN} JOIN u ON s.boss = u.id) SELECT COUNT(*) FROM u WHERE n < {{}}", 9, 10),
    (f"{DOWN} JOIN u ON s.boss = u.id WHERE n < {{}}) SELECT id FROM u", 7, 6),
    (f"{DOWN} JOIN u ON s.boss = u.id) SELECT name FROM staff JOIN u USING (id) WHERE n = {{}}", 5, 6),
    (
        "WITH RECURSIVE u(id, boss, n) AS (SELECT id, boss, 0 FROM staff WHERE name = 'Ann' UNION ALL "
        "SELECT s.id, s.boss, n + 1 FROM staff s, u WHERE s.id = u.boss) SELECT MAX(n) FROM u WHERE n <= {}",
        12,
        13,
    ),
    (f"{PARTS} WHERE depth < {{}}) SELECT DISTINCT id FROM d", 4, 5),
    (
        f"{PARTS}) SELECT label FROM part WHERE id IN (SELECT id FROM d WHERE depth <= {{}})",
        MAX_RECURSION_STEPS - 1,
        MAX_RECURSION_STEPS,
    ),
    (f"{ROADS} FROM path, r WHERE path.a = r.b AND r.km + path.km <= {{}}) SELECT COUNT(DISTINCT b) FROM r", 500, 499),
    (f"{ROADS} FROM path JOIN r ON path.a = r.b LIMIT 200) SELECT DISTINCT b FROM r WHERE km < {{}}", 900, 901),
]
CONSTANT_TABLES = [
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {}) SELECT x FROM n JOIN sale ON qty = x",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {}) SELECT day FROM sale WHERE qty IN n",
    "SELECT day FROM sale JOIN (SELECT 40 AS x UNION ALL SELECT {}) AS v ON v.x = qty",
    "WITH v(x) AS (VALUES (3), ({})) SELECT COUNT(*) FROM v, sale WHERE x = qty",
    "WITH RECURSIVE n(d) AS (SELECT '2024-01-01' UNION ALL SELECT date(d, '+1 day') FROM n WHERE d < "
    "date('2024-01-01', '+{} days')) SELECT COUNT(*) FROM n JOIN sale ON day = d",
]


@pytest.mark.parametrize(("query", "number", "other"), [*WINDOWS, *RANKS, *RECURSIONS])
@pytest.mark.parametrize("seed", [0, 5])
def test_one_row_further_is_a_difference(query: str, number: object, other: object, seed: int) -> None:
    verdict = execution_match(SCHEMA, query.format(number), query.format(other), seed=seed)
    assert verdict.status == "different", verdict
    same = execution_match(SCHEMA, query.format(number), f"SELECT * FROM ({query.format(number)}) WHERE 1", seed=seed)
    assert same.status == "equivalent", same


@pytest.mark.parametrize("query", CONSTANT_TABLES)
@pytest.mark.parametrize("seed", [0, 5])
def test_the_ends_of_constant_tables_are_in_the_databases(query: str, seed: int) -> None:
    verdict = execution_match(SCHEMA, query.format(31), query.format(30), seed=seed)
    assert verdict.status == "different", verdict


@pytest.mark.parametrize(
    ("query", "limit"), [(WINDOWS[0][0], MAX_WINDOW_ROWS), (RECURSIONS[0][0], MAX_RECURSION_STEPS)]
)
def test_pairs_are_undecided_beyond_the_limit(query: str, limit: int) -> None:
    verdict = execution_match(SCHEMA, query.format(4 * limit), query.format(4 * limit + 1))
    assert verdict.status == "undecided", verdict
    assert f"{4 * limit:,}" in verdict.reason and f"up to {limit}" in verdict.reason


def test_rows_have_no_cycles_where_a_recursion_would_not_end() -> None:
    everyone = "WITH RECURSIVE c(top, id) AS (SELECT a, a FROM path UNION ALL SELECT top, b FROM path JOIN c ON a = id)"
    gold, predicted = f"{everyone} SELECT top, COUNT(*) FROM c GROUP BY 1", f"{everyone} SELECT id, 1 FROM c"
    verdict = execution_match(SCHEMA, gold, predicted)
    assert verdict.status == "different", verdict
    same = execution_match(SCHEMA, f"{everyone} SELECT COUNT(*) FROM c", f"{everyone} SELECT COUNT(1) FROM c WHERE 1")
    assert same.status == "equivalent", same
