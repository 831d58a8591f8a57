"""Queries of one shape have the same syntax: what is read from the shape is what is read from the query."""

from __future__ import annotations

import pytest

from text2sql.data.sources.bundled import load_bundled
from text2sql.sql.features import features_of
from text2sql.sql.hardness import hardness
from text2sql.sql.prepare import parse
from text2sql.sql.shape import shape_of

ODD = [
    "",
    ";",
    "nonsense",
    "SELECT",
    "SELECT a FROM t ORDER BY a DESC NULLS LAST LIMIT 1",
    "SELECT a FROM t ORDER BY a DESC NULLS name LIMIT 1",
    "SELECT a b FROM t u WHERE u.a = 'x'",
    "SELECT a b c FROM t",
    "SELECT CURRENT_DATE, first, last, key, value FROM t WHERE rows = 3",
    "SELECT (a) LAST FROM t",
    "SELECT x'53', X '53', date '2020-01-01', INTERVAL 1 day",
    "SELECT CAST(a AS foo), CAST(b AS INTEGER) FROM t",
    "SELECT a -> '$.b', a ->> '$.b' FROM t",
    "SELECT a -- b\nFROM t",
    "/* a */ SELECT a FROM t",
    "SELECT rank() OVER (PARTITION BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    'SELECT COUNT (DISTINCT a), b.c, [d], `e`, "f" FROM t AS b NATURAL JOIN u USING (a)',
    "SELECT a FROM t WHERE b LIKE '%''%' ESCAPE 'x' COLLATE nocase",
    "SELECT a FROM t WHERE NOT b IN (SELECT c FROM u) UNION SELECT 1.5e3",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SELECT a FROM t WHERE any = 1 AND if = 2",
    "DELETE FROM t WHERE a = 1",
]


def test_a_shape_is_read_like_its_query() -> None:
    bundled = {shape_of(example.answer): example.answer for example in load_bundled()[:800]}
    assert len(bundled) < 300
    shapes = [(query, shape) for query in (*ODD, *bundled.values()) if (shape := shape_of(query)) is not None]
    assert len(shapes) > len(bundled)
    for query, shape in shapes:
        one, other = parse(query), parse(shape)
        assert (one is None) == (other is None), query
        if one is not None and other is not None:
            assert type(one) is type(other) and features_of(one) == features_of(other), query
        assert hardness(query) == hardness(shape), query


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT a FROM t WHERE b = 'x'", "select  year from table_name_3 where c='it''s' ", True),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 2.5", True),
        ("SELECT a FROM t WHERE b = 'x'", 'SELECT a FROM t WHERE b = "x"', False),
        ("SELECT MAX(a) FROM t", "SELECT MIN(a) FROM t", False),
        ("SELECT a FROM t LIMIT 1", "SELECT a FROM t OFFSET 1", False),
    ],
)
def test_names_and_literals_are_no_part_of_it(one: str, other: str, same: bool) -> None:
    assert (shape_of(one) == shape_of(other)) is same


def test_nothing_is_said_of_what_is_not_understood() -> None:
    for text in ("SELECT a -- b", "SELECT ២", "SELECT [a]", "SELECT a -> b", "'open"):
        assert shape_of(text) is None, text
