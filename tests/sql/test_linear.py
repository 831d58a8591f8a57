"""No text stalls the reading of answers: each step takes time in proportion to the length."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2sql.sql.complexity import may_explode
from text2sql.sql.extract import read_answer

PIECES = [
    *"\n ()[]`'\";><*-/|:#a1.é",
    "SELECT ",
    "SELECT a FROM t",
    "SELECT a FROM t;",
    "WITH ",
    "WITH a AS (",
    "VALUES ",
    "/*",
    "*/",
    "--",
    "```",
    "~~~",
    "<think>",
    "</think>",
    "<|im_end|>",
    "</s>",
    "\n(",
    "\n\n",
    "\n1. ",
    "DROP TABLE ",
    "DELETE FROM ",
    "CREATE TABLE a",
    "GRANT a",
    "Output: ",
    "\nQuestion:",
    "A b c\n",
]
LENGTH = 200_000


def seconds(text: str) -> float:
    """Of this thread's processor; the collector would go through all that the tests before have left in memory."""
    gc.disable()
    try:
        start = time.thread_time()
        read_answer(text)
        return time.thread_time() - start
    finally:
        gc.enable()


def assert_linear(text: str) -> None:
    """Within the bound, and twice the text takes about twice the time: what is quadratic takes four times as long."""
    taken = seconds(text)
    if taken > 0.5:
        taken = min(taken, seconds(text))
        half = max(seconds(text[: len(text) // 2]), seconds(text[len(text) // 2 :]))
        assert taken < 3 * max(half, 0.2)
    assert taken < 2.0


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["", "SELECT a FROM t WHERE "]),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=3),
    st.lists(st.sampled_from(PIECES), max_size=2),
)
def test_a_long_answer_is_read_in_little_time(front: str, pieces: list[str], tail: list[str]) -> None:
    repeated, rest = "".join(pieces), "".join(tail)
    text = front + repeated * (LENGTH // 2 // len(repeated)) + (rest * (LENGTH // 2 // len(rest)) if rest else "")
    assert_linear(text)


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_again_and_again(piece: str) -> None:
    assert_linear(piece * (LENGTH // len(piece)))


def doubling(count: int) -> str:
    steps = (f", x{i} AS (SELECT * FROM x{i - 1} UNION ALL SELECT * FROM x{i - 1})" for i in range(1, count + 1))
    return f"WITH x0 AS (SELECT a FROM t){''.join(steps)} SELECT * FROM x{count}"


def test_what_may_explode_in_the_compiler_is_seen() -> None:
    assert may_explode(doubling(15)) and may_explode("SELECT " + "a + " * 4000 + "a FROM t")
    aliases = "".join(f", x{i} AS (SELECT a + a AS a FROM x{i - 1})" for i in range(1, 20))
    assert may_explode(f"WITH x0 AS (SELECT a FROM t){aliases} SELECT a FROM x19")
    assert not may_explode(doubling(4))
    assert not may_explode(
        "SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE c = (SELECT MAX(c) FROM u)) AND b IN (1, 2)"
    )
