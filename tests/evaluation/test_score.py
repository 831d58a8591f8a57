"""Answers judged: everything that reads a model's text does so in a worker that can be lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from text2sql.config import Config
from text2sql.evaluation import Scored, sql_matches, summarize
from text2sql.evaluation.score import ScoringCase, score_answers

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT)"
GOLD = "SELECT a FROM t"


def test_hostile_answers_cost_little_and_the_others_are_described() -> None:
    chain = "".join(f", x{i} AS (SELECT * FROM x{i - 1} UNION ALL SELECT * FROM x{i - 1})" for i in range(1, 16))
    wide = f"WITH x0 AS (SELECT {', '.join(['a'] * 200)} FROM t){chain} SELECT COUNT(*) FROM x15"
    answers = [GOLD, "\n" * 10_000, ">" * 10_000, "\n(" * 10_000, "[" * 40_000, wide, "SELECT b FROM t", "DROP TABLE t"]
    start = time.monotonic()
    config = Config.model_validate({"evaluation": {"workers": 1, "databases": 5}})
    found = score_answers([ScoringCase(SCHEMA, GOLD, answer) for answer in answers], config)
    assert time.monotonic() - start < 120
    assert [one.verdict.correct for one in found] == [True] + [False] * 7
    assert found[0].analysis.checks.exact_match and found[0].sql == GOLD
    assert found[5].verdict.status == "timeout" and not found[5].analysis.checks.executable
    assert found[6].analysis.labels == ("wrong column",) and found[6].sql == "SELECT b FROM t"
    assert found[7].analysis.labels == ("not a query",)


def test_questions_whose_real_database_takes_no_part_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "broken.sqlite"
    path.write_bytes(b"no database" * 100)
    config = Config.model_validate({"evaluation": {"workers": 1, "databases": 5}})
    cases = [ScoringCase(SCHEMA, GOLD, GOLD, (str(path),)), ScoringCase(SCHEMA, GOLD, GOLD)]
    found = score_answers(cases, config)
    assert [one.verdict.correct for one in found] == [True, True]
    assert "takes no part" in found[0].verdict.reason and "takes no part" not in found[1].verdict.reason
    scored = [Scored(SCHEMA, GOLD, one.sql, one.verdict, description=one.analysis) for one in found]
    assert summarize(scored).unused_databases == 1


def test_what_is_equivalent_is_proven_where_proofs_are_asked_for() -> None:
    pytest.importorskip("z3", reason="needs z3, of the extra proof")
    gold = "SELECT a FROM t WHERE a > 3"
    cases = [
        ScoringCase(SCHEMA, gold, answer) for answer in (gold, "SELECT a FROM t WHERE NOT a <= 3", "SELECT a FROM t")
    ]
    plain, proven = (
        score_answers(cases, Config.model_validate({"evaluation": {"workers": 1, "proof": proof}}))
        for proof in (False, True)
    )
    assert [one.verdict.proof for one in plain] == ["canonical", "tested", None]
    assert [one.verdict.proof for one in proven] == ["canonical", "bounded", None]
    assert [one.analysis for one in proven] == [one.analysis for one in plain]
    scored = [Scored(SCHEMA, gold, one.sql, one.verdict, description=one.analysis) for one in proven]
    evidence = summarize(scored).evidence
    assert evidence is not None and (evidence.canonical, evidence.bounded, evidence.tested) == (1, 1, 0)


def test_yes_or_no_in_one_line() -> None:
    assert sql_matches("```sql\nSELECT t.a FROM t;\n```", GOLD, schema=SCHEMA)
    assert not sql_matches("SELECT b FROM t", GOLD, schema=SCHEMA)
    # Without a schema the gold query says what there is.
    assert sql_matches("SELECT x.a FROM t x WHERE b > 3", "SELECT a FROM t WHERE b > 3")
    assert not sql_matches("SELECT a FROM t WHERE b >= 3", "SELECT a FROM t WHERE b > 3")
