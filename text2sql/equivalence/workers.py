"""Scores many pairs in worker processes that can be killed from outside; see `process_pool`.

Because a pair's verdict depends on its arguments alone, the number of workers changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from text2sql.equivalence.match import DEFAULT_EFFORT, judge_pair
from text2sql.equivalence.process_pool import Lost, Task, Work, run_tasks
from text2sql.equivalence.verdict import Verdict
from text2sql.equivalence.verdict_cache import VerdictCache


class Pair(NamedTuple):
    """What `execution_match` needs to know: schema, gold query, raw prediction, and a real database if there is one."""

    schema: str
    gold: str
    predicted: str
    database: str | None = None


def verdicts(pairs: Iterable[Sequence[str | None]], workers: int = 1) -> list[Verdict]:
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


def score_pairs(
    pairs: Sequence[Pair],
    *,
    workers: int = 1,
    effort: int | None = None,
    seed: int = 0,
    timeout: float = 2.0,
    cache: Path | None = None,
) -> Iterator[tuple[int, Verdict]]:
    """Scores pairs, each at most once however often it occurs.

    Args:
        pairs: The pairs; anything with the four fields of `Pair`, in order.
        workers: Processes. The verdicts do not depend on it.
        effort: Databases per pair, see `execution_match`; None for its default.
        seed: Of the databases.
        timeout: Seconds of processor time per pair; the worker is ended then.
        cache: A directory in which verdicts are kept from run to run, see `VerdictCache`; None judges every pair.

    Yields:
        The index of a pair and its verdict, as they are finished.
    """
    for index, verdict, _ in work_on_pairs(
        score, pairs, workers=workers, effort=effort, seed=seed, timeout=timeout, cache=cache
    ):
        yield index, verdict


def work_on_pairs(
    work: Work,
    pairs: Sequence[Pair],
    *,
    workers: int,
    effort: int | None,
    seed: int,
    timeout: float,
    cache: Path | None,
) -> Iterator[tuple[int, Verdict, Task]]:
    """Scores pairs and has the workers find out more about each, so that no other process reads a model's text.

    Args:
        work: Its task has the fields of `Pair`, the options, and ``known``: the verdict where it was kept, else None.
            Its answer has ``verdict``, and may have anything else. A function at the top level of a module.
        pairs: As for `score_pairs`, like the rest.
        workers: See there.
        effort: See there.
        seed: See there.
        timeout: See there.
        cache: See there.

    Yields:
        The index of a pair, its verdict, and the answer; the answer is empty where the worker was lost.
    """
    places: dict[Pair, list[int]] = {}
    for index, pair in enumerate(pairs):
        places.setdefault(Pair(*pair), []).append(index)
    groups = list(places.values())
    tasks: list[Task] = [
        {**pair._asdict(), "effort": effort, "seed": seed, "timeout": timeout, "known": None} for pair in places
    ]
    found = _fresh(work, tasks, workers, timeout) if cache is None else _with_kept(work, tasks, workers, timeout, cache)
    for number, verdict, answer in found:
        for index in groups[number]:
            yield index, verdict, answer


def _fresh(work: Work, tasks: list[Task], workers: int, timeout: float) -> Iterator[tuple[int, Verdict, Task]]:
    for number, reply in run_tasks(work, tasks, workers=workers, seconds=timeout) if tasks else ():
        yield number, *_read(reply)


def _with_kept(
    work: Work, tasks: list[Task], workers: int, timeout: float, directory: Path
) -> Iterator[tuple[int, Verdict, Task]]:
    """Judges the pairs whose verdict is not kept, and keeps it."""
    with closing(VerdictCache(directory)) as kept:
        keys = [kept.key({name: value for name, value in task.items() if name != "known"}) for task in tasks]
        left = []
        for number, key in enumerate(keys):
            verdict = kept.get(key)
            tasks[number]["known"] = verdict.to_dict() if verdict else None
            if verdict is not None and work is score:
                # A kept verdict is all that `score` would answer: no process is needed for it.
                yield number, verdict, {}
            else:
                left.append(number)
        chosen = [tasks[number] for number in left]
        for place, verdict, answer in _fresh(work, chosen, workers, timeout):
            if chosen[place]["known"] is None:
                kept.put(keys[left[place]], verdict)
            yield left[place], verdict, answer


def _read(reply: Task | Lost) -> tuple[Verdict, Task]:
    """The verdict in a worker's answer, and the answer."""
    if isinstance(reply, Lost):
        reason = f"{reply.reason[0].upper()}{reply.reason[1:]}."
        return Verdict("timeout" if reply.kind == "timeout" else "undecided", reason), {}
    return Verdict.from_dict(reply["verdict"]), reply


def score(task: Task) -> Task:
    """What a worker does with a task of `score_pairs`."""
    if task["known"] is not None:
        return {"verdict": task["known"]}
    verdict = judge_pair(
        task["schema"],
        task["gold"],
        task["predicted"],
        task["database"],
        effort=task["effort"] or DEFAULT_EFFORT,
        seed=task["seed"],
        timeout=task["timeout"],
    )
    return {"verdict": verdict.to_dict()}


__all__ = ["Pair", "score", "score_pairs", "verdicts", "work_on_pairs"]
