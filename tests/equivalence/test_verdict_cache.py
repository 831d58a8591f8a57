"""Kept verdicts: the same as new ones, never stale, and no worse than none when the file is broken."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from text2sql.equivalence import verdict_cache
from text2sql.equivalence.verdict_cache import VerdictCache, evaluator_version
from text2sql.evaluation import Pair, Verdict, score_pairs

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT)"
PAIRS = [
    Pair(SCHEMA, "SELECT a FROM t", "SELECT a FROM t WHERE a > 3"),
    Pair(SCHEMA, "SELECT a FROM t", "SELECT t.a FROM t"),
    Pair(SCHEMA, "SELECT a FROM t", "SELECT c FROM t"),
    Pair(SCHEMA, "SELECT a FROM t", "DROP TABLE t"),
    Pair(SCHEMA, "SELECT a FROM t", "SELECT '\ud800\x00'"),
]
TASK = {"schema": SCHEMA, "gold": "SELECT 1", "predicted": "SELECT 2", "database": None, "effort": None, "seed": 0}
SAME = Verdict("equivalent", "because", None, True, True)


def _scored(cache: Path | None) -> dict[int, dict[str, object]]:
    return {index: verdict.to_dict() for index, verdict in score_pairs(PAIRS, cache=cache)}


def test_kept_verdicts_are_those_that_were_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = _scored(tmp_path)
    assert fresh == _scored(None)
    assert fresh[0]["witness"] is not None
    monkeypatch.setattr("text2sql.equivalence.scoring.run_tasks", lambda *_, **__: pytest.fail("judged again"))
    assert _scored(tmp_path) == fresh


def test_the_cause_of_a_verdict_stays_in_the_process() -> None:
    verdict = Verdict.undecided("because", cause="gold_failed")
    assert "cause" not in verdict.to_dict() and Verdict.from_dict(verdict.to_dict()) == verdict
    pairs = [Pair(SCHEMA, "SELECT c FROM", "SELECT a FROM t")]
    ((_, scored),) = score_pairs(pairs)
    assert (scored.status, scored.cause) == ("undecided", "gold_failed")


def test_the_key_covers_every_setting_and_the_contents_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    path.write_bytes(b"one")
    tasks = [TASK, {**TASK, "seed": 1}, {**TASK, "effort": 5}, {**TASK, "gold": "SELECT 3"}, {**TASK, "schema": ""}]
    keys = [VerdictCache(tmp_path).key(task) for task in tasks]
    keys.append(VerdictCache(tmp_path).key({**TASK, "database": str(path)}))
    path.write_bytes(b"two")
    keys.append(VerdictCache(tmp_path).key({**TASK, "database": str(path)}))
    assert len(set(keys)) == len(keys)


def test_another_evaluator_does_not_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = VerdictCache(tmp_path)
    old.put("key", SAME)
    assert VerdictCache(tmp_path).get("key") == SAME
    monkeypatch.setattr(verdict_cache, "evaluator_version", lambda: "another")
    assert VerdictCache(tmp_path).get("key") is None


def test_the_version_is_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        tmp_path / name for name in ("equivalence/verdict_cache.py", "equivalence/databases/plan.py", "sql/ddl.py")
    ]
    for path in sources:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1")
    monkeypatch.setattr(verdict_cache, "__file__", str(sources[0]))
    versions = set()
    for changed in (None, *sources):
        if changed is not None:
            changed.write_text("x = 2")
        evaluator_version.cache_clear()
        versions.add(evaluator_version())
    monkeypatch.undo()
    evaluator_version.cache_clear()
    assert len({*versions, evaluator_version()}) == 5


def test_damage_is_judged_again(tmp_path: Path) -> None:
    fresh = _scored(tmp_path)
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as db:
        db.execute("UPDATE verdict SET value = replace(value, 'different', 'equivalent')")
    db.close()
    assert _scored(tmp_path) == fresh
    file.write_bytes(b"no database at all" * 100)
    assert _scored(tmp_path) == fresh


def test_a_directory_that_cannot_be_used_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert _scored(tmp_path / "file") == _scored(None)


def test_what_depends_on_the_clock_is_not_kept(tmp_path: Path) -> None:
    kept = VerdictCache(tmp_path)
    for status in ("timeout", "undecided"):
        kept.put(status, Verdict(status, "slow"))
        assert kept.get(status) is None
