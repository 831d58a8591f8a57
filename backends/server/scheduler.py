"""Who is next on the device: one queue for each model and each sampler, one thread that empties them fairly.

A model's requests are carried out by their sequence numbers, whatever the order of their arrival. A sampler's are
carried out together, as many as have arrived. Of the users who have work, the one who has had the least of the
device's time is served next, and of that user's models and samplers likewise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backends.server.futures import Failure, Promise, failure

GATHER_SECONDS = 0.004  # a batch of samples is started when none has come for so long
GATHER_AT_MOST = 0.025

log = logging.getLogger("text2sql.server")


class Busy(Exception):
    """The queue is full; try again later."""


@dataclass(slots=True)
class Job:
    """One request that waits for the device.

    Attributes:
        promise: Its answer.
        work: What is to be done: a function for a model, a request for a sampler.
        size: Bytes it holds while it waits.
        weight: Sequences it adds to a batch.
        on_token: Told of each token of a sample.
    """

    promise: Promise
    work: Any
    size: int = 0
    weight: int = 1
    on_token: Callable[[int], None] | None = None
    arrived: float = field(default_factory=time.monotonic)


class Lane:
    """The queue of one model or sampler.

    Args:
        name: Id of the model or sampler.
        owner: Whose it is.
        perform: Carries out what `take` returned and settles the promises.
    """

    def __init__(self, name: str, owner: str, perform: Callable[[list[Job]], None]) -> None:
        self.name = name
        self.owner = owner
        self.perform = perform
        self.served = 0.0  # when it was served last

    def waiting(self) -> list[Job]:
        """Every job that has not been taken."""
        raise NotImplementedError

    def ready(self, now: float) -> bool:
        """Whether there is something to take."""
        raise NotImplementedError

    def take(self) -> list[Job]:
        """The next jobs to carry out together."""
        raise NotImplementedError


class ModelLane(Lane):
    """A model's requests by sequence number; number 0 creates the model, the client's first is 1."""

    def __init__(self, name: str, owner: str, perform: Callable[[list[Job]], None]) -> None:
        super().__init__(name, owner, perform)
        self.next_seq = 0
        self.jobs: dict[int, Job] = {}
        self.moved = time.monotonic()

    def waiting(self) -> list[Job]:
        """Every job that has not been taken."""
        return list(self.jobs.values())

    def ready(self, now: float) -> bool:
        """Whether the next number has arrived."""
        return self.next_seq in self.jobs

    def take(self) -> list[Job]:
        """The job with the next number."""
        job = self.jobs.pop(self.next_seq)
        self.next_seq += 1
        self.moved = time.monotonic()
        return [job]

    def give_up_gap(self, seconds: float) -> list[Job]:
        """Fail what has waited too long for a number that never came, and go on after it; returns what failed."""
        jobs = self.waiting()
        if not jobs or self.next_seq in self.jobs:
            return []
        if time.monotonic() - max(self.moved, min(job.arrived for job in jobs)) < seconds:
            return []
        missing, last = self.next_seq, max(self.jobs)
        for seq, job in sorted(self.jobs.items()):
            job.promise.settle(
                Failure(f"Request {seq} of {self.name} waited {seconds:.0f} s for request {missing}, which never came.")
            )
        self.jobs.clear()
        self.next_seq = last + 1
        return jobs


class SamplerLane(Lane):
    """A sampler's requests in the order of arrival, taken in batches of at most `batch` sequences."""

    def __init__(self, name: str, owner: str, perform: Callable[[list[Job]], None], batch: int) -> None:
        super().__init__(name, owner, perform)
        self.jobs: list[Job] = []
        self.batch = batch

    def waiting(self) -> list[Job]:
        """Every job that has not been taken."""
        return self.jobs

    def ready(self, now: float) -> bool:
        """Whether a batch is full, or no more requests are just coming in."""
        if not self.jobs:
            return False
        full = sum(job.weight for job in self.jobs) >= self.batch
        return full or now - self.jobs[-1].arrived >= GATHER_SECONDS or now - self.jobs[0].arrived >= GATHER_AT_MOST

    def take(self, room: int | None = None) -> list[Job]:
        """As many of the oldest as fit into a batch, at least one; or as fit into the room that is left in one."""
        total = count = 0
        for job in self.jobs:
            total += job.weight
            if total > (self.batch if room is None else room) and (count or room is not None):
                break
            count += 1
        taken, self.jobs = self.jobs[:count], self.jobs[count:]
        return taken


class Scheduler:
    """The lanes, and the thread that serves them."""

    def __init__(self, queued_requests: int, queued_bytes: int) -> None:
        self._limits = queued_requests, queued_bytes
        self._lanes: dict[str, Lane] = {}
        self._queued: Counter[str] = Counter()  # waiting requests by user
        self._queued_bytes = 0
        self._used: Counter[str] = Counter()  # seconds of the device by user
        self._floor = 0.0  # what the user served last had used: nobody catches up on time before that
        self._errands: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="text2sql-scheduler", daemon=True)
        self.busy_seconds = 0.0

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def lane(self, name: str) -> Any:
        """The lane of a model or sampler, or None."""
        return self._lanes.get(name)

    def lanes(self) -> list[Lane]:
        """All lanes."""
        with self._changed:
            return list(self._lanes.values())

    def queued(self) -> int:
        """Requests that wait."""
        return self._queued.total()

    def open(self, lane: Lane) -> Any:
        """Add a lane, unless there is one of its name; returns the one that is there."""
        with self._changed:
            return self._lanes.setdefault(lane.name, lane)

    def shut(self, name: str, answer: Failure) -> None:
        """Remove a lane; what waits in it is answered so."""
        with self._changed:
            lane = self._lanes.pop(name, None)
            jobs = list(lane.waiting()) if lane else []
            self._leave(jobs)
        for job in jobs:
            job.promise.settle(answer)

    def add_ordered(self, lane: ModelLane, seq_id: int, job: Job) -> None:
        """Queue a model's request under its number.

        Raises:
            Busy: The queue is full. The number that is next is always let in: what waits may be waiting for it.
        """
        with self._changed:
            self._enter(job, urgent=seq_id == lane.next_seq)
            lane.jobs[seq_id] = job
            self._changed.notify()

    def add_sample(self, lane: SamplerLane, job: Job) -> None:
        """Queue a sampler's request (Busy if the queue is full)."""
        with self._changed:
            self._enter(job, urgent=False)
            self._lanes.setdefault(lane.name, lane).jobs.append(job)  # type: ignore[attr-defined]  # a SamplerLane
            self._changed.notify()

    def withdraw(self, promise: Promise) -> None:
        """Take a sampler's request out of its queue, if it waits there; a model's keeps its place in the order."""
        with self._changed:
            for lane in self._lanes.values():
                if isinstance(lane, SamplerLane) and lane.owner == promise.owner:
                    gone = [job for job in lane.jobs if job.promise is promise]
                    lane.jobs = [job for job in lane.jobs if job.promise is not promise]
                    self._leave(gone)

    def _enter(self, job: Job, urgent: bool) -> None:
        requests, size = self._limits
        owner = job.promise.owner
        if not urgent and self._queued[owner] >= requests:
            raise Busy(f"{requests} of your requests are waiting already.")
        if not urgent and self._queued_bytes and self._queued_bytes + job.size > size:
            raise Busy(f"{size} bytes of requests are waiting already.")
        if not self._queued[owner]:
            self._used[owner] = max(self._used[owner], self._floor)  # type: ignore[assignment]  # seconds
        self._queued[owner] += 1
        self._queued_bytes += job.size

    def more(self, lane: SamplerLane, room: int) -> list[Job]:
        """Requests that may join the batch of this sampler that is running; none while anything else is ready."""
        with self._changed:
            now = time.monotonic()
            others = any(other.ready(now) for other in self._lanes.values() if other is not lane)
            if others or self._errands or self._closing:
                return []
            jobs = lane.take(room)
            self._leave(jobs)
        return [job for job in jobs if not job.promise.future.done()]

    def _leave(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._queued[job.promise.owner] -= 1
            self._queued_bytes -= job.size

    def errand(self, work: Callable[[], None]) -> None:
        """Have a function called between two jobs, on the thread that serves."""
        with self._changed:
            self._errands.append(work)
            self._changed.notify()

    def give_up_gaps(self, seconds: float) -> None:
        """Let go of requests whose predecessors never came."""
        with self._changed:
            for lane in self._lanes.values():
                if isinstance(lane, ModelLane):
                    self._leave(lane.give_up_gap(seconds))
            self._changed.notify()

    def close(self) -> None:
        """Finish the running job and stop; what waits fails."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        for lane in self.lanes():
            self.shut(lane.name, Failure("The server is shutting down.", "server"))

    def _serve(self) -> None:
        while True:
            with self._changed:
                lane = self._next()
                errands, self._errands = self._errands, []
                jobs = lane.take() if lane else []
                self._leave(jobs)
            if self._closing:
                return
            for errand in errands:
                try:
                    errand()
                except Exception:
                    log.exception("tidying up failed")
            if lane:
                self._carry_out(lane, jobs)

    def _next(self) -> Lane | None:
        """Wait for something to do; None if it is errands, or to stop."""
        while not (self._closing or self._errands):
            if lane := self._choose():
                return lane
            gathering = any(lane.waiting() for lane in self._lanes.values() if isinstance(lane, SamplerLane))
            self._changed.wait(GATHER_SECONDS / 2 if gathering else None)
        return None

    def _choose(self) -> Lane | None:
        now = time.monotonic()
        ready = [lane for lane in self._lanes.values() if lane.ready(now)]
        return min(ready, key=lambda lane: (self._used[lane.owner], lane.served), default=None)

    def _carry_out(self, lane: Lane, jobs: list[Job]) -> None:
        start = time.monotonic()
        wanted = [job for job in jobs if not job.promise.future.done()]  # less what has been cancelled
        try:
            if wanted:
                lane.perform(wanted)
        except Exception as error:
            for job in wanted:
                job.promise.settle(failure(error))
        lane.served = time.monotonic()
        seconds = lane.served - start
        with self._changed:
            self._floor = max(self._floor, self._used[lane.owner])
            self._used[lane.owner] += seconds  # type: ignore[assignment]  # seconds, not a count
            if isinstance(lane, SamplerLane) and not lane.jobs:  # it comes back with its next request
                self._lanes.pop(lane.name, None)
            self.busy_seconds += seconds
