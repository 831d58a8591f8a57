"""The split: by seed, by schema, by domain; and the leaks that remain."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_runs import rows, write_jsonl
from text2sql.config import Config, DataConfig, RlConfig
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.data.facts import tables_of
from text2sql.data.sources import load_examples
from text2sql.data.sources.bundled import domains
from text2sql.data.split import Split, count_leaks, draw, hold_back, split_examples
from text2sql.errors import UserError


def _data(**values: Any) -> DataConfig:
    return DataConfig.model_validate({"source": "rows.json", "test_size": 10, "validation_size": 5, **values})


def _split(examples: list[Example], data: DataConfig) -> Split:
    return split_examples(draw(examples, data), data)


def _ids(split: Split) -> list[list[str]]:
    return [[e.id for e in side] for side in split]


EXAMPLES = [Example(str(i), f"{i}?", f"CREATE TABLE t{i // 2} (a INT)", "SELECT 1") for i in range(60)]


# By seed


def test_sizes_are_exact_and_the_sides_share_nothing() -> None:
    train, validation, test = _ids(_split(EXAMPLES, _data()))
    assert (len(train), len(validation), len(test)) == (45, 5, 10)
    assert sorted([*train, *validation, *test], key=int) == [e.id for e in EXAMPLES]


def test_the_seed_decides_and_nothing_else() -> None:
    assert _ids(_split(EXAMPLES, _data(seed=3))) == _ids(_split(EXAMPLES, _data(seed=3)))
    assert _ids(_split(EXAMPLES, _data(seed=3))) != _ids(_split(EXAMPLES, _data(seed=4)))


def test_the_test_side_does_not_depend_on_the_validation_side() -> None:
    assert _split(EXAMPLES, _data()).test == _split(EXAMPLES, _data(validation_size=0)).test


def test_the_limit_draws_by_seed() -> None:
    limited = _split(EXAMPLES, _data(limit=30))
    assert sum(map(len, limited)) == 30
    assert limited.test == _split(EXAMPLES, _data()).test


@pytest.mark.parametrize("split_by", ["example", "schema"])
def test_too_few_examples_are_an_error_that_names_the_keys(split_by: str) -> None:
    with pytest.raises(UserError, match=r"15 examples .*test_size=10.*validation_size=5") as told:
        _split(EXAMPLES[:15], _data(split_by=split_by))
    assert str(told.value).endswith("Set data.test_size=3 data.validation_size=3, for example, or give more.")


@pytest.mark.parametrize("examples", [1, 2, 3, 7, 119])
def test_the_sizes_that_are_advised_will_do(examples: int) -> None:
    data = {"source": "rows.json", "test_size": 120}
    with pytest.raises(UserError) as told:
        _split(EXAMPLES[:examples], DataConfig.model_validate(data))
    advised = {key: int(size) for key, size in re.findall(r"Set data\.(\w+)=(\d+)", str(told.value))}
    assert advised.keys() == ({"test_size"} if examples > 1 else set())
    assert examples == 1 or _split(EXAMPLES[:examples], DataConfig.model_validate(data | advised)).train


# By schema

TABLES = st.sets(st.integers(0, 30), min_size=1, max_size=3)


@given(st.lists(TABLES, min_size=4, max_size=60), st.integers(1, 8), st.integers(0, 4), st.integers(0, 99))
def test_no_table_stands_on_two_sides(schemas: list[set[int]], test_size: int, validation: int, seed: int) -> None:
    examples = [
        Example(str(i), f"{i}?", "; ".join(f"CREATE TABLE t{n} (a INT)" for n in sorted(tables)), "SELECT 1")
        for i, tables in enumerate(schemas)
    ]
    data = _data(split_by="schema", test_size=test_size, validation_size=validation, seed=seed)
    try:
        split = _split(examples, data)
    except UserError as error:
        assert "test_size" in str(error)
        return
    assert len(split.test) == test_size and len(split.validation) == validation and split.train
    sides = [set().union(*(tables_of(e.context) for e in side)) if side else set() for side in split]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert count_leaks(split)["tables"] == 0


def test_all_examples_that_share_tables_cannot_be_split() -> None:
    same = [Example(str(i), f"{i}?", "CREATE TABLE t (a INT)", "SELECT 1") for i in range(60)]
    with pytest.raises(UserError, match=r"split_by=schema.*share tables"):
        _split(same, _data(split_by="schema"))


def test_examples_that_neither_side_takes_are_counted(tmp_path: Any) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(10, spellings=5))  # 10 schemas of 5 questions
    data = _data(source=str(source), split_by="schema", test_size=7, validation_size=0, max_dropped=0.0)
    dataset = load_dataset(Config(data=data))
    assert (len(dataset.split.test), len(dataset.split.train)) == (7, 40)
    assert dataset.dropped == {"set aside to keep schemas apart": 3}


@pytest.mark.parametrize(
    "context",
    [
        "CREATE TABLE a (x INT); CREATE TABLE b (y INT)",
        "CREATE TABLE a (x INT);\nCREATE TABLE b (y INT);",
        "CREATE TABLE a (x INT)\nCREATE TABLE b (y INT)",
        "create table A (X int) ;\n\n CREATE  TABLE b (y INT)",
    ],
)
def test_the_tables_of_a_schema_however_it_is_laid_out(context: str) -> None:
    assert tables_of(context) == {"a", "b"}


def test_a_placeholder_is_a_table_only_with_its_columns() -> None:
    """sql-create-context draws table_name_N anew for each question, and shows of real tables what a question needs."""
    one, other = "CREATE TABLE table_name_11 (a INT)", "CREATE TABLE table_name_11 (b INT)"
    assert not tables_of(one) & tables_of(other)
    assert tables_of('CREATE TABLE "Head" (age INT)') == tables_of("CREATE TABLE head (name VARCHAR, born VARCHAR)")


# Questions kept aside for verdicts


@given(st.lists(TABLES, min_size=2, max_size=60), st.floats(0.05, 0.9))
def test_whole_schemas_are_kept_aside(schemas: list[set[int]], share: float) -> None:
    train = [
        Example(str(i), f"{i}?", "; ".join(f"CREATE TABLE t{n} (a INT)" for n in sorted(tables)), "SELECT 1")
        for i, tables in enumerate(schemas)
    ]
    try:
        split, aside = hold_back(Split(train, [], []), RlConfig(holdout=share, holdout_by="schema"))
    except UserError as error:
        assert "leaves one of the sides empty; they share tables: set rl.holdout_by=question" in str(error)
        return
    assert sorted([*split.train, *aside], key=lambda e: int(e.id)) == train and split.train and aside
    one, other = (set().union(*(tables_of(e.context) for e in side)) for side in (split.train, aside))
    assert not one & other


def test_as_many_schemas_as_come_nearest_to_the_share_are_kept_aside() -> None:
    data = DataConfig(source="bundled", test_size=50)
    split = _split(load_examples(data), data)
    taught, aside = hold_back(split, RlConfig(holdout=0.34, holdout_by="schema"))
    assert not {e.db_id for e in taught.train} & {e.db_id for e in aside}
    assert len(aside) / len(split.train) == pytest.approx(0.34, abs=0.02)
    assert [e for e in split.train if e in set(aside)] == aside


# The bundled set


def test_the_bundled_set_is_split_by_domain() -> None:
    data = DataConfig(source="bundled", test_size=50, validation_size=40, limit=100)
    split = _split(load_examples(data), data)
    assert [len(side) for side in split] == [100, 40, 50]
    train, validation, test = ({e.db_id for e in side} for side in split)
    assert test <= domains("test") and not test & (train | validation) and not train & validation
    assert count_leaks(split)["tables"] == 0


def test_more_than_the_bundled_set_has_is_an_error() -> None:
    data = DataConfig(source="bundled", test_size=10**6)
    with pytest.raises(UserError, match="ask for fewer"):
        _split(load_examples(data), data)


# Leaks


def test_leaks_count_test_examples_that_share_a_table_or_a_question() -> None:
    def example(question: str, context: str) -> Example:
        return Example(question, question, context, "SELECT 1")

    split = Split(
        train=[example("How many?", "CREATE TABLE a (x INT)")],
        validation=[example("Which?", "CREATE TABLE b (y INT)")],
        test=[
            example("how  MANY?", "CREATE TABLE c (x INT)"),
            example("Other?", "CREATE TABLE z (q INT); create table  B (y INT)"),
            example("Which?", "CREATE TABLE a (x INT)"),
            example("New?", "CREATE TABLE a (x TEXT)"),  # the same table, other columns
        ],
    )
    assert count_leaks(split) == {"tables": 3, "questions": 2}
    assert count_leaks(Split([], [], split.test)) == {"tables": 0, "questions": 0}
