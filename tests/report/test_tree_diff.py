"""Gold query and prediction by their trees: what is marked is what differs."""

from __future__ import annotations

import pytest

from text2sql.report.questions.tree_diff import Piece, compare_trees

SCHEMA = "CREATE TABLE t (id INT, a INT, x INT, y TEXT); CREATE TABLE u (tid INT, uid INT)"


def marked(pieces: list[Piece]) -> dict[str, str]:
    return {" ".join(piece.text.split()): piece.change for piece in pieces if piece.change}


@pytest.mark.parametrize(
    ("gold", "predicted", "in_gold", "in_predicted"),
    [
        (
            "SELECT a FROM t WHERE x > 3 AND y = 'q' LIMIT 5",
            "SELECT a FROM t WHERE x >= 3",
            {">": "missing", "AND y = 'q' LIMIT 5": "missing"},
            {">=": "extra"},
        ),
        ("SELECT a, x FROM t", "SELECT x, a FROM t", {"a": "moved"}, {"a": "moved"}),
        (
            "SELECT a FROM t JOIN u ON t.id = u.tid",
            "SELECT a FROM t JOIN u ON t.id = u.uid",
            {"u.tid": "missing"},
            {"u.uid": "extra"},
        ),
        ("SELECT a FROM t WHERE x = 3", "SELECT a FROM t WHERE x = 4", {"3": "missing"}, {"4": "extra"}),
        ("SELECT a FROM t", "SELECT DISTINCT a FROM t", {}, {"DISTINCT": "extra"}),
        (
            "SELECT MAX(a) FROM t",
            "SELECT MIN(a) FROM t",
            {"MAX(": "missing", ")": "missing"},
            {"MIN(": "extra", ")": "extra"},
        ),
    ],
)
def test_what_differs_is_marked(gold: str, predicted: str, in_gold: object, in_predicted: object) -> None:
    found = compare_trees(SCHEMA, gold, predicted)
    assert (marked(found.gold), marked(found.predicted), found.remark) == (in_gold, in_predicted, "")


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT a FROM t WHERE y = 'q'", 'select A  from T where "Y" = "q"'),
        ("SELECT a FROM t UNION SELECT uid FROM u", "SELECT a FROM t  UNION  SELECT uid FROM u;"),
    ],
)
def test_what_is_spelt_otherwise_is_no_difference(gold: str, predicted: str) -> None:
    found = compare_trees(SCHEMA, gold, predicted)
    assert not marked(found.gold) and not marked(found.predicted)
    assert found.remark == "The two trees are the same."


@pytest.mark.parametrize(
    ("gold", "predicted", "remark"),
    [
        ("SELECT a FROM t", "SELECT a FROM", "The model's query does not parse"),
        ("SELECT FROM WHERE", "SELECT 1", "The gold query does not parse"),
        ("SELECT a FROM t", "DROP TABLE t", "The model's query does not parse"),
        ("SELECT a FROM t", "SELECT " + "a, " * 4000 + "a FROM t", "too long"),
        ("SELECT a FROM t", "", "does not parse"),
        ("SELECT a FROM t WHERE y = '\ue0001\ue001'", "SELECT x FROM t", "private use area"),
    ],
)
def test_what_has_no_tree_is_shown_as_it_is(gold: str, predicted: str, remark: str) -> None:
    found = compare_trees(SCHEMA, gold, predicted)
    assert remark in found.remark
    assert [piece.text for piece in (*found.gold, *found.predicted)] == [gold, predicted]
