"""`data.dialect` from the configuration to prompts, cleaning, gold queries, verdicts and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engines import require_engine
from tests.support.tiny_runs import read_jsonl, tiny_config, write_jsonl
from text2sql.commands.score_files import score_file
from text2sql.config import EvaluationConfig
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, messages
from text2sql.engines.dialect import DIALECTS, DISPLAY_NAMES
from text2sql.equivalence.execution_match import execution_match
from text2sql.errors import UserError
from text2sql.evaluation.golds import FAILS_IN_ENGINE, Gold, examine_golds
from text2sql.evaluation.labels import error_labels
from text2sql.evaluation.llm_judge import judge_messages
from text2sql.inference.strategies import execution_error
from text2sql.pipeline.run import run_pipeline

SCHEMA = "CREATE TABLE t (a INTEGER, b VARCHAR(20), d DATE)"


def _data(directory: Path) -> str:
    """Questions in SQL that SQLite does not have, each in several spellings, so that those of the test are trained."""
    spellings = (
        "SELECT * EXCLUDE (b) FROM t{i} QUALIFY ROW_NUMBER() OVER (ORDER BY a) = 1",
        "select * exclude (b) from t{i} qualify row_number() over (order by a) = {i}",
        "SELECT  *  EXCLUDE  (b)  FROM t{i} QUALIFY ROW_NUMBER() OVER (ORDER BY a) = 1",
        "SELECT * EXCLUDE (b) FROM t{i} QUALIFY ROW_NUMBER( ) OVER (ORDER BY a) = 1",
        "SELECT * EXCLUDE (b) FROM t{i} QUALIFY ROW_NUMBER() OVER (ORDER BY a)  =  1",
    )
    rows = [
        {
            "question": f"Row {i}?",
            "context": f"CREATE TABLE t{i} (a INTEGER PRIMARY KEY, b VARCHAR)",
            "answer": spelling.format(i=i),
        }
        for i in range(1, 7)
        for spelling in spellings
    ]
    return str(write_jsonl(directory / "duckdb.jsonl", rows))


def test_a_run_in_another_dialect_is_judged_in_its_engine(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, data={"source": _data(tmp_path), "dialect": "duckdb"})
    run_pipeline(config)
    rows = read_jsonl(tmp_path / "run" / "predictions-tuned.jsonl")
    assert rows and all(row["verdict"]["status"] == "equivalent" for row in rows)
    assert all(row["verdict"]["judged_on"].startswith("DuckDB") for row in rows)
    assert all(row["checks"]["valid_syntax"] and row["checks"]["parses"] for row in rows)


def test_rows_must_parse_in_their_own_dialect(tmp_path: Path) -> None:
    rows = [
        {"question": f"Row {i}?", "context": f"CREATE TABLE t{i} (a INTEGER)", "answer": f"SELECT `a` FROM t{i}"}
        for i in range(20)
    ]
    data = {"source": str(write_jsonl(tmp_path / "first.jsonl", rows))}
    assert not load_dataset(tiny_config(tmp_path, data={**data, "dialect": "mysql"})).dropped
    # sqlglot reads SQLite's queries with such quotes too, and that is what is said.
    said = r"not a query that parses.*20 of 20 queries that do not parse as DuckDB do as \w+ \(data\.dialect=\w+\)"
    with pytest.raises(UserError, match=said):
        load_dataset(tiny_config(tmp_path, data={**data, "dialect": "duckdb"}))


def test_a_row_of_another_dialect_than_the_run_is_not_used(tmp_path: Path) -> None:
    names = ["mysql", "MariaDB", "tsql", "SQLite", "sqlite 3", "", "ansi", None, 7]
    rows = [
        {"question": f"Row {i}?", "context": f"CREATE TABLE t{i} (a INT)", "answer": "SELECT 1", "kind": names[i % 9]}
        for i in range(90)
    ]
    data = {"source": str(write_jsonl(tmp_path / "rows.jsonl", rows)), "columns": {"dialect": "kind"}}
    with pytest.raises(UserError, match=r"30 of 90 rows.*20 in mysql by its own field dialect, not in data"):
        load_dataset(tiny_config(tmp_path, data=data))
    dataset = load_dataset(tiny_config(tmp_path, data={**data, "max_dropped": 0.5}))
    assert sum(map(len, dataset.split)) == 60 and "10 in tsql by its own field dialect" in dataset.counts()
    assert load_dataset(tiny_config(tmp_path, data={**data, "dialect": "mysql", "max_dropped": 0.9})).dropped


def test_predictions_are_judged_each_in_the_dialect_of_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # SQLite divides whole numbers without a remainder, DuckDB does not; only DuckDB has ILIKE.
    row = {"schema": "CREATE TABLE t (a INTEGER, b VARCHAR(9))", "gold": "SELECT a / 2 FROM t"}
    rows = [
        {**row, "sql": "SELECT CAST(a / 2 AS INTEGER) FROM t"},
        {**row, "sql": "SELECT a * 0.5 FROM t", "dialect": "DuckDB"},
        {**row, "gold": "SELECT a FROM t WHERE b ILIKE 'x%'", "sql": "SELECT 1 FROM t", "dialect": "duckdb 1.2"},
    ]
    file = write_jsonl(tmp_path / "mine.jsonl", rows)
    summary = score_file(file, tiny_config(tmp_path), output=tmp_path / "out.jsonl")
    assert (summary.n, summary.correct) == (3, 2)
    assert "2 as DuckDB; the others as SQLite" in " ".join(capsys.readouterr().out.split())
    assert [line.get("dialect") for line in read_jsonl(tmp_path / "out.jsonl")] == ["sqlite", "duckdb", "duckdb"]


def test_predictions_for_a_system_without_an_engine_are_refused(tmp_path: Path) -> None:
    row = {"schema": "CREATE TABLE t (a INTEGER)", "gold": "SELECT a FROM t", "sql": "SELECT a FROM t"}
    file = write_jsonl(tmp_path / "mine.jsonl", [row, {**row, "dialect": "T-SQL"}, {**row, "dialect": "tsql"}])
    with pytest.raises(UserError, match=r"rows are for a system that has no engine here.*tsql; the first is row"):
        score_file(file, tiny_config(tmp_path))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("template", ["chat", "chat-bird", "chat-reasoning"])
def test_prompts_name_the_dialect(dialect: str, template: str) -> None:
    example = Example("x", "How many?", SCHEMA, "SELECT COUNT(*) FROM t", dialect=dialect)  # type: ignore[arg-type]
    system = messages(example, PromptFormat(template))[0]["content"]
    assert DISPLAY_NAMES[dialect] in system and "{" not in system  # type: ignore[index]
    assert [name for name in DISPLAY_NAMES.values() if name in system] == [DISPLAY_NAMES[dialect]]  # type: ignore[index]


def test_the_judge_is_told_the_dialect() -> None:
    assert "a SQLite database" in judge_messages("q", SCHEMA, "SELECT 1", "SELECT 2")[0]["content"]
    told = judge_messages("q", SCHEMA, "SELECT 1", "SELECT 2", dialect="postgres")[0]["content"]
    assert "a PostgreSQL database" in told and "SQLite" not in told


@pytest.mark.parametrize(
    ("dialect", "fine", "broken"),
    [
        ("duckdb", "SELECT * EXCLUDE (b) FROM t", "SELECT DATE_FORMAT(d, '%Y') FROM t"),
        ("postgres", "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b", "SELECT b FROM t GROUP BY a"),
        ("mysql", "SELECT `a` FROM t LIMIT 1, 2", "SELECT a::date FROM t"),
    ],
)
def test_gold_queries_are_examined_in_the_engine(dialect: str, fine: str, broken: str, tmp_path: Path) -> None:
    require_engine(dialect)
    golds = [Gold(name, SCHEMA, sql, dialect=dialect) for name, sql in (("fine", fine), ("broken", broken))]  # type: ignore[arg-type]
    faults = examine_golds(golds, tiny_config(tmp_path).evaluation, seed=0)
    assert [(fault.id, fault.kind) for fault in faults] == [("broken", FAILS_IN_ENGINE)]


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "mysql"])
@pytest.mark.parametrize(
    ("predicted", "label"),
    [
        ("SELECT nothing FROM t", "unknown column"),
        ("SELECT a FROM nowhere", "unknown table"),
        ("SELECT a FROM t WHERE (", "syntax"),
        ("SELECT a FROM t WHERE a >= 5", "wrong operator"),
        ("DELETE FROM t", "not a query"),
    ],
)
def test_error_labels_read_the_engines_messages(dialect: str, predicted: str, label: str) -> None:
    require_engine(dialect)
    gold = "SELECT a FROM t WHERE a > 5"
    verdict = execution_match(SCHEMA, gold, predicted, dialect=dialect)  # type: ignore[arg-type]
    assert label in error_labels(SCHEMA, gold, predicted, verdict, dialect)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("predicted", "label"),
    [
        ("SELECT t.nothing FROM t", "unknown column"),
        ("SELECT * EXCLUDE (nothing) FROM t", "unknown column"),
        ("SELECT u.a FROM t", "unknown table"),
    ],
)
def test_error_labels_know_each_way_in_which_duckdb_misses_a_name(predicted: str, label: str) -> None:
    require_engine("duckdb")
    verdict = execution_match(SCHEMA, "SELECT a FROM t", predicted, dialect="duckdb")
    assert verdict.status == "error" and not verdict.reason.endswith("!.")
    assert label in error_labels(SCHEMA, "SELECT a FROM t", predicted, verdict, "duckdb")


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "mysql"])
def test_a_second_try_sees_the_engines_error(dialect: str) -> None:
    require_engine(dialect)
    question = Example("x", "How many?", SCHEMA, "", dialect=dialect)  # type: ignore[arg-type]
    assert execution_error(question, "SELECT a FROM t", EvaluationConfig()) is None
    assert "nothing" in str(execution_error(question, "SELECT nothing FROM t", EvaluationConfig()))
