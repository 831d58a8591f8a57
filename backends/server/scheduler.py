"""Who is next on the device: one queue for each model and each sampler, one thread that empties them fairly.

A model's requests are carried out by their sequence numbers, whatever the order of their arrival. A sampler's are
carried out together, as many as have arrived. Of the users who have work, the one who has had the least of the
device's time has the next turn, and of that user's models and samplers the one that was served longest ago. A turn ends
between two tokens or micro-batches: after `TURN_SECONDS` if another user has had less, so that a short request waits
for about that long for each user who competes with it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from backends.server.futures import Failure, PendingRequest, failure
from backends.server.log import log
from backends.server.queues import GATHER_SECONDS, Job, ModelQueue, RequestQueue, SamplerQueue

TURN_SECONDS = 0.5
# What else the same user has waits longer: to go from one set of weights to another takes time.
OWN_TURN_SECONDS = 2.0
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
        # Whose turn it is, and since when.
        self._served: RequestQueue | None = None
        self._served_since = 0.0
        # What turns are measured by, in seconds.
        self.clock: Callable[[], float] = time.monotonic
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
        """Remove a queue; what waits in it gets this answer, and so does what is under way.

        A model's request that has the device at this moment is first carried out to the end of its turn.
        """
        with self._changed:
            queue = self._queues.pop(name, None)
            if queue is None:
                return
            jobs = queue.drain()
            self._leave(jobs)
            queue.closed_with = answer
            served = queue is self._served
            if not served or isinstance(queue, SamplerQueue):
                jobs += queue.taken
            if not served and queue.turns is not None:
                self.add_task(queue.turns.close)
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
        """Requests that may join the running batch of this sampler; none while another sampler of its user waits.

        Args:
            queue: The sampler's queue.
            sequences: How many more the batch takes.
        """
        with self._changed:
            others = (other for other in self._queues.values() if other.owner == queue.owner and other is not queue)
            waiting = any(isinstance(other, SamplerQueue) and other.jobs for other in others)
            if waiting or self.closing or not queue.jobs:
                return []
            jobs = queue.take_fitting(sequences)
            self._leave(jobs)
            # A batch that is joined all the time may never end.
            queue.taken = [*_unanswered(queue.taken), *jobs]
        return _unanswered(jobs)

    def turn_is_over(self) -> bool:
        """Whether what has the device must leave it: another user has had less of it, or something else must be done.

        Asked between two tokens or micro-batches, on the device's thread.
        """
        with self._changed:
            served = self._served
            if self._tasks or self.closing or served is None:
                return True
            seconds = self.clock() - self._served_since
            if seconds < TURN_SECONDS:
                return False
            ready = {other.owner for other in self._ready() if other is not served}
            if served.owner in ready and seconds >= OWN_TURN_SECONDS:
                return True
            had = self._used_seconds[served.owner] + seconds
            return any(self._used_seconds[owner] < had for owner in ready - {served.owner})

    def add_task(self, task: Callable[[], None]) -> None:
        """Have a function called between two turns, on the thread that serves."""
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

    def give_up(self) -> None:
        """After `stop`: answer what is under way with `GOING_DOWN` too."""
        with self._changed:
            jobs = self._served.taken if self._served else []
        for job in jobs:
            job.pending.settle(GOING_DOWN)

    def is_alive(self) -> bool:
        """Whether the thread that serves has begun, and has not ended."""
        return self._thread.is_alive()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the running turn, at most this long."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _serve(self) -> None:
        while True:
            with self._changed:
                queue = self._next()
                tasks, self._tasks = self._tasks, []
                if queue and queue.turns is None:
                    queue.taken = queue.take()
                    self._leave(queue.taken)
                self._served, self._served_since = queue, self.clock()
            if self.closing:
                return
            for task in tasks:
                try:
                    task()
                except Exception:
                    log.exception("a task between two turns failed")
            if queue:
                self._serve_turn(queue)

    def _next(self) -> RequestQueue | None:
        """Wait for something to do; None if that is tasks, or to stop."""
        while not (self.closing or self._tasks):
            if queue := self._choose():
                return queue
            gathering = any(queue.waiting() for queue in self._queues.values() if isinstance(queue, SamplerQueue))
            self._changed.wait(GATHER_SECONDS / 2 if gathering else None)
        return None

    def _choose(self) -> RequestQueue | None:
        return min(self._ready(), key=lambda queue: (self._used_seconds[queue.owner], queue.last_served), default=None)

    def _ready(self) -> list[RequestQueue]:
        """The queues that may have a turn: of a user no more than one batch and one call of a model is under way.

        Each holds memory until it is finished; and to go from one set of weights to another takes time.
        """
        now = time.monotonic()
        under_way = {(queue.owner, type(queue)) for queue in self._queues.values() if queue.turns is not None}
        return [
            queue
            for queue in self._queues.values()
            if queue.turns is not None or ((queue.owner, type(queue)) not in under_way and queue.has_next(now))
        ]

    def _serve_turn(self, queue: RequestQueue) -> None:
        finished = False
        try:
            if queue.turns is None:
                queue.turns = queue.perform(_unanswered(queue.taken))
            next(queue.turns)
        except StopIteration:
            finished = True
        except Exception as error:
            finished = True
            for job in queue.taken:
                job.pending.settle(failure(error))
        with self._changed:
            queue.last_served = time.monotonic()
            seconds = self.clock() - self._served_since
            self._floor = max(self._floor, self._used_seconds[queue.owner])
            self._used_seconds[queue.owner] += seconds
            self.busy_seconds += seconds
            self._served = None
            if not finished and queue.closed_with is None:
                return
            turns, jobs = queue.turns, queue.taken
            queue.turns, queue.taken = None, []
            if isinstance(queue, SamplerQueue) and not queue.jobs and self._queues.get(queue.name) is queue:
                del self._queues[queue.name]
        if turns is not None and queue.closed_with is not None:
            turns.close()
            for job in jobs:
                job.pending.settle(queue.closed_with)


def _unanswered(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if not job.pending.future.done()]
