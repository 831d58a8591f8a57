"""Scores many pairs in worker processes that can be killed from outside; see `pool`.

Because a pair's verdict depends on its arguments alone, the number of workers changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.equivalence.process_pool import Lost, run_tasks
from text2sql.equivalence.verdict import Verdict

_COMMAND = "from text2sql.equivalence import process_pool, workers; process_pool.serve(workers.score)"


class Pair(NamedTuple):
    """What `execution_match` needs to know: schema, gold query, raw prediction, and a real database if there is one."""

    schema: str
    gold: str
    predicted: str
    database: str | None = None


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
        timeout: Seconds per pair within the worker; the worker is killed some seconds later.
        cache: A directory in which verdicts are kept from run to run, see `kept`; None judges every pair.

    Yields:
        The index of a pair and its verdict, as they are finished.
    """
    places: dict[Pair, list[int]] = {}
    for index, pair in enumerate(pairs):
        places.setdefault(Pair(*pair), []).append(index)
    options = {"effort": effort, "seed": seed, "timeout": timeout}
    tasks = [{**pair._asdict(), **options} for pair in places]
    groups = list(places.values())
    judged = _judge(tasks, workers, timeout) if cache is None else _judge_new(tasks, workers, timeout, cache)
    for task, verdict in judged:
        for index in groups[task]:
            yield index, verdict


def _judge(tasks: list[dict[str, Any]], workers: int, timeout: float) -> Iterator[tuple[int, Verdict]]:
    for task, answer in run_tasks(_COMMAND, tasks, workers=workers, seconds=timeout) if tasks else ():
        yield task, _lost(answer) if isinstance(answer, Lost) else Verdict.from_dict(answer)


def _judge_new(
    tasks: list[dict[str, Any]], workers: int, timeout: float, directory: Path
) -> Iterator[tuple[int, Verdict]]:
    """Judges the pairs that are not kept, and keeps them."""
    from text2sql.equivalence.verdict_cache import VerdictCache

    kept = VerdictCache(directory)
    try:
        keys = [kept.key(task) for task in tasks]
        found = [(number, kept.get(key)) for number, key in enumerate(keys)]
        yield from ((number, verdict) for number, verdict in found if verdict is not None)
        new = [number for number, verdict in found if verdict is None]
        for place, verdict in _judge([tasks[number] for number in new], workers, timeout):
            kept.put(keys[new[place]], verdict)
            yield new[place], verdict
    finally:
        kept.close()


def _lost(lost: Lost) -> Verdict:
    return Verdict("timeout" if lost.kind == "timeout" else "undecided", f"{lost.reason[0].upper()}{lost.reason[1:]}.")


def score(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker does with a task of `score_pairs`."""
    from text2sql.equivalence.match import DEFAULT_EFFORT, execution_match

    return execution_match(
        task["schema"],
        task["gold"],
        task["predicted"],
        task["database"],
        effort=task["effort"] or DEFAULT_EFFORT,
        seed=task["seed"],
        timeout=task["timeout"],
    ).to_dict()


__all__ = ["Pair", "score", "score_pairs"]
