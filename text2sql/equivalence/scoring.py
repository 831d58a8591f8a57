"""Scores many pairs in worker processes that can be killed from outside; see `process_pool`.

Because a pair's verdict depends on its arguments alone, the number of workers changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack

from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine import close_engine, engine_versions, open_engine
from text2sql.equivalence.match import DEFAULT_EFFORT, match_pair
from text2sql.equivalence.processes.process_pool import Lost, Workers, run_tasks
from text2sql.equivalence.processes.tasks import Work, to_json
from text2sql.equivalence.verdict import Cause, Verdict
from text2sql.equivalence.verdict_cache import VerdictCache
from text2sql.sql.budget import TIMEOUT


class Pair(NamedTuple):
    """What `execution_match` needs to know: schema, gold query, raw prediction, a real database if there is one.

    Both queries and the schema are of one dialect, and its engine runs them.
    """

    schema: str
    gold: str
    predicted: str
    database: str | None = None
    dialect: Dialect = "sqlite"


class MatchOptions(TypedDict, total=False):
    """How pairs are compared; what is left out has the default of `work_on_pairs`.

    Attributes:
        workers: Processes. The verdicts do not depend on it.
        effort: Databases per pair, see `execution_match`; None for its default.
        seed: Of the databases.
        timeout: Seconds of processor time per pair; the worker is ended then.
        cache: A directory in which verdicts are kept from run to run, see `VerdictCache`; None compares every pair.
        transpile: Compare pairs of other dialects on SQLite, with both queries translated: such verdicts say so.
    """

    workers: Workers
    effort: int | None
    seed: int
    timeout: float
    cache: Path | None
    transpile: bool


@dataclass(frozen=True)
class PairTask:
    """What a worker compares: the fields of `Pair`, the settings of `score_pairs`, and the verdict if it is cached.

    Attributes:
        known: The cached verdict, as `Verdict.to_dict` has it.
    """

    schema: str
    gold: str
    predicted: str
    database: str | None
    dialect: Dialect
    effort: int | None
    seed: int
    timeout: float
    transpile: bool = False
    known: dict[str, Any] | None = None


@dataclass(frozen=True)
class PairResult:
    """What a worker answers; other work adds to it.

    Attributes:
        verdict: As `Verdict.to_dict` has it.
        cause: The verdict's, which is not in that.
    """

    verdict: dict[str, Any]
    cause: Cause | None


R = TypeVar("R", bound=PairResult)


def verdicts(pairs: Iterable[Sequence[str | None]], workers: Workers = 1) -> list[Verdict]:
    """Scores pairs in worker processes, for callers that want nothing but the verdicts, such as a trainer's reward.

    Args:
        pairs: Schema, gold query, raw prediction, and optionally the path of a real database: `Pair`, or plain tuples.
        workers: Processes. The verdicts do not depend on it.

    Returns:
        One verdict for each pair, in order. No prediction makes it raise or hang.
    """
    listed = [Pair(*pair) for pair in pairs]  # type: ignore[arg-type]
    by_index = dict(score_pairs(listed, workers=workers))
    return [by_index[index] for index in range(len(listed))]


def score_pairs(pairs: Sequence[Pair], **options: Unpack[MatchOptions]) -> Generator[tuple[int, Verdict], None, None]:
    """Scores pairs, each at most once however often it occurs.

    Args:
        pairs: The pairs; anything with the fields of `Pair`, in order.
        options: See `MatchOptions`.

    Yields:
        The index of a pair and its verdict, as they are finished.

    Raises:
        EngineMissing: The engine of a pair's dialect cannot be had.
    """
    for index, verdict, _ in work_on_pairs(score_pair, pairs, **options):
        yield index, verdict


def work_on_pairs(
    work: Work[PairTask, R],
    pairs: Sequence[Pair],
    *,
    workers: Workers = 1,
    effort: int | None = None,
    seed: int = 0,
    timeout: float = TIMEOUT,
    cache: Path | None = None,
    transpile: bool = False,
) -> Iterator[tuple[int, Verdict, R | None]]:
    """Scores pairs and has the workers find out more about each, so that no other process reads a model's text.

    Args:
        work: What a worker does with each, see `tasks.Work`.
        pairs: As for `score_pairs`.
        workers: As in `MatchOptions`, like the rest.
        effort: Databases per pair.
        seed: Of the databases.
        timeout: Seconds of processor time per pair.
        cache: Directory of the verdict cache.
        transpile: Whether pairs of other dialects are compared on SQLite.

    Yields:
        The index of a pair, its verdict, and the worker's result; None where no worker gave one.
    """
    indices: dict[Pair, list[int]] = {}
    for index, pair in enumerate(pairs):
        indices.setdefault(Pair(*pair), []).append(index)
    index_groups = list(indices.values())
    tasks = [PairTask(*pair, effort=effort, seed=seed, timeout=timeout, transpile=transpile) for pair in indices]
    # Asked before anything is compared: a server that does not answer is said at once.
    versions = engine_versions(engines_of(tasks))
    job = _Job(work, workers, timeout, versions)
    scored = _score(job, tasks) if cache is None else _score_with_cache(job, tasks, cache)
    for number, verdict, result in scored:
        for index in index_groups[number]:
            yield index, verdict, result


@dataclass(frozen=True)
class _Job(Generic[R]):
    """How tasks are done.

    Attributes:
        work: What a worker does with each.
        workers: How many, or the name of an executor.
        timeout: Seconds of processor time for each.
        versions: Of the engines that the tasks need, by dialect.
    """

    work: Work[PairTask, R]
    workers: Workers
    timeout: float
    versions: dict[Dialect, str]


def _score(job: _Job[R], tasks: list[PairTask]) -> Iterator[tuple[int, Verdict, R | None]]:
    """The index of a task, its verdict and the worker's result, as they are finished."""
    if not tasks:
        return
    engines = sorted(job.versions)
    for index, reply in run_tasks(job.work, tasks, workers=job.workers, seconds=job.timeout, engines=engines):
        verdict, result = _read_reply(reply)
        dialect = tasks[index].dialect
        if _may_have_lost_engine(reply, verdict) and dialect in job.versions:
            # A server that has gone would make all that follows undecided: the run ends, and can be gone on with.
            close_engine(dialect)
            open_engine(dialect)
        yield index, verdict, result


def _may_have_lost_engine(reply: PairResult | Lost, verdict: Verdict) -> bool:
    return verdict.cause == "engine_lost" or (isinstance(reply, Lost) and reply.kind == "died")


def _score_with_cache(job: _Job[R], tasks: list[PairTask], directory: Path) -> Iterator[tuple[int, Verdict, R | None]]:
    """The same as `_score`: takes verdicts from the cache, and puts the others there."""
    with closing(VerdictCache(directory)) as cache:
        keys = [cache.key(_identity(task, job.versions)) for task in tasks]
        remaining = []
        for index, key in enumerate(keys):
            verdict = cache.get(key)
            tasks[index] = replace(tasks[index], known=verdict.to_dict() if verdict else None)
            if verdict is not None and job.work is score_pair:
                # A cached verdict is all that `score_pair` would answer: no process is needed for it.
                yield index, verdict, None
            else:
                remaining.append(index)
        for position, verdict, result in _score(job, [tasks[index] for index in remaining]):
            index = remaining[position]
            if tasks[index].known is None:
                cache.put(keys[index], verdict)
            yield index, verdict, result


def engines_of(tasks: Iterable[PairTask]) -> list[Dialect]:
    """The dialects whose engines some tasks need."""
    return sorted({task.dialect for task in tasks if task.dialect != "sqlite" and not task.transpile})


def _identity(task: PairTask, versions: Mapping[Dialect, str]) -> dict[str, Any]:
    """What a verdict depends on but the evaluator itself."""
    content = {name: value for name, value in to_json(task).items() if name != "known"}
    return content | ({"engine": versions[task.dialect]} if task.dialect in versions else {})


def _read_reply(reply: R | Lost) -> tuple[Verdict, R | None]:
    """The verdict in a worker's result, and the result; a task that was lost has none."""
    if isinstance(reply, Lost):
        reason = f"{reply.reason[0].upper()}{reply.reason[1:]}."
        return Verdict("timeout" if reply.kind == "timeout" else "undecided", reason), None
    return replace(Verdict.from_dict(reply.verdict), cause=reply.cause), reply


def score_pair(task: PairTask) -> PairResult:
    """What a worker does with a task of `score_pairs`."""
    if task.known is not None:
        return PairResult(task.known, cause=None)
    verdict = match_task(task)
    return PairResult(verdict.to_dict(), verdict.cause)


def match_task(task: PairTask) -> Verdict:
    """The verdict on a task, found in this process."""
    effort = task.effort or DEFAULT_EFFORT
    if task.dialect != "sqlite":
        from text2sql.equivalence.engine_match import match_in_engine, match_transpiled

        match = match_transpiled if task.transpile else match_in_engine
        texts = (task.schema, task.gold, task.predicted)
        verdict = match(*texts, task.dialect, effort=effort, seed=task.seed, timeout=task.timeout)
        return replace(verdict, unused_database=_UNUSED_DATABASE) if task.database else verdict
    return match_pair(
        task.schema,
        task.gold,
        task.predicted,
        task.database,
        effort=effort,
        seed=task.seed,
        timeout=task.timeout,
    )


# Said of a database file where a pair is of another dialect.
_UNUSED_DATABASE = "it is a SQLite database, and the queries are of another dialect"

__all__ = [
    "MatchOptions",
    "Pair",
    "PairResult",
    "PairTask",
    "match_task",
    "score_pair",
    "score_pairs",
    "verdicts",
    "work_on_pairs",
]
