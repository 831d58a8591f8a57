"""Generated schemas and queries: sound rewrites stay equivalent, what differs comes with a witness, nothing crashes."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from text2sql.equivalence.verdict import STATUSES
from text2sql.evaluation import Verdict, execution_match

SCHEMA = """
CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT, founded INTEGER, league VARCHAR NOT NULL);
CREATE TABLE player (id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), name TEXT, goals INTEGER, rate REAL)
"""
CONDITIONS = [
    ("p.goals > 10", "NOT p.goals <= 10", "p.goals >= 10"),
    ("p.goals = 7", "7 = p.goals", "p.goals <> 7"),
    ("p.name = 'Ann'", "p.name IN ('Ann')", "p.name = 'ann'"),
    ("p.name LIKE 'A%'", "NOT p.name NOT LIKE 'A%'", "p.name LIKE '%A%'"),
    ("p.goals BETWEEN 3 AND 8", "p.goals >= 3 AND p.goals <= 8", "p.goals > 3 AND p.goals <= 8"),
    ("p.rate < 0.5", "0.5 > p.rate", "p.rate <= 0.5"),
    ("p.name IS NOT NULL", "NOT p.name IS NULL", "p.name IS NULL"),
    ("t.founded = 1900", "t.founded = 1900.0", "t.founded > 1900"),
    ("t.league = 'first'", 't.league = "first"', "t.league <> 'first'"),
    (
        "p.team_id IN (SELECT id FROM team WHERE founded > 1950)",
        "EXISTS (SELECT 1 FROM team x WHERE x.id = p.team_id AND x.founded > 1950)",
        "p.team_id IN (SELECT id FROM team WHERE founded >= 1950)",
    ),
]
OUTPUTS = [
    ("p.name", "", "p.id"),
    ("p.name, p.goals", "", "p.name, p.team_id"),
    ("t.league, COUNT(*)", "GROUP BY t.league", "t.league, COUNT(DISTINCT p.goals)"),
    ("t.league, AVG(p.goals)", "GROUP BY t.league", "t.league, MAX(p.goals)"),
    ("COUNT(p.id)", "", "COUNT(p.name)"),
    ("t.league, SUM(p.goals)", "GROUP BY t.league HAVING COUNT(*) > 2", "t.league, MIN(p.goals)"),
]
JOINED = "player AS p JOIN team AS t ON p.team_id = t.id"
SWAPPED = "team AS t, player AS p"


@dataclass(frozen=True)
class Select:
    output: int
    conditions: tuple[int, ...]
    order: str = ""

    def sql(self) -> str:
        where = " AND ".join(CONDITIONS[i][0] for i in self.conditions) or "1 = 1"
        return self._text(OUTPUTS[self.output][0], JOINED, where)

    def _text(self, output: str, source: str, where: str) -> str:
        return f"SELECT {output} FROM {source} WHERE {where} {OUTPUTS[self.output][1]} {self.order}".strip()

    def rewritten(self, rename: bool, wrap: bool) -> str:
        """Another way to write the same query."""
        where = " AND ".join(f"({CONDITIONS[i][1]})" for i in reversed(self.conditions)) or "1 = 1"
        text = self._text(OUTPUTS[self.output][0], SWAPPED, f"t.id = p.team_id AND {where}")
        if rename:
            text = text.replace("t.", "second.").replace("p.", "first.").replace("AS t,", "AS second,")
            text = text.replace("AS p ", "AS first ")
        return f"SELECT * FROM ({text}) AS q" if wrap and not self.order else text

    def broken(self, at: int) -> str:
        """A query that means something else: another output, or one condition that is a little off."""
        if at >= len(self.conditions):
            where = " AND ".join(CONDITIONS[i][0] for i in self.conditions) or "1 = 1"
            return self._text(OUTPUTS[self.output][2], JOINED, where)
        parts = [CONDITIONS[i][2 if place == at else 0] for place, i in enumerate(self.conditions)]
        return self._text(OUTPUTS[self.output][0], JOINED, " AND ".join(parts))


_COMPATIBLE = [[], [0], [1], [2], [3], [4], [5], [6], [7], [8], [9], [0, 2], [4, 8], [3, 5], [0, 7, 8], [6, 9], [2, 8]]
selects = st.builds(Select, st.integers(0, len(OUTPUTS) - 1), st.sampled_from([tuple(c) for c in _COMPATIBLE]))


@settings(max_examples=40, deadline=None)
@given(selects, st.booleans(), st.booleans(), st.sampled_from(["", "ORDER BY 1", "ORDER BY 1 DESC LIMIT 3"]))
def test_sound_rewrites_stay_equivalent(select: Select, rename: bool, wrap: bool, order: str) -> None:
    select = replace(select, order=order)
    verdict = execution_match(SCHEMA, select.sql(), select.rewritten(rename, wrap))
    assert verdict.status == "equivalent", (select.sql(), select.rewritten(rename, wrap), verdict)


@settings(max_examples=60, deadline=None)
@given(selects, st.integers(0, 3))
def test_breaking_changes_are_found_and_proven(select: Select, at: int) -> None:
    if at >= len(select.conditions):
        # Where all goals are 7 their average is their maximum; where names are given, counting them counts rows.
        assume(not (select.output == 3 and 1 in select.conditions))
        assume(not (select.output == 4 and {2, 3, 6} & set(select.conditions)))
    gold, predicted = select.sql(), select.broken(at)
    verdict = execution_match(SCHEMA, gold, predicted)
    assert verdict.status == "different" and verdict.witness is not None, (gold, predicted, verdict)
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    for name, table in verdict.witness.tables.items():
        db.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(table.columns))})", table.rows)
    assert sorted(db.execute(gold), key=repr) != sorted(db.execute(predicted), key=repr)


_FRAGMENTS = st.sampled_from(
    ["SELECT", "FROM", "WHERE", "player", "team", "p", "goals", "(", ")", ",", "*", "=", "'x'", '"y"', "1", "GROUP BY"]
)
_texts = st.one_of(st.text(max_size=60), st.lists(_FRAGMENTS, max_size=14).map(" ".join))


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.just(SCHEMA), _texts), st.one_of(st.just("SELECT name FROM player"), _texts), _texts)
def test_any_text_gets_a_verdict(schema: str, gold: str, predicted: str) -> None:
    verdict = execution_match(schema, gold, predicted)
    assert verdict.status in STATUSES and verdict.reason
    assert "evaluator failed" not in verdict.reason, verdict.reason
    assert Verdict.from_dict(verdict.to_dict()).to_dict() == verdict.to_dict()
