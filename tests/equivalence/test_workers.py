"""Worker processes: the same verdicts however many, a killed one costs one pair."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.worker_tasks import Behaviour, Done, misbehave, misjudge
from text2sql.equivalence.processes import supervisor, worker, worker_pools
from text2sql.equivalence.processes.process_pool import Lost, WorkersCannotStart, close_pools, run_tasks
from text2sql.equivalence.scoring import verdicts, work_on_pairs
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


@pytest.mark.parametrize(("how", "status"), [("compute", "timeout"), ("exit", "undecided"), ("terminate", "undecided")])
def test_a_lost_worker_costs_one_pair(how: str, status: str) -> None:
    options = {"workers": 1, "effort": None, "seed": 0, "timeout": 1.0, "cache": None}
    pairs = [PAIRS[0], Pair(SCHEMA, "SELECT a FROM t", how), PAIRS[1]]
    found = {index: verdict for index, verdict, _ in work_on_pairs(misjudge, pairs, **options)}
    assert found[1].status == status and ("killed" in found[1].reason or "died" in found[1].reason)
    assert found[0].correct and found[2].status == "different"


def test_another_package_of_this_name_where_somebody_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text2sql").mkdir()
    (tmp_path / "text2sql" / "__init__.py").write_text("raise SystemExit('a stranger')\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(dict(run_tasks(misbehave, [Behaviour()], workers=1, seconds=1.0))[0], Done)


def test_where_no_worker_starts_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    close_pools()
    monkeypatch.setattr(worker, "_COMMAND", "raise SystemExit('libsqlite is missing')")
    with pytest.raises(WorkersCannotStart, match=r"cannot be started: libsqlite is missing\. Nothing was judged"):
        verdicts([PAIRS[0], PAIRS[1]])
    close_pools()


def test_a_worker_that_sleeps_is_killed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_GRACE_SECONDS", 0.2)
    answers = dict(run_tasks(misbehave, [Behaviour("sleep"), Behaviour()], workers=1, seconds=0.2))
    assert isinstance(answers[0], Lost) and answers[0].kind == "timeout" and isinstance(answers[1], Done)


def test_a_spare_takes_the_place_of_a_lost_worker_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    close_pools()
    started: list[float] = []
    real = worker_pools.Worker

    def start(arguments: Sequence[str]) -> worker_pools.Worker:
        started.append(time.monotonic())
        return real(arguments)

    monkeypatch.setattr(worker_pools, "Worker", start)
    tasks = [Behaviour(how) for how in (None, "pause", "compute", None, "pause")]
    answers = dict(run_tasks(misbehave, tasks, workers=1, seconds=1.0))
    assert isinstance(answers[2], Lost) and _pid(answers[3]) != _pid(answers[0])
    killed = time.monotonic() - 3
    # The first worker, the spare that was there before the first was lost, and the next spare.
    assert len(started) == 3 and started[1] < killed


def test_a_worker_cannot_grow_beyond_its_limit_and_is_replaced_when_it_stays_large() -> None:
    pytest.importorskip("resource")
    tasks = [Behaviour("grow"), Behaviour("keep"), Behaviour()]
    answers = dict(run_tasks(misbehave, tasks, workers=1, seconds=5.0))
    assert isinstance(answers[0], Done) and answers[0].refused
    assert _pid(answers[1]) == _pid(answers[0]) != _pid(answers[2])


def test_workers_wait_for_the_next_run_unless_they_were_lost() -> None:
    close_pools()
    first, second = (dict(run_tasks(misbehave, [Behaviour()] * 2, workers=2, seconds=5.0)) for _ in range(2))
    assert {_pid(answer) for answer in second.values()} <= {_pid(answer) for answer in first.values()}
    third = dict(run_tasks(misbehave, [Behaviour("exit"), Behaviour()], workers=1, seconds=5.0))
    assert isinstance(third[0], Lost) and isinstance(third[1], Done)
    waiting = _children()
    # One that ended while it waited is not asked, and other limits are kept by other workers.
    os.kill(_pid(third[1]), signal.SIGKILL)
    fourth = dict(run_tasks(misbehave, [Behaviour()], workers=1, seconds=5.0))
    assert _pid(fourth[0]) != _pid(third[1])
    other = dict(run_tasks(misbehave, [Behaviour()], workers=1, seconds=6.0))
    assert _pid(other[0]) not in waiting
    close_pools()
    assert _pid(other[0]) not in _children()


def _pid(answer: Done | Lost) -> int:
    assert isinstance(answer, Done), answer
    return answer.pid


def test_verdicts_is_one_call() -> None:
    found = verdicts([PAIRS[0], (SCHEMA, "SELECT a FROM t", "SELECT b FROM t"), PAIRS[4]], workers=2)
    assert [verdict.status for verdict in found] == ["equivalent", "different", "refused"]
    assert verdicts([]) == []


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


def _children() -> set[int]:
    import psutil

    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}
