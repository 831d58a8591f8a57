"""Carrying out a sampler's requests: decoded together, joined by later ones, each failing or succeeding by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue

from tinker import types

from backends.local.decode.batcher import SampleCall
from backends.local.sampling import LocalSamplingClient
from backends.server import wire
from backends.server.errors import ApiError
from backends.server.futures import Failure, Result
from backends.server.metrics import Metrics
from backends.server.queues import Job, SamplerQueue, Turns
from backends.server.residency import Residency
from backends.server.sample_calls import sample_call
from backends.server.scheduler import Scheduler

# Gives base model and checkpoint (None for the bare model) when a batch is about to run.
Weights = Callable[[], tuple[str, str | None]]
# What has been decoded, as soon as it has; None at the end of a turn.
Answers = SimpleQueue[tuple[Job, Future[types.SampleResponse]] | None]


class SampleBatches:
    """Carries out the batches that the scheduler takes from the queues of samplers, on the scheduler's thread."""

    def __init__(self, residency: Residency, scheduler: Scheduler, metrics: Metrics) -> None:
        self._residency = residency
        self._scheduler = scheduler
        self._metrics = metrics

    def run(self, weights: Weights, queue: SamplerQueue, jobs: list[Job]) -> Turns:
        """Carry out a batch, in turns; later requests of the same queue may join it."""
        if not jobs:
            return
        answers: Answers = SimpleQueue()
        try:
            wanted = weights()
            sampler = self._residency.sampler(*wanted)
            first = self._calls(sampler, jobs, answers)

            def arrivals(room: int) -> list[SampleCall]:
                # A sampler that follows its model may have got other weights, which the next batch has.
                if not queue.jobs or not _are(weights, wanted):
                    return []
                return self._calls(sampler, self._scheduler.take_joining(queue, room), answers)

            # What others asked for before shows neither in the time nor in the rounding of this batch.
            batch = sampler.sampling_job(first, arrivals, self._residency.new_prefixes())
            finished = not first
            while not finished:
                turn = batch.run_slice(self._scheduler.turn_is_over).future()
                turn.add_done_callback(lambda _: answers.put(None))
                # Written for the client on this thread while the device goes on.
                while (answer := answers.get()) is not None:
                    self._settle(*answer)
                finished = turn.result()
                if not finished:
                    yield
        except Exception as error:
            for job in queue.taken:
                if not job.pending.future.done():
                    job.pending.settle(self._metrics.failed(job.pending, error))

    def _calls(self, sampler: LocalSamplingClient, jobs: Iterable[Job], answers: Answers) -> list[SampleCall]:
        """What the requests ask of the sampler; one that asks for what there is not is answered with that."""
        calls = []
        for job in jobs:
            try:
                calls.append(_call(sampler, job, answers))
            except Exception as error:
                job.pending.settle(self._metrics.failed(job.pending, error))
        return calls

    def _settle(self, job: Job, future: Future[types.SampleResponse]) -> None:
        if future.cancelled():
            return
        try:
            response = future.result()
            self._metrics.sampled(response, job.work.prompt.length)
            answer: Result | Failure = Result(wire.sample_body(response), wire.PROTOBUF)
        except Exception as error:
            answer = self._metrics.failed(job.pending, error)
        job.pending.settle(answer)


def _are(weights: Weights, wanted: tuple[str, str | None]) -> bool:
    """Whether a sampler's weights are still these; not if they have been deleted."""
    try:
        return weights() == wanted
    except (ValueError, ApiError):
        return False


def _call(sampler: LocalSamplingClient, job: Job, answers: Answers) -> SampleCall:
    """A request as a call of the sampler. It ends when the request is settled, before its next token."""
    call = sample_call(sampler, job.work, job.on_token)
    call.future.add_done_callback(lambda done: answers.put((job, done)))
    job.pending.future.add_done_callback(lambda _: call.future.cancel())
    return call
