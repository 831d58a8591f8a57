"""Mutations of a query, and how many of them a pair's databases tell apart."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import ENGINES, require_engine
from text2sql.commands.match import print_match
from text2sql.equivalence.challenge import Challenge, challenge
from text2sql.equivalence.mutations import mutations
from text2sql.errors import UserError
from text2sql.evaluation import Verdict, execution_match

SCHEMA = "CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, dept TEXT, age INTEGER)"
GOLD = "SELECT dept, AVG(age) FROM staff WHERE age > 30 GROUP BY dept"
PREDICTED = "SELECT s.dept, AVG(s.age) FROM staff AS s WHERE NOT s.age <= 30 GROUP BY 1"


def _all(sql: str) -> dict[str, str]:
    return {mutation.change: mutation.sql for mutation in mutations(sql, random.Random(0), 1000)}


def test_mutations_change_one_place_each() -> None:
    found = _all("SELECT DISTINCT a FROM t WHERE b > 30 AND c LIKE 'x%' ORDER BY a LIMIT 3")
    rest = "FROM t WHERE b > 30 AND c LIKE 'x%' ORDER BY a LIMIT"
    assert found["DISTINCT dropped"] == f"SELECT a {rest} 3"
    assert found["3 became 4"] == f"SELECT DISTINCT a {rest} 4"
    assert found["LIMIT 3 dropped"] == f"SELECT DISTINCT a {rest} 3".removesuffix(" LIMIT 3")
    assert found["b > 30 became b >= 30"] == f"SELECT DISTINCT a {rest.replace('>', '>=')} 3"
    assert found["b > 30 AND c LIKE 'x%' became b > 30"] == "SELECT DISTINCT a FROM t WHERE b > 30 ORDER BY a LIMIT 3"
    assert found["a became a DESC"] == f"SELECT DISTINCT a {rest.replace('BY a', 'BY a DESC')} 3"
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("sql", "change", "expected"),
    [
        ("SELECT MAX(x) FROM t", "MAX(x) became MIN(x)", "SELECT MIN(x) FROM t"),
        ("SELECT SUM(x) FROM t", "SUM(x) became SUM(DISTINCT x)", "SELECT SUM(DISTINCT x) FROM t"),
        ("SELECT a FROM t WHERE NOT a = 1", "NOT a = 1 became a = 1", "SELECT a FROM t WHERE a = 1"),
        ("SELECT a FROM t JOIN u ON x = y", "JOIN u ON x = y became LEFT JOIN u ON x = y", None),
        ("SELECT a FROM t UNION SELECT b FROM u", "SELECT a FROM t UNION SELECT b FROM u became", "UNION ALL"),
        ("SELECT a FROM t HAVING COUNT(*) > 2", "HAVING COUNT(*) > 2 dropped", "SELECT a FROM t"),
    ],
)
def test_each_operator(sql: str, change: str, expected: str | None) -> None:
    found = {words: text for words, text in _all(sql).items() if words.startswith(change)}
    assert len(found) == 1
    assert expected is None or expected in next(iter(found.values()))


def test_mutations_are_drawn_by_the_seed_alone() -> None:
    draws = [mutations(GOLD, random.Random(seed), 5) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 5


def test_the_databases_of_a_pair_tell_mutations_apart() -> None:
    verdict = execution_match(SCHEMA, GOLD, PREDICTED)
    assert verdict.proof == "tested"
    found = challenge(SCHEMA, GOLD, PREDICTED, verdict, count=40)
    assert found.databases == verdict.databases
    assert found.score == 1
    # What groups by a column shows each of its values once as it is.
    assert [(left.status, left.mutation.change) for left in found.survivors] == [("same", "DISTINCT added")]
    assert Challenge.from_dict(found.to_dict()) == found


def test_weak_databases_have_a_low_score_and_what_they_miss_is_listed() -> None:
    verdict = execution_match(SCHEMA, GOLD, PREDICTED)
    found = challenge(SCHEMA, GOLD, PREDICTED, replace(verdict, databases=1), count=40)
    assert found.score is not None and found.score < 1
    missed = {left.mutation.sql for left in found.survivors if left.status == "missed"}
    assert missed
    for sql in missed:
        assert execution_match(SCHEMA, GOLD, sql).status == "different"


def test_a_mutation_that_changes_nothing_does_not_count_against_the_databases() -> None:
    gold = "SELECT DISTINCT id FROM staff"
    verdict = execution_match(SCHEMA, gold, "SELECT id FROM staff")
    found = challenge(SCHEMA, gold, "SELECT id FROM staff", verdict, count=40)
    same = [left.mutation.sql for left in found.survivors if left.status == "same"]
    assert same == ["SELECT id FROM staff"]
    assert found.score is None or found.changing == len(found.killed)


def test_a_query_written_alike_is_challenged_on_the_databases_that_it_would_have_had() -> None:
    verdict = execution_match(SCHEMA, GOLD, GOLD.lower())
    assert verdict.proof == "canonical"
    found = challenge(SCHEMA, GOLD, GOLD.lower(), verdict, count=10)
    assert found.databases == 40
    assert found.score == 1


def test_a_gold_query_that_cannot_be_challenged_is_said() -> None:
    assert challenge(SCHEMA, "SELECT nothing FROM nowhere)", PREDICTED, Verdict("equivalent", "")).failure


def test_match_shows_the_score_and_names_survivors(capsys: pytest.CaptureFixture[str]) -> None:
    print_match(SCHEMA, "SELECT DISTINCT id FROM staff", "SELECT id FROM staff", None, mutations=5)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Survivors: 1." in shown
    assert "changes nothing that was found: DISTINCT dropped" in shown


def test_match_writes_the_challenge_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "real.sqlite"
    db = sqlite3.connect(file)
    db.execute(SCHEMA)
    db.close()
    print_match(None, GOLD, PREDICTED, file, mutations=5, as_json=True)
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["proof"] == "tested"
    assert shown["informative"] >= 6
    assert len(shown["challenge"]["told_apart"]) + len(shown["challenge"]["survivors"]) == 5


def test_pairs_that_differ_are_not_challenged(capsys: pytest.CaptureFixture[str]) -> None:
    print_match(SCHEMA, GOLD, "SELECT dept FROM staff", None, mutations=5)
    assert "Challenge" not in capsys.readouterr().out


@pytest.mark.parametrize("dialect", ENGINES)
def test_mutations_are_run_in_the_engine_of_the_dialect(dialect: str) -> None:
    require_engine(dialect)
    schema = SCHEMA.replace("TEXT", "VARCHAR(20)")
    gold = "SELECT CONCAT(dept, '!') FROM staff WHERE EXTRACT(YEAR FROM DATE '2020-02-03') - age > 1990"
    predicted = "SELECT CONCAT(dept, '!') FROM staff WHERE 2020 - age > 1990"
    verdict = execution_match(schema, gold, predicted, dialect=dialect)
    assert verdict.correct, verdict.reason
    found = challenge(schema, gold, predicted, verdict, count=12, dialect=dialect)
    assert not found.failure and found.databases == verdict.databases
    assert found.score is not None and found.score >= 0.8
    # A change is written as the engine would be asked it, which SQLite could not be.
    assert any("EXTRACT(" in change.sql for change in found.killed)


def test_a_proof_in_another_dialect_and_a_challenge_without_engine_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"--prove knows SQLite's semantics alone, not those of DuckDB"):
        print_match(SCHEMA, GOLD, PREDICTED, None, prove=True, dialect="duckdb")
    with pytest.raises(UserError, match=r"leave out --transpile"):
        print_match(SCHEMA, GOLD, PREDICTED, None, mutations=5, dialect="duckdb", transpile=True)
    with pytest.raises(UserError, match=r"--database is a SQLite file"):
        print_match(SCHEMA, GOLD, PREDICTED, Path("x.sqlite"), dialect="duckdb")
