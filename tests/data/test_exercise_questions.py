"""The exercise's questions on new schemas."""

from __future__ import annotations

import pytest

from text2sql.data.example import Example
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.data.facts import tables_of
from text2sql.data.sources.bundled import load_bundled
from text2sql.evaluation import execution_match


@pytest.mark.parametrize("example", EXERCISE_QUESTIONS, ids=lambda example: example.id)
def test_a_gold_query_is_itself_and_not_another(example: Example) -> None:
    assert execution_match(example.context, example.answer, example.answer).correct
    table = "courses" if "courses" in example.context else example.context.split()[2]
    assert not execution_match(example.context, example.answer, f"SELECT * FROM {table}").correct


def test_they_are_five_and_their_tables_stand_in_no_bundled_schema() -> None:
    assert len({example.id for example in EXERCISE_QUESTIONS}) == 5
    tables = {table for example in EXERCISE_QUESTIONS for table in tables_of(example.context)}
    assert not tables & {table for e in load_bundled() for table in tables_of(e.context)}
