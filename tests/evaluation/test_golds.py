"""Gold queries that no answer can equal are found, named and counted before anything is asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.tiny_runs import judge_by_words, rows, tiny_config, write_jsonl
from text2sql import console
from text2sql.commands.score_files import score_file
from text2sql.config import Config, EvaluationConfig
from text2sql.data.dataset import load_dataset
from text2sql.data.golds import describe_training_golds
from text2sql.data.inspect import inspect
from text2sql.equivalence.processes import process_pool
from text2sql.errors import UserError
from text2sql.evaluation.golds import (
    EMPTY,
    FAILS,
    FAILS_ON_FILE,
    MADE_UP,
    STOPPED,
    TOO_LONG,
    UNDECIDED,
    Gold,
    GoldFault,
    check_golds,
    count_faults,
    describe_faults,
    examine_golds,
    long_golds,
    stopped_golds,
)
from text2sql.pipeline.run import run_pipeline
from text2sql.pipeline.stages import read_data
from text2sql.sql.foreign_dialects import reading_dialects

SCHEMA = "CREATE TABLE goods (name TEXT, price REAL, sold DATE)"
SETTINGS = EvaluationConfig(workers=1, databases=8)


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE goods (name TEXT, price REAL)")
        db.executemany("INSERT INTO goods VALUES (?, ?)", [("pen", 1.5), (None, 3.0)])
    db.close()
    return str(path)


def test_what_is_longer_is_helped_by_a_higher_limit() -> None:
    for kind, helped in ((TOO_LONG, True), (FAILS, False)):
        with pytest.raises(UserError) as raised:
            check_golds([GoldFault("a", kind, "")], 2, 0.05)
        assert ("Raise evaluation.max_new_tokens" in str(raised.value)) == helped


def test_each_fault_is_found_and_named(shop: str) -> None:
    golds = [
        Gold("right", SCHEMA, "SELECT name FROM goods WHERE price > 2"),
        Gold("postgres", SCHEMA, "SELECT TOP 5 name FROM goods"),
        Gold("never", SCHEMA, "SELECT name FROM goods WHERE price > 2 AND price < 2"),
        Gold("colour", SCHEMA, "SELECT colour FROM goods"),
        Gold("on file", SCHEMA, "SELECT name FROM goods WHERE price < 2", shop),
        Gold("empty", SCHEMA, "SELECT name FROM goods WHERE price > 9", shop),
        Gold("null", SCHEMA, "SELECT name FROM goods WHERE price > 2", shop),
        Gold("other schema", SCHEMA, "SELECT sold FROM goods", shop),
        Gold("again", SCHEMA, "SELECT TOP 5 name FROM goods"),
        Gold("no schema", "", "SELECT name FROM goods", shop),
    ]
    advanced: list[int] = []
    found = examine_golds(golds, SETTINGS, 0, advanced.append)
    assert [(fault.id, fault.kind) for fault in found] == [
        ("postgres", FAILS),
        ("never", UNDECIDED),
        ("colour", MADE_UP),
        ("empty", EMPTY),
        ("null", EMPTY),
        ("other schema", FAILS_ON_FILE),
        ("again", FAILS),
    ]
    reasons = {fault.id: fault.reason for fault in found}
    assert "syntax error" in reasons["postgres"] and "sqlglot reads it as tsql" in reasons["postgres"]
    assert reasons["colour"] == "column colour" and "no such column" in reasons["other schema"]
    assert sum(advanced) == len(golds)


def test_what_was_found_is_not_looked_for_again(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the database has changed since, or what was found may depend on the machine."""
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    golds = [
        Gold("right", SCHEMA, "SELECT name FROM goods WHERE price > 2"),
        Gold("postgres", SCHEMA, "SELECT TOP 5 name FROM goods"),
        Gold("never", SCHEMA, "SELECT name FROM goods WHERE price > 2 AND price < 2"),
        Gold("empty", SCHEMA, "SELECT name FROM goods WHERE price > 9", shop),
    ]
    settings = SETTINGS.model_copy(update={"cache": True})
    asked: list[list[Any]] = []

    def watched(work: Any, tasks: Any, **options: Any) -> Any:
        asked.append([task.gold for task in tasks])
        return process_pool.run_tasks(work, tasks, **options)

    monkeypatch.setattr("text2sql.evaluation.golds.run_tasks", watched)
    first, again = (examine_golds(golds, settings, 0) for _ in range(2))
    assert first == again and [fault.kind for fault in again] == [FAILS, UNDECIDED, EMPTY]
    assert asked == [[gold.sql for gold in golds], [golds[2].sql]]
    with closing(sqlite3.connect(shop)) as database, database:
        database.execute("INSERT INTO goods (name, price) VALUES ('dear', 10)")
    assert [fault.kind for fault in examine_golds(golds, settings, 0)] == [FAILS, UNDECIDED]
    assert asked[2] == [golds[2].sql, golds[3].sql]


def test_a_gold_that_explodes_costs_its_worker_alone() -> None:
    doubled = "WITH a0 AS (SELECT 1 AS x), " + ", ".join(
        f"a{i} AS (SELECT l.x FROM a{i - 1} l, a{i - 1} r)" for i in range(1, 24)
    )
    golds = [Gold("big", SCHEMA, f"{doubled} SELECT * FROM a23"), Gold("small", SCHEMA, "SELECT name FROM goods")]
    found = examine_golds(golds, SETTINGS, 0)
    assert [(fault.id, fault.kind in (FAILS, UNDECIDED)) for fault in found] == [("big", True)]


def test_stop_texts_and_lengths() -> None:
    answers = {"a": " SELECT 1\n\n", "b": " SELECT\n\n1\n\n", "c": "SELECT 'Question:'"}
    found = stopped_golds(answers, ["\n\n", "Question:"])
    assert [(fault.id, fault.kind) for fault in found] == [("b", STOPPED), ("c", STOPPED)]
    assert "'\\n\\n'" in found[0].reason and "'Question:'" in found[1].reason
    assert stopped_golds(answers, []) == []
    assert long_golds({"a": 8, "b": 9}, 8) == [GoldFault("b", TOO_LONG, "9 tokens, evaluation.max_new_tokens=8")]


def test_what_no_answer_can_equal_counts_once_against_the_threshold() -> None:
    faults = [GoldFault("a", FAILS, "why"), GoldFault("a", TOO_LONG), GoldFault("b", EMPTY), GoldFault("c", MADE_UP)]
    check_golds(faults, 10, 0.1)
    with pytest.raises(UserError, match=r"1 \(10.0%\).*more than evaluation.max_unusable_golds=0.05") as raised:
        check_golds(faults, 10, 0.05)
    assert "a (why)" in str(raised.value) and EMPTY not in str(raised.value)
    assert list(count_faults(faults)) == [FAILS, TOO_LONG, MADE_UP, EMPTY]
    many = [GoldFault(str(number), EMPTY) for number in range(9)]
    (sentence,) = describe_faults(many, 20)
    assert "9 of 20" in sentence and sentence.endswith("0; 1; 2; 3; 4; ...")
    assert describe_faults(many, 20, max_listed=None)[0].endswith("7; 8")


@pytest.mark.parametrize(
    ("sql", "dialects"),
    [
        ("SELECT DATEADD(day, 1, d) FROM t", ("tsql",)),
        ("SELECT a FROM t LIMIT 3", ("postgres", "duckdb", "mysql", "bigquery", "tsql")),
        ("this is not SQL", ()),
    ],
)
def test_the_dialects_that_know_a_query(sql: str, dialects: tuple[str, ...]) -> None:
    assert reading_dialects(sql) == dialects


def _predictions(path: Path, wrong: int) -> Path:
    golds = ["SELECT name FROM goods"] * (20 - wrong) + ["SELECT TOP 5 name FROM goods"] * wrong
    return write_jsonl(path, [{"schema": SCHEMA, "gold": gold, "predicted": gold} for gold in golds])


@pytest.mark.parametrize(
    ("dialects", "said"),
    [
        (["postgres, duckdb, bigquery", "postgres", "tsql"], "data.dialect=postgres."),
        (["mysql, duckdb", "duckdb, mysql"], "data.dialect=duckdb or mysql."),
        (["tsql", "snowflake, bigquery"], None),
    ],
)
def test_a_dialect_in_which_most_golds_are_read_is_advised(dialects: list[str], said: str | None) -> None:
    faults = [GoldFault(str(i), FAILS, f"syntax error; sqlglot reads it as {d}") for i, d in enumerate(dialects)]
    faults.append(GoldFault("long", TOO_LONG, "99 tokens"))
    with pytest.raises(UserError) as raised:
        check_golds(faults, 10, 0.1)
    advice = "If they are of another dialect, say which: "
    assert str(raised.value).endswith(f"{advice}{said}") if said else advice not in str(raised.value)


def test_a_file_of_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "console", Console(record=True, width=500))
    monkeypatch.setattr("text2sql.commands.score_files.console", console.console)
    judge_by_words(monkeypatch)
    config = Config(evaluation=SETTINGS)
    score_file(_predictions(tmp_path / "one.jsonl", 1), config, output=tmp_path / "out.jsonl")
    assert f"Gold queries, {FAILS}: 1 of 20" in console.console.export_text()
    written = json.loads((tmp_path / "out.summary.json").read_text())
    assert [fault["id"] for fault in written["gold_faults"]] == ["19"]
    with pytest.raises(UserError, match="max_unusable_golds") as raised:
        score_file(_predictions(tmp_path / "two.jsonl", 2), config)
    assert "18 (" in str(raised.value) and "tsql" in str(raised.value)


def _data(tmp_path: Path) -> dict[str, Any]:
    made = rows(6, spellings=5)
    broken = {**made[0], "answer": "SELECT STR_TO_DATE(b, 'x') FROM t0"}
    test = write_jsonl(tmp_path / "test.jsonl", [*made[1:4], broken])
    return {"test": {"source": str(test)}}


def test_a_run_stops_before_its_first_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    config = tiny_config(tmp_path, data=_data(tmp_path))
    with pytest.raises(UserError, match=r"no such function: STR_TO_DATE"):
        run_pipeline(config)
    assert not (tmp_path / "run").exists()
    lenient = tiny_config(tmp_path, data=_data(tmp_path), evaluation={"max_unusable_golds": 0.5})
    summary = json.loads((run_pipeline(lenient) / "summary.json").read_text())
    assert any(FAILS in note and "1 of 4" in note for note in summary["notes"])


def test_a_run_whose_answers_may_not_be_long_enough_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)
    with pytest.raises(UserError, match=f"{TOO_LONG}: 4 of 4"):
        run_pipeline(tiny_config(tmp_path, evaluation={"max_new_tokens": 3}))
    assert not list((tmp_path / "run").glob("predictions-*"))


def _trained(tmp_path: Path, amount: int, broken: int) -> Config:
    """Training examples of which some have a query of another dialect, at even distances, and tests that are whole."""
    made = rows(amount)
    for row in made[:: amount // broken][:broken]:
        row["answer"] = "SELECT STR_TO_DATE(b, 'x') FROM t0"
    test = write_jsonl(tmp_path / "test.jsonl", rows(3))
    source = write_jsonl(tmp_path / "trained.jsonl", made[3:])
    return tiny_config(tmp_path, data={"source": str(source), "test": {"source": str(test)}, "test_size": 3})


def test_a_run_says_how_many_training_queries_do_not_run_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_by_words(monkeypatch)
    config = _trained(tmp_path, 40, 4)
    for stages, said in ((("train", "evaluate"), True), (("baseline",), False)):
        recorded = Console(record=True, width=500)
        monkeypatch.setattr("text2sql.pipeline.stages.console", recorded)
        dataset = read_data(config, stages)
        shown = recorded.export_text()
        trained = len(dataset.split.train)
        assert (f"Training queries: 3 of {trained} do not run" in shown and "sqlglot reads it as" in shown) == said


def test_of_a_large_training_side_a_sample_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def examined(golds: Sequence[Gold], *others: object) -> list[GoldFault]:
        asked.append(len(golds))
        return [GoldFault(golds[0].id, FAILS, "why"), GoldFault(golds[1].id, EMPTY)]

    monkeypatch.setattr("text2sql.data.golds.examine_golds", examined)
    config = _trained(tmp_path, 1000, 1)
    dataset = load_dataset(config)
    (sentence,) = describe_training_golds(dataset, config)
    assert asked == [300] and f"1 of the 300 looked at ({len(dataset.split.train)} in all) do not run" in sentence


def test_inspect_names_every_one_and_says_that_a_run_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)
    recorded = Console(record=True, width=500)
    monkeypatch.setattr("text2sql.data.inspect.console", recorded)
    monkeypatch.setattr("text2sql.data.prompts.find_tokenizer", lambda name, **_: (None, "not here"))
    inspect(tiny_config(tmp_path, data=_data(tmp_path)))
    shown = recorded.export_text()
    assert f"Gold queries, {FAILS}: 1 of 4" in shown and "A run stops at these" in shown
