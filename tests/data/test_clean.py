"""What is dropped, and that it is counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.data.clean import clean
from text2sql.data.example import Example
from text2sql.errors import UserError


def _example(question: str = "?", context: str = "CREATE TABLE t (a INT)", answer: str = "SELECT a FROM t") -> Example:
    return Example("x", question, context, answer)


GOOD = [_example(question=f"{i}?") for i in range(20)]


def test_what_is_good_is_kept_in_order() -> None:
    assert clean(GOOD, 0.0) == (GOOD, {})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (_example(question=""), "empty question"),
        (_example(context=""), "empty context"),
        (_example(answer=""), "empty answer"),
        (_example(context="t(a)"), "schema without CREATE TABLE"),
        (_example(answer="SELECT FROM WHERE"), "answer is not a query that parses"),
        (_example(answer="I do not know"), "answer is not a query that parses"),
        (_example(answer="DROP TABLE t"), "answer is not a query that parses"),
        (_example(answer="(" * 3000), "answer is not a query that parses"),
        (GOOD[3], "repeated"),
    ],
)
def test_each_reason_is_counted(bad: Example, reason: str) -> None:
    kept, dropped = clean([*GOOD[:9], bad, *GOOD[9:]], 0.05)
    assert (kept, dropped) == (GOOD, {reason: 1})


@pytest.mark.parametrize(
    "answer",
    ["SELECT 1", "select a from t;", "WITH x AS (SELECT 1) SELECT * FROM x", "SELECT 1 UNION SELECT 2", "(SELECT 1)"],
)
@pytest.mark.parametrize("create", ["CREATE TABLE t (a INT)", "create  temporary\ttable t (a INT)"])
def test_queries_of_every_form_are_kept(answer: str, create: str) -> None:
    assert clean([_example(context=create, answer=answer)], 0.0).dropped == {}


def test_the_threshold_is_a_share_of_the_rows() -> None:
    bad = [_example(answer=""), _example(question="")]
    assert len(clean([*GOOD, *bad], 2 / 22).examples) == 20
    with pytest.raises(UserError, match=r"2 of 22 rows.*1 empty answer, 1 empty question.*data\.max_dropped=0\.05"):
        clean([*GOOD, *bad], 0.05)


def test_repeated_rows_do_not_count_against_it() -> None:
    assert clean(GOOD * 3, 0.0) == (GOOD, {"repeated": 40})


@pytest.mark.parametrize("rows", [[], [_example(answer="")]])
def test_nothing_usable_is_an_error_whatever_the_threshold(rows: Sequence[Example]) -> None:
    with pytest.raises(UserError):
        clean(rows, 1.0)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_every_row_is_kept_or_counted(answers: list[str]) -> None:
    kept, dropped = clean([*GOOD, *(_example(answer=answer) for answer in answers)], 1.0)
    assert len(kept) + sum(dropped.values()) == 20 + len(answers)
