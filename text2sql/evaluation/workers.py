"""Scores many pairs in worker processes that can be killed from outside.

Every worker is a Python process of its own that reads one pair per line from its standard input and writes one verdict
per line. A pair that does not come back in time costs its worker, not the run: the worker is killed, another is
started, and the pair gets a verdict that says so. Because a pair's verdict depends on its arguments alone, the number
of workers changes nothing but the time.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from text2sql.evaluation.verdict import Verdict

_GRACE = 5.0  # seconds beyond the pair's own budget before its worker is killed
_START = 60.0  # seconds for a worker's first answer: it has to import first
_MEMORY = 4 * 2**30  # bytes of address space per worker, where the system can limit it
_ATTEMPTS = 2
_COMMAND = "from text2sql.evaluation.workers import serve; serve()"


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
) -> Iterator[tuple[int, Verdict]]:
    """Scores pairs, each at most once however often it occurs.

    Args:
        pairs: The pairs; anything with the four fields of `Pair`, in order.
        workers: Processes. The verdicts do not depend on it.
        effort: Databases per pair, see `execution_match`; None for its default.
        seed: Of the databases.
        timeout: Seconds per pair within the worker; the worker is killed some seconds later.

    Yields:
        The index of a pair and its verdict, as they are finished.
    """
    places: dict[Pair, list[int]] = {}
    for index, pair in enumerate(pairs):
        places.setdefault(Pair(*pair), []).append(index)
    options = {"effort": effort, "seed": seed, "timeout": timeout}
    tasks: queue.SimpleQueue[Pair] = queue.SimpleQueue()
    for pair in places:
        tasks.put(pair)
    done: queue.SimpleQueue[tuple[Pair, Verdict] | None] = queue.SimpleQueue()
    stop = threading.Event()
    crew = [_Keeper(tasks, done, stop, options) for _ in range(max(1, min(workers, len(places))))] if places else []
    for keeper in crew:
        keeper.start()
    try:
        running = len(crew)
        while running:
            answer = done.get()
            if answer is None:
                running -= 1
                continue
            for index in places[answer[0]]:
                yield index, answer[1]
    finally:
        stop.set()
        for keeper in crew:
            keeper.end()


class _Keeper(threading.Thread):
    """Feeds one worker process, watches the clock, and replaces the worker when it dies."""

    def __init__(
        self,
        tasks: queue.SimpleQueue[Pair],
        done: queue.SimpleQueue[tuple[Pair, Verdict] | None],
        stop: threading.Event,
        options: dict[str, Any],
    ) -> None:
        super().__init__(daemon=True)
        self._tasks, self._done, self._stop_event, self._options = tasks, done, stop, options
        self._worker: subprocess.Popen[str] | None = None
        self._fresh = True
        self._overdue = False

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                try:
                    pair = self._tasks.get_nowait()
                except queue.Empty:
                    break
                self._done.put((pair, self._score(pair)))
        finally:
            self.end()
            self._done.put(None)

    def end(self) -> None:
        """Kills the worker; safe from any thread."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()

    def _score(self, pair: Pair) -> Verdict:
        reason = ""
        for _ in range(_ATTEMPTS):
            answer = self._ask(pair)
            if answer is not None:
                return Verdict.from_dict(answer)
            if self._stop_event.is_set():
                return Verdict("undecided", "Scoring was stopped.")
            if self._overdue:
                return Verdict("timeout", "The worker did not answer within the time limit and was killed.")
            reason = self._epitaph
        return Verdict("undecided", f"The evaluator's worker died on this pair ({reason}).")

    def _ask(self, pair: Pair) -> dict[str, Any] | None:
        """Sends a pair to the worker; None if the worker died or had to be killed."""
        try:
            worker = self._worker or self._start_worker()
        except OSError as error:
            self._epitaph, self._overdue = f"it cannot be started: {error}", False
            return None
        self._overdue = False
        limit = self._options["timeout"] + (_START if self._fresh else _GRACE)
        watchdog = threading.Timer(limit, self._kill, (worker,))
        watchdog.start()
        try:
            assert worker.stdin and worker.stdout
            worker.stdin.write(json.dumps({**pair._asdict(), **self._options}) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            watchdog.cancel()
        if line.endswith("\n"):
            self._fresh = False
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.end()
        self._epitaph = f"exit status {worker.returncode}"
        return None

    def _kill(self, worker: subprocess.Popen[str]) -> None:
        self._overdue = True
        worker.kill()

    def _start_worker(self) -> subprocess.Popen[str]:
        # The worker must find this very package, however the parent found it.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._worker = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._fresh = True
        return self._worker


def serve() -> None:
    """The worker's loop: one request per line in, one verdict per line out, until the input ends."""
    from text2sql.evaluation.match import DEFAULT_EFFORT, execution_match

    _limit_memory()
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        verdict = execution_match(
            request["schema"],
            request["gold"],
            request["predicted"],
            request["database"],
            effort=request["effort"] or DEFAULT_EFFORT,
            seed=request["seed"],
            timeout=request["timeout"],
        )
        answers.write(json.dumps(verdict.to_dict()) + "\n")
        answers.flush()


def _limit_memory() -> None:
    """Caps the worker's memory where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


__all__ = ["Pair", "score_pairs", "serve"]
