"""Proofs of equivalence inside a bound: what is proven, and that nothing wrong is."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from text2sql.commands.match import print_match
from text2sql.equivalence.mutations import mutations
from text2sql.equivalence.proofs import require_solver, with_proofs
from text2sql.errors import UserError
from text2sql.evaluation import Pair, Verdict, execution_match

pytest.importorskip("z3", reason="needs z3, of the extra proof")
from text2sql.equivalence.proof.work import Attempt, ProofTask, prove

SCHEMA = (
    "CREATE TABLE dept (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);"
    "CREATE TABLE emp (id INTEGER PRIMARY KEY, name TEXT, dept_id INTEGER REFERENCES dept(id), age INTEGER, "
    "wage REAL, hired DATE, active BOOLEAN NOT NULL)"
)


def _tried(gold: str, predicted: str, schema: str = SCHEMA) -> Attempt:
    return prove(ProofTask(schema, gold, predicted))


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp WHERE NOT age <= 30"),
        ("SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp WHERE age >= 31"),
        ("SELECT name FROM emp WHERE age IN (1, 2)", "SELECT name FROM emp WHERE age = 1 OR age = 2"),
        ("SELECT COUNT(*) FROM emp", "SELECT COUNT(id) FROM emp"),
        ("SELECT AVG(wage) FROM emp", "SELECT SUM(wage) * 1.0 / COUNT(wage) FROM emp"),
        ("SELECT DISTINCT name FROM emp", "SELECT name FROM emp GROUP BY name"),
        (
            "SELECT d.name, COUNT(*) FROM emp e JOIN dept d ON e.dept_id = d.id GROUP BY d.id",
            "SELECT d.name, COUNT(e.id) FROM dept d, emp e WHERE d.id = e.dept_id GROUP BY d.id",
        ),
        (
            "SELECT name FROM emp WHERE dept_id IN (SELECT id FROM dept WHERE city = 'Rome')",
            "SELECT e.name FROM emp e JOIN dept d ON d.id = e.dept_id WHERE d.city = 'Rome'",
        ),
        (
            "SELECT name FROM dept WHERE id NOT IN (SELECT dept_id FROM emp WHERE dept_id IS NOT NULL)",
            "SELECT d.name FROM dept d LEFT JOIN emp e ON e.dept_id = d.id WHERE e.id IS NULL",
        ),
        (
            "SELECT name FROM emp ORDER BY age DESC LIMIT 3",
            "SELECT e.name FROM emp AS e ORDER BY 0 + e.age DESC LIMIT 3",
        ),
        ("SELECT name FROM emp WHERE name LIKE 'A%'", "SELECT name FROM emp WHERE NOT name NOT LIKE 'A%'"),
        ("SELECT id FROM emp WHERE active", "SELECT id FROM emp WHERE active = 1"),
        ("SELECT id FROM emp WHERE active = 1", "SELECT id FROM emp WHERE active <> 0"),
        ("SELECT name FROM emp UNION SELECT name FROM dept", "SELECT name FROM dept UNION SELECT name FROM emp"),
        ("SELECT DISTINCT name, age FROM emp ORDER BY age", "SELECT name, age FROM emp GROUP BY age, name ORDER BY 2"),
    ],
)
def test_is_proven(gold: str, predicted: str) -> None:
    assert execution_match(SCHEMA, gold, predicted).status == "equivalent"
    assert (_tried(gold, predicted).bound or 0) >= 2


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp WHERE age >= 30"),
        # A fraction lies between where the column is REAL.
        ("SELECT name FROM emp WHERE wage > 30", "SELECT name FROM emp WHERE wage >= 31"),
        # NULL is neither.
        ("SELECT name FROM emp", "SELECT name FROM emp WHERE age > 30 OR age <= 30"),
        ("SELECT COUNT(*) FROM emp", "SELECT COUNT(age) FROM emp"),
        ("SELECT COUNT(age) FROM emp", "SELECT COUNT(DISTINCT age) FROM emp"),
        ("SELECT SUM(age) FROM emp", "SELECT COALESCE(SUM(age), 0) FROM emp"),
        ("SELECT name FROM emp", "SELECT DISTINCT name FROM emp"),
        ("SELECT name FROM emp UNION SELECT name FROM dept", "SELECT name FROM emp UNION ALL SELECT name FROM dept"),
        ("SELECT name, COUNT(*) FROM emp GROUP BY id", "SELECT name, COUNT(*) FROM emp GROUP BY name"),
        ("SELECT name FROM emp ORDER BY age", "SELECT name FROM emp ORDER BY age DESC"),
        ("SELECT name FROM emp ORDER BY age", "SELECT name FROM emp"),
        ("SELECT name FROM emp LIMIT 2", "SELECT name FROM emp LIMIT 3"),
        (
            "SELECT name FROM dept WHERE id NOT IN (SELECT dept_id FROM emp)",
            "SELECT name FROM dept WHERE NOT EXISTS (SELECT 1 FROM emp WHERE dept_id = dept.id)",
        ),
        (
            "SELECT d.name FROM dept d LEFT JOIN emp e ON e.dept_id = d.id AND e.age > 3",
            "SELECT d.name FROM dept d LEFT JOIN emp e ON e.dept_id = d.id WHERE e.age > 3",
        ),
        # A bare column of the other reference to the same table.
        (
            "SELECT a.age, b.age FROM emp a JOIN emp b ON a.dept_id = b.dept_id GROUP BY a.age",
            "SELECT a.age, b.age FROM emp b JOIN emp a ON a.dept_id = b.dept_id GROUP BY a.age",
        ),
        ("SELECT name FROM emp WHERE age = '5.5'", "SELECT name FROM emp WHERE 1 = 0"),
        (
            "SELECT name FROM emp WHERE name LIKE 'a%' ESCAPE '!'",
            "SELECT name FROM emp WHERE name LIKE 'a%' ESCAPE 'a'",
        ),
        ("SELECT name FROM emp WHERE name NOT LIKE 'a%'", "SELECT name FROM emp WHERE name LIKE 'a%'"),
        ("SELECT STRFTIME('%Y', hired, '+1 year') FROM emp", "SELECT STRFTIME('%Y', hired, '+2 years') FROM emp"),
        ("SELECT DATE(hired, '+1 day') FROM emp", "SELECT DATE(hired, '+2 days') FROM emp"),
        (
            "SELECT d.name FROM dept d LEFT JOIN (SELECT * FROM emp WHERE 0) e ON e.dept_id = d.id",
            "SELECT id FROM dept",
        ),
        ("SELECT name FROM emp", "UPDATE emp SET age = 9; SELECT name FROM emp"),
        ("SELECT name FROM emp", "SELECT name FROM emp; SELECT 1"),
        ("SELECT MAX(age) FROM emp", "SELECT age FROM emp ORDER BY age DESC LIMIT 1"),
        ("SELECT age / 2 FROM emp", "SELECT age / 2.0 FROM emp"),
        ("SELECT DISTINCT name, age FROM emp ORDER BY name", "SELECT DISTINCT name, age FROM emp ORDER BY age"),
        ("SELECT name FROM emp WHERE name = 'a'", "SELECT name FROM emp WHERE name = 'A'"),
        ("SELECT name FROM emp WHERE name < 'b'", "SELECT name FROM emp WHERE name < 'a'"),
        ("SELECT name FROM emp WHERE name > 10", "SELECT name FROM emp WHERE name > 9"),
        # What differs only beyond the bound is not even tried.
        ("SELECT dept_id FROM emp GROUP BY dept_id HAVING COUNT(*) > 5", "SELECT dept_id FROM emp WHERE 1 = 0"),
        ("SELECT AVG(age) FROM emp", "SELECT AVG(DISTINCT age) FROM emp"),
        ("SELECT DATE('now') FROM emp", "SELECT DATE('now') FROM emp WHERE 1"),
    ],
)
def test_is_not_proven(gold: str, predicted: str) -> None:
    assert _tried(gold, predicted).bound is None


def test_a_proof_holds_only_with_the_declared_keys() -> None:
    gold, predicted = "SELECT DISTINCT id FROM t", "SELECT id FROM t"
    assert _tried(gold, predicted, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)").bound
    assert _tried(gold, predicted, "CREATE TABLE t (id INTEGER, a TEXT)").bound is None


def test_what_is_not_modelled_is_said() -> None:
    gold = "SELECT RANK() OVER (ORDER BY age) FROM emp"
    assert "Window" in _tried(gold, gold + " WHERE 1").unknown


def test_verdicts_that_databases_reached_become_proven() -> None:
    pairs = [
        Pair(SCHEMA, "SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp WHERE 30 < age"),
        Pair(SCHEMA, "SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp WHERE age >= 31"),
        Pair(SCHEMA, "SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp"),
        Pair(SCHEMA, "SELECT HEX(name) FROM emp", "SELECT HEX(name) FROM emp WHERE 1"),
    ]
    before = [execution_match(*pair) for pair in pairs]
    after = with_proofs(pairs, before, workers=2)
    assert [verdict.proof for verdict in after] == ["canonical", "bounded", None, "tested"]
    assert [verdict.bound for verdict in after] == [None, 4, None, None]
    assert "at most 4 rows" in after[1].reason
    assert [verdict.status for verdict in after] == [verdict.status for verdict in before]
    assert Verdict.from_dict(after[1].to_dict()) == after[1]


def test_match_proves(capsys: pytest.CaptureFixture[str]) -> None:
    gold, predicted = "SELECT name FROM emp WHERE age > 30", "SELECT name FROM emp WHERE age >= 31"
    print_match(SCHEMA, gold, predicted, None, prove=True, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["proof"], shown["bound"]) == ("bounded", 4)


def test_without_the_solver_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(UserError, match="proof"):
        require_solver("--prove", "leave it out")
    with pytest.raises(UserError, match="--prove needs the package z3"):
        print_match(SCHEMA, "SELECT 1", "SELECT 1", None, prove=True)


def test_labelled_pairs(equivalence_pairs: list[dict[str, Any]], traps: list[dict[str, Any]]) -> None:
    sample = random.Random(4).sample(equivalence_pairs, 150)
    found = [(row, _tried(row["gold_sql"], row["pred_sql"], row["schema"])) for row in (*sample, *traps)]
    assert not [row["id"] for row, tried in found if tried.bound and row["label"] != "equivalent"]
    right = [bool(tried.bound) for row, tried in found if row["label"] == "equivalent"]
    assert sum(right) >= 0.6 * len(right)


@pytest.mark.slow
def test_mutations_are_proven_equivalent_only_inside_the_bound(shared_data: Path) -> None:
    rng = random.Random(8)
    lines = (shared_data / "spider_train.jsonl").read_text().splitlines()
    proofs = 0
    for row in rng.sample([json.loads(line) for line in lines], 100):
        for mutation in mutations(row["answer"], rng, 10):
            bound = _tried(row["answer"], mutation.sql, row["context"]).bound
            if bound is None:
                continue
            proofs += 1
            verdict = execution_match(row["context"], row["answer"], mutation.sql)
            if verdict.status == "different":
                # What tells them apart has more rows than the proof speaks of.
                assert verdict.witness is not None
                most = max(len(table.rows) for table in verdict.witness.tables.values())
                assert most > bound, (row["answer"], mutation.sql)
    assert proofs > 10
