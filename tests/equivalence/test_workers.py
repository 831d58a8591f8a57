"""Worker processes: the same verdicts however many, a killed one costs one pair."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from text2sql.equivalence import process_pool, workers
from text2sql.evaluation import Pair, execution_match, score_pairs

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT)"
PAIRS = [
    Pair(SCHEMA, "SELECT a FROM t", text)
    for text in (
        "SELECT t.a FROM t",
        "SELECT b FROM t",
        "SELECT a FROM t ORDER BY b",
        "SELECT DISTINCT a FROM t",
        "DROP TABLE t",
        "SELECT a FROM t",
        "SELECT nope FROM t",
        "SELECT b FROM t",
    )
]


def test_the_number_of_workers_changes_nothing() -> None:
    one, two = (dict(score_pairs(PAIRS, workers=count)) for count in (1, 2))
    direct = {index: execution_match(*pair) for index, pair in enumerate(PAIRS)}
    plain = [{index: verdict.to_dict() for index, verdict in found.items()} for found in (one, two, direct)]
    assert plain[0] == plain[1] == plain[2]
    assert len(one) == len(PAIRS)


def test_no_pairs() -> None:
    assert list(score_pairs([])) == []


def test_a_hanging_worker_is_killed_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "_GRACE", 0.2)
    monkeypatch.setattr(workers, "_COMMAND", _broken_worker("while True: pass"))
    monkeypatch.setattr(process_pool, "_START", 10.0)
    start = time.monotonic()
    hang = Pair(SCHEMA, "SELECT a FROM t", "HANG")
    found = dict(score_pairs([PAIRS[0], hang, PAIRS[1]], workers=1, timeout=1.0))
    assert found[1].status == "timeout" and "killed" in found[1].reason
    assert found[0].correct and found[2].status == "different"
    assert time.monotonic() - start < 40


@pytest.mark.parametrize("end", ["os._exit(3)", f"os.kill(os.getpid(), {int(signal.SIGTERM)})"])
def test_a_crashing_worker_is_undecided(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(workers, "_COMMAND", _broken_worker(end))
    crash = Pair(SCHEMA, "SELECT a FROM t", "HANG")
    found = dict(score_pairs([crash, PAIRS[0]], workers=1))
    assert found[0].status == "undecided" and "died" in found[0].reason
    assert found[1].correct


def test_an_abandoned_run_leaves_no_process() -> None:
    before = _children()
    run = score_pairs(PAIRS * 3, workers=2)
    next(run)
    run.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while _children() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _children() - before


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, text2sql.evaluation; print('torch' in sys.modules, 'sqlglot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.getcwd())
    assert done.stdout.split() == ["False", "False"]


def _broken_worker(end: str) -> str:
    """A worker that ends in some way at the prediction HANG."""
    return f"""
import os
from text2sql.equivalence import match
real = match.execution_match
def execution_match(schema, gold, predicted, database, **options):
    if predicted == "HANG":
        {end}
    return real(schema, gold, predicted, database, **options)
match.execution_match = execution_match
from text2sql.equivalence import process_pool, workers
process_pool.serve(workers.score)
"""


def _children() -> set[int]:
    import psutil

    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}
