"""Who is next on the device: one queue for each model and each sampler, one thread that empties them fairly.

A model's requests are carried out by their sequence numbers, whatever the order of their arrival. A sampler's are
carried out together, as many as have arrived. Of the users who have work, the one who has had the least of the
device's time is served next, and of that user's models and samplers the one that was served longest ago.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from backends.server.futures import Failure, PendingRequest, failure
from backends.server.log import log
from backends.server.queues import GATHER_SECONDS, Job, ModelQueue, RequestQueue, SamplerQueue

GOING_DOWN = Failure("The server is going down; try again when it is back.", "server")


class Busy(Exception):
    """The queue is full; try again later."""


class Closed(Exception):
    """The queue has been closed: its model has left the memory."""


class Scheduler:
    """The queues, and the thread that serves them.

    Args:
        queued_requests: How many requests of one user may wait.
        queued_bytes: How many bytes of requests of all users may wait.
        queued_bytes_per_user: How many bytes of requests of one user may wait.
    """

    def __init__(self, queued_requests: int, queued_bytes: int, queued_bytes_per_user: int) -> None:
        self._most_requests = queued_requests
        self._most_bytes = queued_bytes
        self._most_bytes_per_user = queued_bytes_per_user
        self._queues: dict[str, RequestQueue] = {}
        # By user.
        self._waiting_requests: Counter[str] = Counter()
        self._waiting_bytes: Counter[str] = Counter()
        # Seconds of the device, by user.
        self._used_seconds: defaultdict[str, float] = defaultdict(float)
        # What the user served last had used: nobody catches up on time before they had work.
        self._floor = 0.0
        self._tasks: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=self._serve, name="text2sql-scheduler", daemon=True)
        self.busy_seconds = 0.0

    def problem(self) -> str | None:
        """Why no request can be carried out, or None."""
        if self.closing:
            return "The server is going down."
        return None if self._thread.is_alive() else "The thread that carries requests out has ended; see the log."

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def model_queue(self, name: str) -> ModelQueue | None:
        """The queue of a model, or None."""
        queue = self._queues.get(name)
        return queue if isinstance(queue, ModelQueue) else None

    def sampler_queue(self, name: str) -> SamplerQueue | None:
        """The queue of a sampler, or None."""
        queue = self._queues.get(name)
        return queue if isinstance(queue, SamplerQueue) else None

    def queues(self) -> list[RequestQueue]:
        """All queues."""
        with self._changed:
            return list(self._queues.values())

    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting_requests.total()

    def open_model_queue(self, queue: ModelQueue) -> ModelQueue:
        """Add a model's queue, unless it has one; returns the one that it has."""
        with self._changed:
            known = self._queues.setdefault(queue.name, queue)
        assert isinstance(known, ModelQueue)
        return known

    def close_queue(self, name: str, answer: Failure) -> None:
        """Remove a queue; what waits in it gets this answer."""
        with self._changed:
            queue = self._queues.pop(name, None)
            jobs = queue.drain() if queue else []
            self._leave(jobs)
        for job in jobs:
            job.pending.settle(answer)

    def add_ordered(self, queue: ModelQueue, seq_id: int, job: Job) -> None:
        """Queue a model's request under its number.

        Raises:
            Busy: The queue is full. The number that is next is always accepted: what waits may be waiting for it.
            Closed: The queue was closed after the caller got it.
        """
        with self._changed:
            if self._queues.get(queue.name) is not queue:
                raise Closed
            self._enter(job, urgent=seq_id == queue.next_seq)
            queue.jobs[seq_id] = job
            self._changed.notify()

    def add_sample(self, queue: SamplerQueue, job: Job) -> None:
        """Queue a sampler's request (Busy if the queue is full). A sampler's queue is there while it has requests."""
        with self._changed:
            self._enter(job, urgent=False)
            current = self._queues.setdefault(queue.name, queue)
            assert isinstance(current, SamplerQueue)
            current.jobs.append(job)
            self._changed.notify()

    def withdraw(self, pending: PendingRequest) -> None:
        """Take a sampler's request out of its queue, if it waits there; a model's keeps its place in the order."""
        with self._changed:
            for queue in self._queues.values():
                if isinstance(queue, SamplerQueue) and queue.owner == pending.owner:
                    self._leave(queue.withdraw(pending))

    def _enter(self, job: Job, urgent: bool) -> None:
        owner = job.pending.owner
        if self.closing:
            raise Busy("it is going down.")
        if not urgent and self._waiting_requests[owner] >= self._most_requests:
            raise Busy(f"{self._most_requests} of your requests are waiting already.")
        in_all, mine = self._waiting_bytes.total(), self._waiting_bytes[owner]
        if not urgent and in_all and in_all + job.size > self._most_bytes:
            raise Busy(f"{self._most_bytes} bytes of requests are waiting already.")
        if not urgent and mine and mine + job.size > self._most_bytes_per_user:
            raise Busy(f"{self._most_bytes_per_user} bytes of your requests are waiting already.")
        if not self._waiting_requests[owner]:
            self._used_seconds[owner] = max(self._used_seconds[owner], self._floor)
        self._waiting_requests[owner] += 1
        self._waiting_bytes[owner] += job.size

    def _leave(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._waiting_requests[job.pending.owner] -= 1
            self._waiting_bytes[job.pending.owner] -= job.size

    def take_joining(self, queue: SamplerQueue, sequences: int) -> list[Job]:
        """Requests that may join the running batch of this sampler; none while anything else is ready.

        Args:
            queue: The sampler's queue.
            sequences: How many more the batch takes.
        """
        with self._changed:
            now = time.monotonic()
            others = any(other.ready(now) for other in self._queues.values() if other is not queue)
            if others or self._tasks or self.closing:
                return []
            jobs = queue.take_fitting(sequences)
            self._leave(jobs)
        return _not_cancelled(jobs)

    def add_task(self, task: Callable[[], None]) -> None:
        """Have a function called between two requests, on the thread that serves."""
        with self._changed:
            self._tasks.append(task)
            self._changed.notify()

    def give_up_gaps(self, seconds: float) -> None:
        """Fail requests that have waited this long for one that must come before them."""
        with self._changed:
            for queue in self._queues.values():
                if isinstance(queue, ModelQueue):
                    self._leave(queue.give_up_gap(seconds))
            self._changed.notify()

    def stop(self) -> None:
        """Begin nothing else; what waits is answered with `GOING_DOWN`. Returns at once."""
        with self._changed:
            self.closing = True
            self._changed.notify()
        for queue in self.queues():
            self.close_queue(queue.name, GOING_DOWN)

    def join(self, seconds: float | None = None) -> None:
        """Wait for the running request, at most this long."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _serve(self) -> None:
        while True:
            with self._changed:
                queue = self._next()
                tasks, self._tasks = self._tasks, []
                jobs = queue.take() if queue else []
                self._leave(jobs)
            if self.closing:
                return
            for task in tasks:
                try:
                    task()
                except Exception:
                    log.exception("a task between two requests failed")
            if queue:
                self._carry_out(queue, jobs)

    def _next(self) -> RequestQueue | None:
        """Wait for something to do; None if that is tasks, or to stop."""
        while not (self.closing or self._tasks):
            if queue := self._choose():
                return queue
            gathering = any(queue.waiting() for queue in self._queues.values() if isinstance(queue, SamplerQueue))
            self._changed.wait(GATHER_SECONDS / 2 if gathering else None)
        return None

    def _choose(self) -> RequestQueue | None:
        now = time.monotonic()
        ready = [queue for queue in self._queues.values() if queue.ready(now)]
        return min(ready, key=lambda queue: (self._used_seconds[queue.owner], queue.last_served), default=None)

    def _carry_out(self, queue: RequestQueue, jobs: list[Job]) -> None:
        start = time.monotonic()
        wanted = _not_cancelled(jobs)
        try:
            if wanted:
                queue.perform(wanted)
        except Exception as error:
            for job in wanted:
                job.pending.settle(failure(error))
        queue.last_served = time.monotonic()
        seconds = queue.last_served - start
        with self._changed:
            self._floor = max(self._floor, self._used_seconds[queue.owner])
            self._used_seconds[queue.owner] += seconds
            self.busy_seconds += seconds
            if isinstance(queue, SamplerQueue) and not queue.jobs:
                self._queues.pop(queue.name, None)


def _not_cancelled(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if not job.pending.future.done()]
