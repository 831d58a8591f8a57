"""Schemas and queries made up by hypothesis: another spelling stays equivalent, another meaning is found and proven."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.generated import BREAKING, SOUND, cases, changed, differ_somewhere
from text2sql.evaluation import execution_match

Case = tuple[str, str]


def _rewritten_is_equivalent(case: Case, seed: int) -> None:
    schema, gold = case
    predicted = changed(gold, SOUND, random.Random(seed))
    assume(predicted is not None)
    verdict = execution_match(schema, gold, predicted or "")
    # A condition that nothing meets leaves the pair undecided, never different.
    assert verdict.status in ("equivalent", "undecided"), (schema, gold, predicted, verdict)


def _broken_is_found(case: Case, seed: int) -> None:
    schema, gold = case
    predicted = changed(gold, BREAKING, random.Random(seed))
    assume(predicted is not None)
    assume(differ_somewhere(schema, gold, predicted or "", random.Random(seed)))
    verdict = execution_match(schema, gold, predicted or "")
    assert verdict.status == "different" and verdict.witness is not None, (schema, gold, predicted, verdict)
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    for name, table in verdict.witness.tables.items():
        db.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(table.columns))})", table.rows)
    if "city (id INTEGER PRIMARY KEY" in schema:  # else the foreign key points at no key, and is none
        orphans = db.execute("PRAGMA foreign_key_check").fetchall()
        assert not [row for row in orphans if row[2] in verdict.witness.tables]  # tables that neither reads are absent
    assert Counter(db.execute(gold)) != Counter(db.execute(predicted or ""))


seeds = st.integers(0, 10**6)


@settings(max_examples=30, deadline=None, derandomize=True)  # new cases every time: the slow tests
@given(cases(), seeds)
def test_rewritten_queries_are_equivalent(case: Case, seed: int) -> None:
    _rewritten_is_equivalent(case, seed)


@settings(max_examples=30, deadline=None, derandomize=True)  # new cases every time: the slow tests
@given(cases(), seeds)
def test_broken_queries_are_found_and_proven(case: Case, seed: int) -> None:
    _broken_is_found(case, seed)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(cases(), seeds)
def test_many_rewritten_queries_are_equivalent(case: Case, seed: int) -> None:
    _rewritten_is_equivalent(case, seed)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(cases(), seeds)
def test_many_broken_queries_are_found_and_proven(case: Case, seed: int) -> None:
    _broken_is_found(case, seed)
