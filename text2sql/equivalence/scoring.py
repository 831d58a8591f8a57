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
from text2sql.equivalence.match import DEFAULT_EFFORT, judge_pair
from text2sql.equivalence.processes.process_pool import Lost, Workers, run_tasks
from text2sql.equivalence.processes.tasks import Work, written
from text2sql.equivalence.verdict import Verdict
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
    """How pairs are matched; what is left out has the default of `work_on_pairs`.

    Attributes:
        workers: Processes. The verdicts do not depend on it.
        effort: Databases per pair, see `execution_match`; None for its default.
        seed: Of the databases.
        timeout: Seconds of processor time per pair; the worker is ended then.
        cache: A directory in which verdicts are kept from run to run, see `VerdictCache`; None judges every pair.
        transpile: Judge pairs of other dialects on SQLite, with both queries translated: such verdicts say so.
    """

    workers: Workers
    effort: int | None
    seed: int
    timeout: float
    cache: Path | None
    transpile: bool


@dataclass(frozen=True)
class PairTask:
    """What a worker judges: the fields of `Pair`, those of `score_pairs`, and the verdict where it was kept."""

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
class Scored:
    """What a worker answers: the verdict as `Verdict.to_dict` has it. Other work adds to it."""

    verdict: dict[str, Any]


S = TypeVar("S", bound=Scored)


def verdicts(pairs: Iterable[Sequence[str | None]], workers: Workers = 1) -> list[Verdict]:
    """Scores pairs in worker processes, for callers that want nothing but the verdicts, such as a trainer's reward.

    Args:
        pairs: Schema, gold query, raw prediction, and optionally the path of a real database: `Pair`, or plain tuples.
        workers: Processes. The verdicts do not depend on it.

    Returns:
        One verdict for each pair, in order. No prediction makes it raise or hang.
    """
    listed = [Pair(*pair) for pair in pairs]  # type: ignore[arg-type]
    found = dict(score_pairs(listed, workers=workers))
    return [found[index] for index in range(len(listed))]


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
    for index, verdict, _ in work_on_pairs(score, pairs, **options):
        yield index, verdict


def work_on_pairs(
    work: Work[PairTask, S],
    pairs: Sequence[Pair],
    *,
    workers: Workers = 1,
    effort: int | None = None,
    seed: int = 0,
    timeout: float = TIMEOUT,
    cache: Path | None = None,
    transpile: bool = False,
) -> Iterator[tuple[int, Verdict, S | None]]:
    """Scores pairs and has the workers find out more about each, so that no other process reads a model's text.

    Args:
        work: What a worker does with each, see `tasks.Work`.
        pairs: As for `score_pairs`.
        workers: As in `MatchOptions`, like the rest.
        effort: Databases per pair.
        seed: Of the databases.
        timeout: Seconds of processor time per pair.
        cache: Directory of the verdict cache.
        transpile: Whether other dialects are judged on SQLite.

    Yields:
        The index of a pair, its verdict, and the answer; None where no worker gave one.
    """
    places: dict[Pair, list[int]] = {}
    for index, pair in enumerate(pairs):
        places.setdefault(Pair(*pair), []).append(index)
    groups = list(places.values())
    tasks = [PairTask(*pair, effort=effort, seed=seed, timeout=timeout, transpile=transpile) for pair in places]
    # Asked before anything is judged: a server that does not answer is said at once.
    versions = engine_versions(engines_of(tasks))
    crew = _Crew(work, workers, timeout, versions)
    found = _fresh(crew, tasks) if cache is None else _with_kept(crew, tasks, cache)
    for number, verdict, answer in found:
        for index in groups[number]:
            yield index, verdict, answer


@dataclass(frozen=True)
class _Crew(Generic[S]):
    """Who works on pairs: with what, how many, how long, and the versions of the engines by dialect."""

    work: Work[PairTask, S]
    workers: Workers
    timeout: float
    versions: dict[Dialect, str]


def _fresh(crew: _Crew[S], tasks: list[PairTask]) -> Iterator[tuple[int, Verdict, S | None]]:
    if not tasks:
        return
    engines = sorted(crew.versions)
    for number, reply in run_tasks(crew.work, tasks, workers=crew.workers, seconds=crew.timeout, engines=engines):
        verdict, answer = _read(reply)
        if verdict.reason.startswith(_BROKEN) and tasks[number].dialect in crew.versions:
            # A server that has gone would make all that follows undecided: the run ends, and can be gone on with.
            close_engine(tasks[number].dialect)
            open_engine(tasks[number].dialect)
        yield number, verdict, answer


def _with_kept(crew: _Crew[S], tasks: list[PairTask], directory: Path) -> Iterator[tuple[int, Verdict, S | None]]:
    """Judges the pairs whose verdict is not kept, and keeps it."""
    with closing(VerdictCache(directory)) as kept:
        keys = [kept.key(_identity(task, crew.versions)) for task in tasks]
        left = []
        for number, key in enumerate(keys):
            verdict = kept.get(key)
            tasks[number] = replace(tasks[number], known=verdict.to_dict() if verdict else None)
            if verdict is not None and crew.work is score:
                # A kept verdict is all that `score` would answer: no process is needed for it.
                yield number, verdict, None
            else:
                left.append(number)
        chosen = [tasks[number] for number in left]
        for place, verdict, answer in _fresh(crew, chosen):
            if chosen[place].known is None:
                kept.put(keys[left[place]], verdict)
            yield left[place], verdict, answer


def engines_of(tasks: Iterable[PairTask]) -> list[Dialect]:
    """The dialects whose engines some tasks need."""
    return sorted({task.dialect for task in tasks if task.dialect != "sqlite" and not task.transpile})


def _identity(task: PairTask, versions: Mapping[Dialect, str]) -> dict[str, Any]:
    """What a verdict depends on but the evaluator itself."""
    content = {name: value for name, value in written(task).items() if name != "known"}
    return content | ({"engine": versions[task.dialect]} if task.dialect in versions else {})


def _read(reply: S | Lost) -> tuple[Verdict, S | None]:
    """The verdict in a worker's answer, and the answer."""
    if isinstance(reply, Lost):
        reason = f"{reply.reason[0].upper()}{reply.reason[1:]}."
        return Verdict("timeout" if reply.kind == "timeout" else "undecided", reason), None
    return Verdict.from_dict(reply.verdict), reply


def score(task: PairTask) -> Scored:
    """What a worker does with a task of `score_pairs`."""
    return Scored(task.known if task.known is not None else judged(task).to_dict())


def judged(task: PairTask) -> Verdict:
    """The verdict on a task, judged in this process."""
    effort = task.effort or DEFAULT_EFFORT
    if task.dialect != "sqlite":
        from text2sql.equivalence.engine_match import judge_in_engine, judge_transpiled

        judge = judge_transpiled if task.transpile else judge_in_engine
        texts = (task.schema, task.gold, task.predicted)
        verdict = judge(*texts, task.dialect, effort=effort, seed=task.seed, timeout=task.timeout)
        return replace(verdict, unused_database=_UNUSED) if task.database else verdict
    return judge_pair(
        task.schema,
        task.gold,
        task.predicted,
        task.database,
        effort=effort,
        seed=task.seed,
        timeout=task.timeout,
    )


# How the reasons of verdicts begin where an engine may have gone.
_BROKEN = ("The connection to", "DuckDB broke off", "The worker died")
# Said of a database file where a pair is of another dialect.
_UNUSED = "it is a SQLite database, and the queries are of another dialect"

__all__ = ["MatchOptions", "Pair", "PairTask", "Scored", "judged", "score", "score_pairs", "verdicts", "work_on_pairs"]
