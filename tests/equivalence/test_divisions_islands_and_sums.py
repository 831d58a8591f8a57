"""Relational divisions, gaps and islands, and running sums: the rows that decide them are made for every seed."""

from __future__ import annotations

import pytest

from text2sql.equivalence.execution_match import execution_match

SCHEMA = (
    "CREATE TABLE worker (id INTEGER PRIMARY KEY, name TEXT NOT NULL, points INTEGER);"
    "CREATE TABLE skill (code TEXT PRIMARY KEY, level INTEGER NOT NULL, kind TEXT NOT NULL);"
    "CREATE TABLE has (worker_id INTEGER NOT NULL REFERENCES worker(id), code TEXT NOT NULL REFERENCES skill(code),"
    " since DATE NOT NULL, PRIMARY KEY (worker_id, code, since));"
    "CREATE TABLE entry (id INTEGER PRIMARY KEY, worker_id INTEGER NOT NULL, day DATE NOT NULL, delta INTEGER NOT NULL)"
)
OWN = "FROM has JOIN skill USING (code) WHERE has.worker_id = worker.id AND kind = 'core'"
ALL = "(SELECT COUNT(*) FROM skill WHERE kind = 'core')"
NONE_MISSING = (
    "SELECT name FROM worker WHERE NOT EXISTS (SELECT 1 FROM skill WHERE kind = 'core' AND NOT EXISTS"
    " (SELECT 1 FROM has WHERE has.worker_id = worker.id AND has.code = skill.code))"
)
RUNS = (
    "SELECT worker_id, COUNT({what}) FROM (SELECT worker_id, day, julianday(day) - {number}() OVER"
    " (PARTITION BY worker_id ORDER BY day) AS run FROM {rows}) AS d GROUP BY worker_id, run"
)
DAYS = RUNS.format(what="*", number="ROW_NUMBER", rows="(SELECT DISTINCT worker_id, day FROM entry)")
RUNNING = "SELECT worker_id, SUM(delta) OVER (PARTITION BY worker_id ORDER BY {order}) AS s FROM entry"
LOWEST = f"SELECT worker_id FROM ({RUNNING}) AS r GROUP BY worker_id HAVING MIN(s) < 0"

DIFFERENT = {
    "one of all twice": (NONE_MISSING, f"SELECT name FROM worker WHERE (SELECT COUNT(*) {OWN}) >= {ALL}"),
    "nothing to have": (
        NONE_MISSING,
        "SELECT MIN(name) FROM worker JOIN has ON worker_id = worker.id JOIN skill USING (code) WHERE kind = 'core'"
        f" GROUP BY worker.id HAVING COUNT(DISTINCT code) = {ALL}",
    ),
    "as many others": (
        "SELECT worker_id FROM has JOIN skill USING (code) WHERE kind = 'core' GROUP BY 1"
        f" HAVING COUNT(DISTINCT code) = {ALL}",
        f"SELECT worker_id FROM has GROUP BY 1 HAVING COUNT(DISTINCT code) = {ALL}",
    ),
    "a day that comes twice within a run": (DAYS, RUNS.format(what="*", number="ROW_NUMBER", rows="entry")),
    "a sum below zero on its way": (
        LOWEST.format(order="day, id"),
        "SELECT worker_id FROM entry GROUP BY worker_id HAVING SUM(delta) < 0",
    ),
    "a sum above a number between two rows of a day": (
        LOWEST.format(order="day, id").replace("MIN(s) < 0", "MAX(s) > 100"),
        LOWEST.format(order="day").replace("MIN(s) < 0", "MAX(s) > 100"),
    ),
    "a sum below zero between two rows of a day": (LOWEST.format(order="day, id"), LOWEST.format(order="day")),
    "a half of an odd number below zero": ("SELECT id, points / 2 FROM worker", "SELECT id, points >> 1 FROM worker"),
    "a half of an odd sum below zero": (
        "SELECT worker_id, SUM(delta) / 2 FROM entry GROUP BY worker_id",
        "SELECT worker_id, CAST(FLOOR(SUM(delta) / 2.0) AS INTEGER) FROM entry GROUP BY worker_id",
    ),
    "a half compared with a number below zero": (
        "SELECT id FROM worker WHERE points / 2 < -10",
        "SELECT id FROM worker WHERE points >> 1 < -10",
    ),
}
EQUIVALENT = {
    "as many of all as there are": (
        NONE_MISSING,
        f"SELECT name FROM worker WHERE (SELECT COUNT(DISTINCT code) {OWN}) = {ALL}",
    ),
    "equal days have one rank": (DAYS, RUNS.format(what="DISTINCT day", number="DENSE_RANK", rows="entry")),
    "once below zero": (
        LOWEST.format(order="day, id"),
        f"SELECT DISTINCT worker_id FROM ({RUNNING.format(order='day, id')}) WHERE s <= -1",
    ),
    "what stands behind a mark": (
        "SELECT id FROM worker WHERE instr(name, ' ') > 0 AND substr(name, instr(name, ' ') + 1) LIKE 'van%'",
        "SELECT id FROM worker WHERE name LIKE '% %' AND lower(substr(name, instr(name, ' ') + 1, 3)) = 'van'",
    ),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_the_difference_is_found_with_every_seed(kind: str) -> None:
    gold, predicted = DIFFERENT[kind]
    for seed in range(3):
        assert execution_match(SCHEMA, gold, predicted, seed=seed).status == "different", seed
        assert execution_match(SCHEMA, predicted, gold, seed=seed).status == "different", seed


@pytest.mark.parametrize("kind", EQUIVALENT)
def test_agreement_rests_on_informative_databases_with_every_seed(kind: str) -> None:
    gold, predicted = EQUIVALENT[kind]
    for seed in range(3):
        assert execution_match(SCHEMA, gold, predicted, seed=seed).status == "equivalent", seed
