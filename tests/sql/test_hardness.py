"""Spider's levels of hardness on examples."""

from __future__ import annotations

import pytest

from text2sql.sql.hardness import hardness


@pytest.mark.parametrize(
    ("sql", "level"),
    [
        ("SELECT a FROM t", "easy"),
        ("SELECT COUNT(*) FROM t WHERE a > 1", "easy"),
        ("SELECT a, b FROM t WHERE c = 'x' AND b = 'y'", "medium"),
        ("SELECT a FROM t ORDER BY b LIMIT 1", "medium"),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u)", "hard"),
        ("SELECT a FROM t EXCEPT SELECT a FROM u", "hard"),
        ("SELECT a, COUNT(*) FROM t JOIN u ON t.a = u.a WHERE d = 'x' GROUP BY b ORDER BY c LIMIT 3", "extra"),
        ("not sql at all", "extra"),
    ],
)
def test_hardness(sql: str, level: str) -> None:
    assert hardness(sql) == level
