"""Verdicts by an executor: the same as by local processes, within the same limits; what fails is one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.equivalence.test_workers import PAIRS, SCHEMA
from tests.support import executors as made
from tests.support.repository import REPOSITORY
from tests.support.worker_tasks import Behaviour, Done, misbehave, misjudge
from text2sql.config import load_config
from text2sql.equivalence.processes import executors
from text2sql.equivalence.processes.process_pool import Lost, close_pools, run_tasks
from text2sql.equivalence.processes.worker import Worker
from text2sql.equivalence.scoring import verdicts, work_on_pairs
from text2sql.errors import UserError
from text2sql.evaluation import Pair, score_pairs
from text2sql.pipeline.preflight import check_run
from text2sql.runs.models import STAGES

PROCESSES, THREADS, ALTERED, IDLE = (
    f"tests.support.executors:{name}" for name in ("processes", "threads", "altered", "idle")
)


@pytest.fixture(autouse=True)
def _closed_after() -> Iterator[None]:
    made.Altered.sent.clear()
    made.Altered.opened, made.Altered.alter = 0, staticmethod(lambda text, times: text)
    made.Idle.given.clear()
    close_pools()
    yield
    for name in list(executors._OPEN):
        executors.close_executor(name)
    close_pools()


def _plain(pairs: list[Pair], **options: Any) -> dict[int, dict[str, Any]]:
    return {index: verdict.to_dict() for index, verdict in score_pairs(pairs, **options)}


def test_verdicts_are_those_of_local_processes() -> None:
    assert _plain(PAIRS, workers=PROCESSES) == _plain(PAIRS, workers=1)
    assert list(run_tasks(misbehave, [], workers=PROCESSES, seconds=1.0)) == []


@pytest.mark.parametrize("name", [PROCESSES, THREADS])
def test_what_hangs_or_dies_or_grows_is_ended_where_it_runs(name: str) -> None:
    tasks = [Behaviour(how) for how in (None, "compute", None, "exit", "grow", None)]
    answers = dict(run_tasks(misbehave, tasks, workers=name, seconds=1.0))
    assert [answers[n].kind for n in (1, 3)] == ["timeout", "died"]
    assert answers[4].refused and all(isinstance(answers[n], Done) for n in (0, 2, 5))
    # The worker belongs to the executor's process, which is the machine where it was judged.
    parent = psutil.Process(answers[5].pid).parent()
    assert parent is not None and (parent.pid == os.getpid()) == (name == THREADS)


def test_a_lost_worker_costs_one_pair() -> None:
    pairs = [PAIRS[0], Pair(SCHEMA, "SELECT a FROM t", "compute"), PAIRS[1]]
    options: dict[str, Any] = {"workers": THREADS, "effort": None, "seed": 0, "timeout": 1.0, "cache": None}
    found = {index: verdict for index, verdict, _ in work_on_pairs(misjudge, pairs, **options)}
    assert [found[n].status for n in range(3)] == ["equivalent", "timeout", "different"]


def test_workers_stay_for_the_batches_and_runs_that_follow() -> None:
    seen = set()
    for _ in range(4):
        answers = dict(run_tasks(misbehave, [Behaviour()] * 300, workers=THREADS, seconds=5.0))
        seen |= {answer.pid for answer in answers.values()}
        assert len(answers) == 300
    assert len(seen) <= 2


def test_kept_verdicts_are_not_sent(tmp_path: Path) -> None:
    first = _plain(PAIRS, workers=ALTERED, cache=tmp_path)
    sent = len(made.Altered.sent)
    assert sent and _plain(PAIRS, workers=ALTERED, cache=tmp_path) == first and len(made.Altered.sent) == sent


def _lose(text: str, times: int) -> str:
    if times == 1:
        raise ConnectionResetError("the node went away")
    return text


def test_what_a_machine_was_doing_when_it_went_is_done_by_another() -> None:
    made.Altered.alter = staticmethod(_lose)
    assert _plain(PAIRS, workers=ALTERED) == _plain(PAIRS, workers=1)


def test_pairs_that_are_lost_again_and_again_end_the_run_in_a_sentence() -> None:
    def lose(text: str, times: int) -> str:
        raise ConnectionResetError("the node went away")

    made.Altered.alter = staticmethod(lose)
    with pytest.raises(UserError, match=r"lost twice \(ConnectionResetError: the node went away\).*workers=2"):
        verdicts(PAIRS, workers=ALTERED)
    # What has broken is not asked again.
    made.Altered.alter = staticmethod(lambda text, times: text)
    assert len(verdicts(PAIRS, workers=ALTERED)) == len(PAIRS) and made.Altered.opened == 2


def test_a_machine_that_would_judge_otherwise_refuses(tmp_path: Path) -> None:
    def strange(text: str, times: int) -> str:
        return json.dumps({**json.loads(text), "evaluator": "another"})

    made.Altered.alter = staticmethod(strange)
    with pytest.raises(UserError, match="has another version of text2sql, of SQLite or of sqlglot; install the same"):
        verdicts(PAIRS, workers=ALTERED)

    def elsewhere(text: str, times: int) -> str:
        return json.dumps({**json.loads(text), "engines": {"duckdb": "DuckDB 0.1"}})

    made.Altered.alter = staticmethod(elsewhere)
    with pytest.raises(UserError, match=r"has DuckDB [\d.]+, and this one DuckDB 0\.1; take one version on all"):
        verdicts(PAIRS, workers=ALTERED)

    file = tmp_path / "some.sqlite"
    file.write_bytes(b"")

    def without(text: str, times: int) -> str:
        file.unlink(missing_ok=True)
        return text

    made.Altered.alter = staticmethod(without)
    with pytest.raises(UserError, match=r"does not have the database .*some\.sqlite of this one; put it where all"):
        verdicts([Pair(*PAIRS[0][:3], str(file))], workers=ALTERED)


def test_no_worker_starts_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.equivalence.processes.worker._COMMAND", "raise SystemExit('libsqlite is missing')")
    with pytest.raises(UserError, match=r"cannot judge: .*cannot be started: libsqlite is missing"):
        verdicts(PAIRS, workers=THREADS)


def test_a_run_that_is_given_up_takes_its_batches_back() -> None:
    run = score_pairs([Pair(SCHEMA, "SELECT a FROM t", f"SELECT a FROM t LIMIT {n}") for n in range(20)], workers=IDLE)
    next(run)
    run.close()
    assert len(made.Idle.given) > 10 and all(future.cancelled() for future in made.Idle.given[1:])


def test_an_interrupted_batch_leaves_no_worker_that_owes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executors interrupt what is cancelled: between a task and its answer, too."""
    sent: list[str] = []

    class Spy:
        def submit(self, function: Any, text: str) -> Any:
            sent.append(text)
            raise RuntimeError("enough")

    monkeypatch.setitem(executors._OPEN, THREADS, Spy())
    with pytest.raises(UserError, match=r"takes no work \(RuntimeError: enough\)"):
        dict(run_tasks(misbehave, [Behaviour("first")], workers=THREADS, seconds=5.0))
    batch = json.loads(sent[0])
    real = Worker._exchange

    def interrupted(self: Worker, task: dict[str, Any] | None, seconds: float) -> Any:
        if task is None:
            return real(self, task, seconds)
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executors.run_batch(json.dumps(batch))
    monkeypatch.setattr(Worker, "_exchange", real)
    reply = json.loads(executors.run_batch(json.dumps({**batch, "tasks": [{"how": "second"}]})))
    assert reply["answers"][0][1]["how"] == "second"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.support.executors:unreachable", r"cannot be opened \(ConnectionError: nobody at 127\.0\.0\.1:1\)"),
        ("tests.support.executors:no_executor", "returned dict, which is no executor: it has no submit"),
        ("tests.support.executors:absent", r"names no function that can be imported \(AttributeError: .*absent"),
        ("no.such.module:open", r"names no function that can be imported \(ModuleNotFoundError: .*package.module:fun"),
    ],
)
def test_an_executor_that_cannot_be_had(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        verdicts(PAIRS, workers=name)


def test_a_run_whose_executor_cannot_be_had_is_refused_before_it_begins(tmp_path: Path) -> None:
    config = load_config("quickstart", ["evaluation.workers=no.such.module:open", f"output_dir={tmp_path / 'run'}"])
    with pytest.raises(UserError, match=r"evaluation\.workers: no\.such\.module:open names no function"):
        check_run(config, STAGES)
    assert not (tmp_path / "run").exists()


def test_ray_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'workers: ray needs the package ray of the extra "ray".*number of processes'):
        verdicts(PAIRS, workers="ray")


def test_a_dask_cluster() -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: `pip install distributed`")
    name = "tests.support.dask_executor:two_workers"
    assert _plain(PAIRS, workers=name) == _plain(PAIRS, workers=1)
    answers = dict(run_tasks(misbehave, [Behaviour("compute"), Behaviour()], workers=name, seconds=1.0))
    assert isinstance(answers[0], Lost) and isinstance(answers[1], Done)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[int]:
    """A Ray cluster of two nodes with one processor each, on this machine."""
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    # Nodes find the packages where this process does.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield 2
    ray.shutdown()
    cluster.shutdown()
    monkeypatch.undo()


def test_a_ray_cluster_of_two_nodes(two_nodes: int) -> None:
    assert _plain(PAIRS, workers="ray") == _plain(PAIRS, workers=1)
    tasks = [Behaviour(how) for how in ("compute", None, "exit", "grow", "keep", None)] + [Behaviour("pause")] * 6
    answers = dict(run_tasks(misbehave, tasks, workers="ray", seconds=1.0))
    assert [answers[n].kind for n in (0, 2)] == ["timeout", "died"] and answers[3].refused
    # Both nodes had work, and each has one worker.
    assert len({psutil.Process(answers[n].pid).ppid() for n in range(6, 12)}) == two_nodes
