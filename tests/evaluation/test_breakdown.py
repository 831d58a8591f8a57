"""Where failures lie: groups of questions, the exact test, and when failures are called systematic."""

from __future__ import annotations

import json
import math
import random

import pytest

from text2sql.evaluation.breakdown import break_down, groups_of


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        ("SELECT a FROM t", {"easy", "none of these", "1 table", "up to 10 tokens"}),
        ("SELECT COUNT(*) FROM t WHERE a = 1 GROUP BY b HAVING COUNT(*) > 1 ORDER BY c LIMIT 1",
         {"WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT", "aggregate", "1 table", "extra", "21 to 40 tokens"}),
        ("SELECT DISTINCT x.a FROM t AS x JOIN u ON x.a = u.a", {"JOIN", "DISTINCT", "2 tables", "11 to 20 tokens"}),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u)", {"WHERE", "nested", "2 tables", "hard"}),
        ("SELECT a FROM t UNION SELECT a FROM u", {"set operation", "2 tables"}),
        ("WITH w AS (SELECT a FROM t) SELECT a FROM w", {"nested", "1 table"}),
        ("this is no SQL", {"extra", "up to 10 tokens"}),
    ],
)  # fmt: skip
def test_groups(gold: str, expected: set[str]) -> None:
    found = {name for _, name in groups_of(gold)}
    assert expected <= found
    assert ("nested" in found) == ("nested" in expected) and ("JOIN" in found) == ("JOIN" in expected)


PLAIN, GROUPED = "SELECT a FROM t WHERE a = 1", "SELECT a FROM t WHERE a = 1 GROUP BY b"


def test_failures_that_sit_in_one_clause_are_systematic() -> None:
    golds = [PLAIN] * 80 + [GROUPED] * 20
    right = [True] * 76 + [False] * 4 + [True] * 5 + [False] * 15
    labels = [[]] * 76 + [["wrong column"]] * 4 + [[]] * 5 + [["group by"]] * 15
    found = json.loads(json.dumps(break_down([groups_of(gold) for gold in golds], right, labels).to_json()))
    clauses = {row["group"]: row for row in found["tables"]["clause"]}
    assert clauses["GROUP BY"]["systematic"] and not clauses["WHERE"]["systematic"]
    assert (clauses["GROUP BY"]["n"], clauses["GROUP BY"]["correct"], clauses["GROUP BY"]["accuracy"]) == (20, 5, 0.25)
    # Fisher's exact test by hand: 15 or more of 19 failures among 20 of 100; then the correction for several looks.
    tail = sum(math.comb(20, k) * math.comb(80, 19 - k) for k in range(15, 20)) / math.comb(100, 19)
    assert tail < clauses["GROUP BY"]["p_value"] < 20 * tail
    assert found["verdict"] == "systematic"
    assert "15 of 20 questions with GROUP BY fail" in " ".join(found["statements"])
    assert found["labels"]["group by"] == {
        "n": 15, "dimension": "clause", "group": "GROUP BY", "systematic": True, "p_value": pytest.approx(0, abs=1e-6),
    }  # fmt: skip
    assert not found["labels"]["wrong column"]["systematic"]
    assert "Random, as far as these questions show: the errors wrong column." in found["statements"]


def test_failures_at_random_are_called_random() -> None:
    called = []
    for seed in range(60):
        rng = random.Random(seed)
        golds = [rng.choice([PLAIN, GROUPED, "SELECT a FROM t ORDER BY b LIMIT 2"]) for _ in range(90)]
        right = [rng.random() > 0.3 for _ in golds]
        labels = [[] if value else [rng.choice(["join key", "limit"])] for value in right]
        called.append(break_down([groups_of(gold) for gold in golds], right, labels).verdict)
    # 5 % of the tables and 5 % of the labels by chance: 6 of 60.
    assert called.count("systematic") <= 8
    assert called.count("random") >= 52


def test_the_ends() -> None:
    assert break_down([groups_of(PLAIN)], [True], [[]]).verdict == "none"
    assert break_down([groups_of(PLAIN), groups_of(GROUPED)], [True, False], [[], ["limit"]]).verdict == "too few"
    everything = break_down([groups_of(PLAIN)] * 5, [False] * 5, [["syntax"]] * 5)
    assert everything.verdict == "all" and everything.statements[0].startswith("All 5 questions fail")
    assert break_down([], [], []).tables["clause"] == ()
