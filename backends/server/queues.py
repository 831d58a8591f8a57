"""What waits for the device: the requests of one model in the order of their numbers, those of one sampler together."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from backends.local.resumable import Resumable
from backends.server.futures import Failure, PendingRequest, Result

# A batch of samples is started when no request has come for `GATHER_SECONDS`, or the first has waited for
# `GATHER_AT_MOST_SECONDS`.
GATHER_SECONDS = 0.004
GATHER_AT_MOST_SECONDS = 0.025

# Carries out what was taken from a queue and settles it; yields where other queues may have their turn.
Turns = Generator[None, None, None]
# A model's request: gives its answer at once, or in turns.
Work = Callable[[], Result | Resumable[Result]]


def carry_out(work: Work) -> Resumable[Result]:
    """A model's request, in as many turns as it takes."""
    answer = work()
    return answer if isinstance(answer, Result) else (yield from answer)


@dataclass(slots=True)
class Job:
    """One request that waits for the device.

    Attributes:
        pending: Where its answer goes.
        work: What is to be done: a function for a model, a request for a sampler.
        size: Bytes it holds while it waits.
        weight: Sequences it adds to a batch.
        on_token: Called with each token of a sample.
        arrived: When it came, in this process's clock.
    """

    pending: PendingRequest
    work: Any
    size: int = 0
    weight: int = 1
    on_token: Callable[[int], None] | None = None
    arrived: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A `forward_backward` that failed: the SDK may have sent it as one part of a larger call.

    Attributes:
        seq_id: Its number.
        message: Why it failed.
        pending: Its answer. Whatever arrived before that was fetched was sent by a client that did not know of it.
    """

    seq_id: int
    message: str
    pending: PendingRequest

    def was_unknown(self, arrived: float) -> bool:
        """Whether a request that arrived then (in this process's clock) was sent without knowing of the failure."""
        return self.pending.fetched_at is None or arrived <= self.pending.fetched_at


class RequestQueue:
    """The queue of one model or sampler.

    Args:
        name: Id of the model or sampler.
        owner: Whose it is.
        perform: Carries out what `take` returned and settles it, in turns.

    Attributes:
        turns: What is being carried out, if that has begun and is not finished.
        taken: The jobs that it carries out.
        last_served: When its last turn ended, in this process's clock.
        closed_with: What its requests were answered with when it was closed, if it was.
    """

    def __init__(self, name: str, owner: str, perform: Callable[[list[Job]], Turns]) -> None:
        self.name = name
        self.owner = owner
        self.perform = perform
        self.turns: Turns | None = None
        self.taken: list[Job] = []
        self.last_served = 0.0
        self.closed_with: Failure | None = None

    def waiting(self) -> list[Job]:
        """Every job that has not been taken."""
        raise NotImplementedError

    def has_next(self, now: float) -> bool:
        """Whether there is something to take."""
        raise NotImplementedError

    def take(self) -> list[Job]:
        """The next jobs to carry out together."""
        raise NotImplementedError

    def drain(self) -> list[Job]:
        """Remove every job; returns them."""
        raise NotImplementedError


class ModelQueue(RequestQueue):
    """A model's requests by sequence number; number 0 creates the model, the client's first is 1."""

    def __init__(self, name: str, owner: str, perform: Callable[[list[Job]], Turns]) -> None:
        super().__init__(name, owner, perform)
        self.next_seq = 0
        self.jobs: dict[int, Job] = {}
        # Whether the model could not be created: then it takes no memory, and its requests fail.
        self.failed = False
        # Why no gradient is taken until the next optimiser step, if one is not.
        self.failed_part: FailedPart | None = None
        self._last_taken = time.monotonic()

    def waiting(self) -> list[Job]:
        """Every job that has not been taken."""
        return list(self.jobs.values())

    def has_next(self, now: float) -> bool:
        """Whether the next number has arrived."""
        return self.next_seq in self.jobs

    def take(self) -> list[Job]:
        """The job with the next number."""
        job = self.jobs.pop(self.next_seq)
        self.next_seq += 1
        self._last_taken = time.monotonic()
        return [job]

    def drain(self) -> list[Job]:
        """Remove every job; returns them."""
        jobs, self.jobs = self.waiting(), {}
        return jobs

    def give_up_gap(self, seconds: float) -> list[Job]:
        """Fail what has waited this long for a number that never came, and go on after it; returns what failed."""
        jobs = self.waiting()
        if not jobs or self.next_seq in self.jobs:
            return []
        if time.monotonic() - max(self._last_taken, min(job.arrived for job in jobs)) < seconds:
            return []
        missing, last = self.next_seq, max(self.jobs)
        for seq, job in sorted(self.jobs.items()):
            job.pending.settle(
                Failure(f"Request {seq} of {self.name} waited {seconds:.0f} s for request {missing}, which never came.")
            )
        self.next_seq = last + 1
        return self.drain()


class SamplerQueue(RequestQueue):
    """A sampler's requests in the order of arrival, taken in batches of at most `batch` sequences."""

    def __init__(self, name: str, owner: str, perform: Callable[[list[Job]], Turns], batch: int) -> None:
        super().__init__(name, owner, perform)
        self.jobs: list[Job] = []
        self.batch = batch

    def waiting(self) -> list[Job]:
        """Every job that has not been taken."""
        return self.jobs

    def has_next(self, now: float) -> bool:
        """Whether a batch is full, or no more requests are just coming in."""
        if not self.jobs:
            return False
        full = sum(job.weight for job in self.jobs) >= self.batch
        since_last, since_first = now - self.jobs[-1].arrived, now - self.jobs[0].arrived
        return full or since_last >= GATHER_SECONDS or since_first >= GATHER_AT_MOST_SECONDS

    def take(self) -> list[Job]:
        """As many of the oldest as fit into a batch, at least one."""
        return self.take_fitting(self.batch) or self._take_first(1)

    def take_fitting(self, sequences: int) -> list[Job]:
        """As many of the oldest as fit into what is left of a running batch."""
        count = total = 0
        for job in self.jobs:
            total += job.weight
            if total > sequences:
                break
            count += 1
        return self._take_first(count)

    def _take_first(self, count: int) -> list[Job]:
        taken, self.jobs = self.jobs[:count], self.jobs[count:]
        return taken

    def drain(self) -> list[Job]:
        """Remove every job; returns them."""
        return self._take_first(len(self.jobs))

    def withdraw(self, pending: PendingRequest) -> list[Job]:
        """Remove a request; returns what was removed."""
        withdrawn = [job for job in self.jobs if job.pending is pending]
        self.jobs = [job for job in self.jobs if job.pending is not pending]
        return withdrawn
