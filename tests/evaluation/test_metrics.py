"""The table of metrics names what the summary has, and nothing else."""

from __future__ import annotations

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
