"""The benchmarks' own metrics, against their definitions written out and on real database files."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2sql.evaluation.benchmarks import (
    BenchmarkQuestion,
    BenchmarkScore,
    database_files,
    rves_reward,
    score_benchmarks,
    soft_f1,
    spider_results_match,
    summarize_benchmarks,
    without_outliers,
)

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases in the layout of Spider: `shop` with two files, `empty` with one that holds nothing."""
    root = tmp_path_factory.mktemp("databases")
    for name, rows in (("shop", [(1, "a", 2.0), (2, "b", 3.0), (3, "b", 3.0)]), ("shop_2", [(1, "a", 9.0)])):
        (root / "shop").mkdir(exist_ok=True)
        with sqlite3.connect(root / "shop" / f"{name}.sqlite") as db:
            db.execute("CREATE TABLE goods (id INTEGER, name TEXT, price REAL)")
            db.executemany("INSERT INTO goods VALUES (?, ?, ?)", rows)
        db.close()
    (root / "empty").mkdir()
    (root / "empty" / "empty.sqlite").touch()
    return root


def _score(root: Path, gold: str, predicted: str, **options: Any) -> BenchmarkScore:
    ((_, score),) = score_benchmarks([BenchmarkQuestion(gold, predicted, database_files(root, "shop"))], **options)
    return score


@pytest.mark.parametrize(
    ("gold", "predicted", "spider", "suite", "bird"),
    [
        ("SELECT name FROM goods", "SELECT name FROM goods", True, True, True),
        # Columns may be permuted.
        ("SELECT id, name FROM goods", "SELECT name, id FROM goods", True, True, False),
        # DISTINCT is removed; BIRD compares sets.
        ("SELECT name FROM goods", "SELECT DISTINCT name FROM goods", True, True, True),
        ("SELECT name FROM goods", "SELECT name FROM goods GROUP BY name", False, False, True),
        ("SELECT id FROM goods ORDER BY id", "SELECT id FROM goods ORDER BY id DESC", False, False, True),
        ("SELECT id FROM goods", "SELECT id FROM goods ORDER BY id DESC", True, True, True),
        ("SELECT id FROM goods WHERE price > 5", "SELECT id FROM goods WHERE price > 8", True, True, True),
        # Both results are empty.
        ("SELECT id FROM goods WHERE id > 7", "SELECT name FROM goods WHERE id > 9", True, True, True),
        ("SELECT name FROM goods WHERE id = 1", "SELECT name FROM goods WHERE price = 2", True, False, True),
        ("SELECT name FROM goods", "SELECT nothing FROM goods", False, False, False),
        ("SELECT id FROM goods WHERE id > = 2", "SELECT id FROM goods WHERE id >= 2", True, True, None),
        ("SELECT name FROM goods", "```sql\nSELECT name FROM goods;\n```", True, True, True),
    ],
)
def test_verdicts_of_the_benchmarks(
    root: Path, gold: str, predicted: str, spider: bool, suite: bool, bird: bool | None
) -> None:
    score = _score(root, gold, predicted)
    # Only Spider's script repairs "> =".
    if bird is None:
        assert score.gold_failure
        return
    assert (score.spider_ex, score.spider_test_suite, score.bird_ex) == (spider, suite, bird)


def test_distinct_may_be_kept(root: Path) -> None:
    arguments = ("SELECT name FROM goods", "SELECT DISTINCT name FROM goods")
    assert _score(root, *arguments).spider_ex is True
    assert _score(root, *arguments, keep_distinct=True).spider_ex is False


_small = st.lists(st.lists(st.sampled_from([0, 1, 1.0, "1", None]), min_size=3, max_size=3).map(tuple), max_size=4)


# A loaded machine is no failure.
@settings(deadline=None)
@given(_small, st.permutations(range(3)), st.randoms(), st.booleans(), st.booleans())
def test_spiders_comparison_is_that_of_all_permutations(
    gold: Rows, order: list[int], random: Any, ordered: bool, mutate: bool
) -> None:
    predicted = [tuple(row[i] for i in order) for row in gold]
    if not ordered:
        random.shuffle(predicted)
    if mutate and predicted:
        predicted[0] = (*predicted[0][:2], random.choice([0, 1, None]))
    expected = any(
        gold == permuted if ordered else Counter(gold) == Counter(permuted)
        for places in itertools.permutations(range(3))
        for permuted in [[tuple(row[i] for i in places) for row in predicted]]
    )
    assert spider_results_match(gold, predicted, ordered) == expected
    assert expected or mutate


def test_wide_results_are_compared_without_trying_all_orders() -> None:
    gold = [tuple((i * j) % 3 for j in range(14)) for i in range(30)]
    assert spider_results_match(gold, [tuple(reversed(row)) for row in gold], False)
    assert not spider_results_match(gold, [(*row[:-1], 9) for row in gold], False)


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ([], [], 1.0),
        # Cells of a row are a set.
        ([(1, 2)], [(2, 1)], 1.0),
        # Duplicates are removed.
        ([(1,), (1,)], [(1,)], 1.0),
        ([(1,)], [], 0.0),
        ([], [(1,)], 0.0),
        # Rows are paired by position.
        ([(1,), (2,)], [(2,), (1,)], 0.0),
        # One of two cells, and a row too few: tp 0.5, fp 0.5, fn 1.5; precision 1/2, recall 1/4.
        ([(1, 9)], [(1, 2), (3, 4)], 1 / 3),
        # True positives 1, false positives 0.5: precision 2/3, recall 1.
        ([(1, 2, 3)], [(1, 2)], 0.8),
    ],
)
def test_soft_f1(predicted: Rows, gold: Rows, expected: float) -> None:
    assert soft_f1(predicted, gold) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ratio", "reward"),
    [(9, 1.25), (2, 1.25), (1.99, 1), (1, 1), (0.99, 0.75), (0.5, 0.75), (0.3, 0.5), (0.25, 0.5), (0.1, 0.25)],
)
def test_rewards(ratio: float, reward: float) -> None:
    assert rves_reward(ratio) == reward


def test_outliers_are_left_out_and_equal_times_are_not() -> None:
    assert without_outliers([1.0] * 99 + [50.0]) == [1.0] * 99
    assert without_outliers([1.0, 1.0]) == [1.0, 1.0]


def test_rves_rewards_the_faster_query(root: Path) -> None:
    slow = (
        "SELECT name FROM goods WHERE (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) "
        "SELECT MAX(i) FROM n) > 0"
    )
    fast = "SELECT name FROM goods"
    quick, same, late, wrong = (
        _score(root, gold, predicted, rves=True)
        for gold, predicted in ((slow, fast), (fast, fast), (fast, slow), (fast, "SELECT id FROM goods"))
    )
    assert quick.bird_rves == 1.25 and late.bird_rves == 0.25 and wrong.bird_rves == 0
    # Two times of one query: on a busy machine they may be any.
    assert same.bird_rves in (0.25, 0.5, 0.75, 1.0, 1.25) and same.time_ratio
    assert quick.time_ratio and quick.time_ratio > 2
    summary = summarize_benchmarks([quick, same, late, wrong]).to_json()["bird_rves"]
    expected = 100 * (1.25**0.5 + (same.bird_rves or 0) ** 0.5 + 0.5 + 0) / 4
    assert summary == {"value": pytest.approx(expected), "n": 4}


def test_hostile_predictions_change_nothing_and_end(root: Path) -> None:
    file = root / "shop" / "shop.sqlite"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT COUNT(*) FROM n"
    hostile = ["DROP TABLE goods", "DELETE FROM goods", "ATTACH 'x' AS y", endless, "SELECT randomblob(1e9)", ""]
    questions = [BenchmarkQuestion("SELECT name FROM goods", text, (str(file),)) for text in hostile]
    scores = dict(score_benchmarks(questions, workers=2, timeout=0.3))
    assert len(scores) == len(hostile)
    for score in scores.values():
        assert (score.spider_ex, score.bird_ex, score.bird_soft_f1) == (False, False, 0.0)
        assert score.failure and score.gold_failure is None
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert sorted(path.name for path in file.parent.iterdir()) == ["shop.sqlite", "shop_2.sqlite"]


def test_what_cannot_be_scored_is_counted(root: Path) -> None:
    assert database_files(root, "empty") == database_files(root, "none") == ()
    assert [Path(file).name for file in database_files(root, "shop")] == ["shop.sqlite", "shop_2.sqlite"]
    scores = [_score(root, "SELECT nope FROM goods", "SELECT 1"), None, _score(root, "SELECT 1", "SELECT 1")]
    assert scores[0] and "no such column" in (scores[0].gold_failure or "")
    assert summarize_benchmarks(scores).to_json() == {
        "no_database": 1,
        "gold_failed": 1,
        **{name: {"value": 1.0, "n": 1} for name in ("spider_ex", "spider_test_suite", "bird_ex", "bird_soft_f1")},
    }
