"""The table of metrics names what the summary has, and nothing else."""

from __future__ import annotations

import pytest

from text2sql.evaluation import Scored, execution_match, summarize
from text2sql.evaluation.answer_analysis import AnswerAnalysis, analyse_answer
from text2sql.evaluation.metrics import BENCHMARKS, RATES, TRUNCATED
from text2sql.formats import MISSING
from text2sql.runs.evaluation_summary import BenchmarkSummary, EvaluationSummary
from text2sql.runs.records import BenchmarkScore, Checks


def test_every_metric_is_a_field_and_every_check_a_metric() -> None:
    names = {metric.name for metric in (*RATES, TRUNCATED)}
    assert names <= set(EvaluationSummary.model_fields)
    assert set(Checks.model_fields) <= names
    benchmarks = {metric.name for metric in BENCHMARKS}
    assert set(BenchmarkSummary.model_fields) - benchmarks == {"no_database", "gold_failed"}
    assert benchmarks <= set(BenchmarkScore.model_fields)


def test_a_value_is_shown_by_its_unit() -> None:
    shown = {metric.name: metric.show(0.5) for metric in (*RATES, *BENCHMARKS)}
    assert shown["accuracy"] == shown["spider_ex"] == "50.0%" and shown["bird_rves"] == "0.5"
    assert TRUNCATED.show(1200) == "1,200" and TRUNCATED.show(None) == MISSING
    assert all(metric.explanation.endswith(".") for metric in (*RATES, *BENCHMARKS, TRUNCATED))


@pytest.mark.parametrize(
    ("predicted", "sqlglot", "sqlite", "runs"),
    [
        ("SELECT a FROM t", True, True, True),
        ("SELECT a::int FROM t", True, False, False),
        ("SELECT a FROM t WHERE b REGEXP 'x'", True, True, False),
        ("SELECT a FROM t WHERE", False, False, False),
        ("DROP TABLE t", True, True, False),
    ],
)
def test_syntax_is_measured_by_sqlglot_and_by_sqlite(predicted: str, sqlglot: bool, sqlite: bool, runs: bool) -> None:
    schema = "CREATE TABLE t (a INTEGER, b TEXT)"
    verdict = execution_match(schema, "SELECT a FROM t", predicted)
    checks = analyse_answer(schema, "SELECT a FROM t", predicted, verdict).checks
    assert (checks.parses, checks.valid_syntax, checks.executable) == (sqlglot, sqlite, runs)


def test_an_earlier_run_has_one_measure_of_syntax() -> None:
    old = Checks(exact_match=True, canonical_match=True, valid_syntax=True, valid_schema=True, executable=True)
    assert old.parses is None and "parses" not in old.to_json()
    verdict = execution_match("CREATE TABLE t (a INTEGER)", "SELECT a FROM t", "SELECT a FROM t")
    scored = Scored("", "SELECT a FROM t", "SELECT a FROM t", verdict, description=AnswerAnalysis(old, "easy", ()))
    summary = summarize([scored])
    assert summary.parses is None and summary.valid_syntax == 1.0 and "parses" not in summary.to_json()
