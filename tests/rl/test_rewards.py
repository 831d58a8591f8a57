"""Rewards of answers: by the verdict on them, by whether the own database accepts them, by a function."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from text2sql.config import RewardConfig
from text2sql.engines.sandbox.engine import close_engine
from text2sql.equivalence.overlap import row_f1, row_overlap
from text2sql.errors import UserError
from text2sql.rl.rewards import RewardedAnswer, check_reward_function, grade_answers

SCHEMA = "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, pages INTEGER)"
ASKED = RewardedAnswer("Which titles have more than 300 pages?", SCHEMA, "SELECT title FROM book WHERE pages > 300", "")
TABLE = RewardConfig(equivalent=1, runs=0.1, caught=-0.5, error=-0.2, refused=-0.3, truncated=-0.4, databases=4)


def rewards(*texts: str, asked: RewardedAnswer = ASKED, table: RewardConfig = TABLE) -> list[tuple[str, float | None]]:
    return [(row.outcome, row.reward) for row in grade_answers([replace(asked, answer=text) for text in texts], table)]


def test_every_verdict_has_its_reward() -> None:
    assert rewards(
        "SELECT title FROM book WHERE 300 < pages",
        "SELECT title FROM book WHERE pages >= 300",
        "SELECT titel FROM book",
        "",
        "DELETE FROM book",
    ) == [("equivalent", 1), ("runs", 0.1), ("error", -0.2), ("error", -0.2), ("refused", -0.3)]


def test_an_answer_that_was_cut_off_is_paid_as_such_though_it_is_right() -> None:
    cut = replace(ASKED, truncated=True)
    assert rewards("SELECT title FROM book WHERE pages > 300", asked=cut) == [("truncated", -0.4)]


def test_where_queries_are_translated_no_engine_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXT2SQL_MYSQL", raising=False)
    close_engine("mysql")
    texts = ("SELECT `title` FROM book WHERE 300 < pages", "SELECT title FROM book")
    answers = [replace(ASKED, answer=text, dialect="mysql") for text in texts]
    for table in (TABLE, TABLE.model_copy(update={"partial": 0.5})):
        assert [row.outcome for row in grade_answers(answers, table, transpile=True)] == ["equivalent", "runs"]


def test_where_the_evaluator_cannot_decide_an_answer_is_paid_nothing() -> None:
    broken = replace(ASKED, gold="SELECT nothing FROM nowhere")
    assert rewards("SELECT title FROM book", asked=broken) == [("undecided", None)]


OWN = ("SELECT title FROM book WHERE pages >= 300", "SELECT title FROM book WHERE pages > 50")


def test_what_the_own_database_lets_pass_and_a_made_one_does_not_is_caught(tmp_path: Path) -> None:
    database = tmp_path / "books.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute(SCHEMA)
        connection.executemany("INSERT INTO book VALUES (?, ?, ?)", [(1, "A", 100), (2, "B", 400)])
    connection.close()
    asked = replace(ASKED, database=str(database))
    # No book has exactly 300 pages there, and no answer with a wrong threshold below 100 passes.
    assert rewards(
        "SELECT title FROM book WHERE pages >= 300",
        "SELECT title FROM book WHERE pages > 50",
        "SELECT title FROM book WHERE pages > 300",
        asked=asked,
    ) == [("caught", -0.5), ("runs", 0.1), ("equivalent", 1)]
    assert [
        bool(row.passes_single_database) for row in grade_answers([replace(asked, answer=text) for text in OWN], TABLE)
    ] == [True, False]
    # A database that takes no part lets nothing pass.
    missing = replace(ASKED, database=str(tmp_path / "missing.sqlite"))
    assert rewards("SELECT title FROM book WHERE pages >= 300", asked=missing) == [("runs", 0.1)]


def test_what_the_first_made_database_lets_pass_is_counted_where_there_is_no_other(tmp_path: Path) -> None:
    """It is paid as what runs; the comparison there is that of sets, which no order and no repetition tells apart."""
    asked = replace(ASKED, gold="SELECT pages FROM book WHERE pages > 300 ORDER BY pages")
    answers = {
        "SELECT DISTINCT pages FROM book WHERE pages > 300 ORDER BY pages": True,
        "SELECT pages FROM book WHERE pages > 300 ORDER BY pages DESC": True,
        "SELECT title FROM book": False,
        "SELECT pages FROM book WHERE pages > 300 ORDER BY pages": False,
        "SELECT nothing FROM book": False,
    }
    found = grade_answers([replace(asked, answer=text) for text in answers], RewardConfig(databases=4))
    assert [bool(row.passes_single_database) for row in found] == list(answers.values())
    assert {row.reward for row in found if row.passes_single_database} == {0.1}
    # The usual reward, to be compared with ours, pays both for right.
    usual = RewardConfig(databases=4, function="text2sql.rl.rewards:pay_by_one_database")
    assert [row.reward for row in grade_answers([replace(asked, answer=text) for text in answers], usual)] == [
        1,
        1,
        0.1,
        1,
        0,
    ]


def test_what_is_partly_right_is_paid_a_part_and_emptiness_nothing() -> None:
    table = RewardConfig(partial=0.4, databases=4)
    answers = (
        "SELECT title FROM book WHERE pages >= 300",
        "SELECT title FROM book",
        "SELECT title FROM book WHERE pages > 300 AND pages < 300",
        "SELECT title, pages FROM book WHERE pages > 300",
        "SELECT title FROM book WHERE 300 < pages",
        "SELECT titel FROM book",
    )
    near, wide, nothing, other, right, error = (reward for _, reward in rewards(*answers, table=table))
    assert near is not None and wide is not None
    assert 0.1 < wide < near < 0.5 + 1e-9
    # No row in common: what is empty, and rows of another width.
    assert (nothing, other, right, error) == (0.1, 0.1, 1.0, 0.0)
    # Where the gold query returns nothing, nothing is earned by agreeing.
    empty = replace(ASKED, gold="SELECT title FROM book WHERE pages > 300 AND pages < 300 AND id > 1")
    assert row_overlap(SCHEMA, empty.gold, "SELECT title FROM book WHERE 0", seed=0, timeout=2.0) == 0
    assert row_f1([(1,), (1,), (2,)], [(1,), (3,)]) == pytest.approx(2 / 5) and row_f1([], []) == 0
    with pytest.raises(ValueError, match="together must be less than equivalent"):
        RewardConfig(equivalent=0.5, partial=0.4)


RIGHT, RUNS = "SELECT title FROM book WHERE pages > 300", "SELECT title FROM book"


@pytest.mark.parametrize(
    ("name", "words"),
    [("raises", "ZeroDivisionError: of all things"), ("hangs", "time"), ("not_a_number", "it returned nan")],
)
def test_a_function_that_fails_is_named_with_its_answer_or_the_answer_is_left_out(name: str, words: str) -> None:
    function = f"tests.support.rl_runs:{name}"
    table = RewardConfig(function=function, seconds=1.0, databases=2)
    answers = [replace(ASKED, answer=text) for text in (RUNS, RIGHT)]
    with pytest.raises(UserError, match=rf"rl\.reward\.function={function} failed on the second, .*{words}.*=drop"):
        grade_answers(answers, table, names=["the first", "the second"])
    dropped = grade_answers(answers, table.model_copy(update={"on_failure": "drop"}))
    assert [(row.outcome, row.reward) for row in dropped] == [("runs", 0.5), ("failed", None)]


def test_loading_a_functions_module_is_not_counted_as_its_time() -> None:
    table = RewardConfig(function="tests.support.slow_to_load:half", seconds=0.5, databases=2)
    assert [row.reward for row in grade_answers([replace(ASKED, answer=text) for text in (RUNS, RIGHT)], table)] == [
        0.5,
        0.5,
    ]


def test_a_function_that_is_not_there_is_refused_before_anything_is_sampled() -> None:
    check_reward_function(RewardConfig(function="tests.support.rl_runs:brevity"))
    for path in ("tests.support.rl_runs:nothing", "no_such_module:brevity"):
        with pytest.raises(UserError, match=rf"rl\.reward\.function={path}"):
            check_reward_function(RewardConfig(function=path))
