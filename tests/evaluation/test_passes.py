"""pass@k: the estimator against its definition, its interval, and a run whose samples are all judged."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rl_runs import fake_config, judge_here
from tests.support.tiny_runs import judge_by_words, read_jsonl
from text2sql.evaluation.statistics import mean_interval, pass_at_k
from text2sql.pipeline.run import run_pipeline


@given(st.integers(1, 7), st.data())
def test_it_is_the_share_of_choices_with_a_right_one(samples: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    outcomes = [True] * right + [False] * (samples - right)
    choices = list(combinations(outcomes, k))
    assert pass_at_k(right, samples, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_the_interval_is_wider_where_values_that_go_together_are_alike() -> None:
    values = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    alone = mean_interval(values, range(8))
    together = mean_interval(values, ["a", "a", "a", "b", "b", "b", "c", "c"])
    assert together[0] < alone[0] < 0.5 < alone[1] < together[1]
    # Mean 0.5, standard error sqrt(8 * 0.25) / 8.
    assert alone == pytest.approx((0.5 - 1.96 * 2**0.5 / 8, 0.5 + 1.96 * 2**0.5 / 8), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_values_that_are_all_alike_are_not_taken_for_certain(value: float) -> None:
    few, many = (mean_interval([value] * n, range(n)) for n in (4, 400))
    assert few[1] - few[0] > 0.4 and 0 < many[1] - many[0] < 0.11
    assert all(low - 1e-9 <= value <= high + 1e-9 for low, high in (few, many))
    # Clusters count, not values; and one says nothing of others.
    assert mean_interval([value] * 400, [n % 4 for n in range(400)]) == few
    assert mean_interval([value, 0.25], ["a", "a"]) == (0.0, 1.0)


def test_a_run_judges_every_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_here(monkeypatch)
    judge_by_words(monkeypatch)
    evaluation = {"workers": 1, "databases": 2, "novel_questions": False, "samples": 6}
    run = run_pipeline(fake_config(tmp_path, evaluation=evaluation, rl={"steps": 1}))
    rows = read_jsonl(run / "predictions-tuned-samples.jsonl")
    assert [row["samples"] for row in rows] == [6] * 4 and all(0 <= row["right_samples"] <= 6 for row in rows)
    evaluations = json.loads((run / "summary.json").read_text())["evaluations"]
    rates = evaluations["tuned-samples"]["pass_at"]
    assert [rate["k"] for rate in rates] == [1, 2, 4, 6]
    assert rates[0]["value"] == pytest.approx(sum(row["right_samples"] for row in rows) / 24)
    assert rates[3]["value"] == sum(row["right_samples"] > 0 for row in rows) / 4
    assert all(a["value"] <= b["value"] for a, b in pairwise(rates))
    assert all(rate["low"] <= rate["value"] <= rate["high"] for rate in rates)
    assert "pass_at" not in evaluations["tuned"] and "pass@6" in capsys.readouterr().out
    assert "right answer among k samples" in (run / "report.html").read_text()
