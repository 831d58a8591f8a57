"""The one rule by which a query is found in a model's answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.evaluation import extract_sql

Q = "SELECT a FROM t WHERE b = 'x;y'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (Q, Q),
        (Q + ";", Q),
        (f"```sql\n{Q};\n```", Q),
        (f"```\n{Q}\n```\nThis query returns the a of all t.", Q),
        (f"Here is the query:\n```sql\n{Q}\n```", Q),
        (f"```sql\n{Q}", Q),
        (f"First try:\n```sql\nSELECT 1\n```\nBetter:\n```sql\n{Q}\n```", Q),
        (f"SQL: {Q}", Q),
        (f"Sure! Here is the SQL: {Q}", Q),
        (f"{Q}; SELECT 2", Q),
        (f"{Q}\n\nThis query selects a from t.", Q),
        (f"{Q}\nExplanation: it selects a.", Q),
        (f"{Q}\n\nExplanation\nfoo", Q),
        (f"<think>SELECT wrong FROM u</think>{Q}", Q),
        (f"/* answer */ {Q}", Q),
        (f"-- answer\n{Q}", Q),
        ("SELECT a\nFROM t\n\nWHERE b = 1", "SELECT a\nFROM t\n\nWHERE b = 1"),
        ("select `a b` from `t u`", "select `a b` from `t u`"),
        ("The answer is `SELECT a FROM t`.", "SELECT a FROM t"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("With this in mind: SELECT a FROM t", "SELECT a FROM t"),
        ("(SELECT a FROM t) UNION (SELECT b FROM t)", "(SELECT a FROM t) UNION (SELECT b FROM t)"),
        ("SELECT a FROM t WHERE", "SELECT a FROM t WHERE"),
        ("SELECT a FROM t WHERE b = 'unfinished", "SELECT a FROM t WHERE b = 'unfinished"),
        ("DROP TABLE t", "DROP TABLE t"),
        ("I do not know.", ""),
        ("", ""),
        ("   \n", ""),
    ],
)
def test_extract(text: str, expected: str) -> None:
    assert extract_sql(text) == expected


@given(st.text(max_size=400))
def test_never_raises(text: str) -> None:
    assert isinstance(extract_sql(text), str)


@given(
    st.lists(
        st.sampled_from([Q, "```", "```sql\n", "\n\n", ";", "--", "/*", "'", '"', "`", "(", ")", " the ", "WITH "])
    )
)
def test_never_raises_on_fragments(parts: list[str]) -> None:
    found = extract_sql("".join(parts))
    assert extract_sql(found) is not None
