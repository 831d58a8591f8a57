"""What the summary of a set of predictions counts."""

from __future__ import annotations

import json

import pytest

from text2sql.evaluation import Scored, Verdict, execution_match, summarize

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT, c TEXT); CREATE TABLE u (a INTEGER, d TEXT)"


def test_strings_in_double_quotes_are_compared_as_strings() -> None:
    gold, text = 'SELECT a FROM t WHERE b = "Gold"', 'SELECT a FROM t WHERE b = "gold"'
    summary = summarize([Scored(SCHEMA, gold, text, execution_match(SCHEMA, gold, text))])
    assert (summary.correct, summary.canonical_match) == (0, 0)
    same = "SELECT a FROM t WHERE b = 'Gold'"
    assert summarize([Scored(SCHEMA, gold, same, execution_match(SCHEMA, gold, same))]).canonical_match == 1


def test_the_summary_says_what_equivalent_rests_on() -> None:
    gold = "SELECT a FROM t WHERE a > 1"
    answers = (gold, "select t.a from t where 1 < a", "SELECT a FROM t WHERE NOT a <= 1", "SELECT b FROM t")
    verdicts = [execution_match(SCHEMA, gold, text) for text in answers]
    assert [verdict.proof for verdict in verdicts] == ["canonical", "canonical", "tested", None]
    scored = [Scored(SCHEMA, gold, text, verdict) for text, verdict in zip(answers, verdicts, strict=True)]
    evidence = summarize(scored).evidence
    assert evidence is not None
    assert (evidence.canonical, evidence.tested) == (2, 1)
    assert evidence.median_telling == evidence.fewest_telling == verdicts[2].informative >= 6


def test_what_an_earlier_version_judged_rests_on_nothing_known() -> None:
    gold = "SELECT a FROM t"
    stored = execution_match(SCHEMA, gold, gold).to_dict()
    assert stored.pop("proof") == "canonical"
    old = Verdict.from_dict(stored)
    assert old.correct and old.proof is None
    summary = summarize([Scored(SCHEMA, gold, gold, old)])
    assert summary.evidence is None
    assert "evidence" not in summary.to_json()


def test_summary_counts_everything_and_is_json() -> None:
    gold = "SELECT a FROM t WHERE b = 'x'"
    answers = [
        (gold, None),
        ('SELECT "a" FROM "t" WHERE "b" = "x"', "stop"),
        ("SELECT a FROM t WHERE b = 'y'", "stop"),
        ("SELECT z FROM t", "stop"),
        ("SELECT a FROM t WHERE", "length"),
        ("DROP TABLE t", "stop"),
    ]
    scored = [
        Scored(SCHEMA, gold, text, execution_match(SCHEMA, gold, text), reason, str(index % 3))
        for index, (text, reason) in enumerate(answers)
    ]
    summary = json.loads(json.dumps(summarize(scored).to_json()))
    assert summary["n"] == 6 and summary["correct"] == 2 and summary["accuracy"] == pytest.approx(1 / 3)
    assert sum(summary["counts"].values()) == 6 and summary["truncated"] == 1
    assert summary["valid_syntax"] == pytest.approx(5 / 6)
    assert summary["executable"] == pytest.approx(3 / 6)
    assert summary["exact_match"] == pytest.approx(2 / 6)
    assert summary["clustered"]["clusters"] == 3
    assert summary["by_hardness"]["easy"]["n"] == 6
    assert summarize([]).accuracy is None
