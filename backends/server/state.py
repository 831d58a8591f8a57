"""The state behind the routes: sessions, models and samplers, and how their requests reach the device."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from tinker import types
from tinker.types.shared.untyped_api_future import UntypedAPIFuture

from backends.interface import BackendError
from backends.server.arriving import ArrivingBytes
from backends.server.auth import Keys
from backends.server.checkpoint_registry import Checkpoints
from backends.server.database import Database, make_private_directory
from backends.server.errors import ApiError, check_number
from backends.server.futures import Failure, FutureStore, PendingRequest, Result
from backends.server.metrics import Metrics
from backends.server.queues import Job, ModelQueue, SamplerQueue, Turns, Work, carry_out
from backends.server.residency import Residency
from backends.server.sample_batches import SampleBatches, Weights
from backends.server.sample_calls import check_request
from backends.server.sampler_registry import Samplers
from backends.server.scheduler import Closed, Scheduler
from backends.server.settings import ServerSettings
from backends.server.tables import ModelSpec, Sampler, Session, TrainingRun

T = TypeVar("T")

SESSION_OVER = "The session {} is over (finished, idle for too long, or unknown here); make a new ServiceClient."


class ServerState:
    """One server; the routes are thin layers over its methods."""

    def __init__(self, settings: ServerSettings) -> None:
        make_private_directory(settings.data)
        self.settings = settings
        self.limits = settings.limits
        self.keys = Keys(settings.keys)
        self.database = Database(settings.data / "server.sqlite")
        self.futures = FutureStore(
            self.limits.result_seconds, self.limits.fetched_result_seconds, self.limits.result_bytes
        )
        self.scheduler = Scheduler(
            self.limits.queued_requests, self.limits.queued_bytes, self.limits.queued_bytes_per_user
        )
        self.residency = Residency(settings)
        self.checkpoints = Checkpoints(self.database, self.residency, self.scheduler, self.limits.free_disk_bytes)
        try:
            self.checkpoints.check_directory(may_be_empty=settings.server.without_checkpoints)
        except BackendError:
            self.database.close()
            raise
        self.samplers = Samplers(self.database, self.checkpoints, self.limits.snapshots_per_session)
        self.metrics = Metrics(self.residency, self.scheduler)
        self._batches = SampleBatches(self.residency, self.scheduler, self.metrics)
        self.closing = asyncio.Event()
        # Whether the process is about to end: then nothing waits for the device.
        self.hurried = False
        self.arriving = ArrivingBytes(self.limits.queued_bytes, self.limits.queued_bytes_per_user)
        # Of each user, held while a large body is parsed.
        self.parsing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Held while a checkpoint is copied.
        self.copying = asyncio.Lock()
        self.secret = self.database.secret()
        # Carries out what writes to the database, one after the other: the disk may be slow, and the event loop is not.
        self._recorder = ThreadPoolExecutor(1, "text2sql-recorder")
        # When each session was last heard of, in this process's clock.
        self._last_seen: dict[str, float] = {}
        # Training runs used since `flush_last_seen`.
        self._used_runs: set[str] = set()

    def load(self) -> None:
        """Load the models (BackendError if one cannot be loaded)."""
        self.residency.load()

    def start(self) -> None:
        """Start to serve."""
        self.scheduler.start()

    def stop(self) -> None:
        """Have the running request end between two tokens or micro-batches; it and what waits hear of it."""
        self.scheduler.stop()
        self.residency.stop()

    def close(self) -> None:
        """Stop, and release everything; not what a device is at work with if the process is about to end."""
        self.stop()
        self.scheduler.join(0.0 if self.hurried else None)
        self._recorder.shutdown()
        self.flush_last_seen()
        if not self.scheduler.is_alive():
            self.residency.close()
        self.database.close()

    async def recorded(self, call: Callable[..., T], *arguments: Any) -> T:
        """What a method that writes to the database returns; it waits for those before it, on another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._recorder, call, *arguments)

    # Sessions

    def open_session(self, owner: str, request: types.CreateSessionRequest) -> str:
        """A new session; returns its id (ApiError with 403 if there are too many)."""
        open_now = len(self.database.select(Session, "owner = ? AND finished IS NULL", owner))
        if open_now >= self.limits.sessions_per_user:
            raise ApiError(
                403,
                f"You have {open_now} sessions open, the most there may be; close a ServiceClient, or wait: a session "
                f"is closed after {self.limits.session_idle_seconds:.0f} s without a sign of life.",
            )
        session, now = str(uuid.uuid4()), time.time()
        self.database.insert(
            Session(
                id=session,
                owner=owner,
                created=now,
                seen=now,
                display_name=request.display_name,
                metadata=request.user_metadata,
            )
        )
        self._last_seen[session] = time.monotonic()
        return session

    def session(self, owner: str, session: str) -> Session:
        """A session that is open (ApiError with 410 otherwise); this counts as a sign of life."""
        found = self.database.find(Session, "id = ? AND owner = ?", session, owner)
        if found is None or found.finished:
            raise ApiError(410, SESSION_OVER.format(session))
        self._last_seen[session] = time.monotonic()
        return found

    def finish_session(self, owner: str, session: str, reason: str) -> None:
        """Close a session: its models leave the memory, its unnamed snapshots the disk."""
        changed = self.database.execute(
            "UPDATE sessions SET finished = ? WHERE id = ? AND owner = ? AND finished IS NULL", reason, session, owner
        )
        if not changed:
            return
        self._last_seen.pop(session, None)
        over = Failure(SESSION_OVER.format(session))
        for run in self.database.select(TrainingRun, "session = ?", session):
            self._drop_model(run.id, over)
        for sampler in self.database.select(Sampler, "session = ?", session):
            self.scheduler.close_queue(sampler.id, over)
        self.checkpoints.delete_snapshots(session, keep=0)

    def _drop_model(self, model_id: str, answer: Failure) -> None:
        self.scheduler.close_queue(model_id, answer)
        self.scheduler.add_task(lambda: self._release(model_id))

    def _release(self, model_id: str) -> None:
        self.residency.drop(model_id)
        self.metrics.forget_model(model_id)

    def tidy(self) -> None:
        """What is done every few seconds: expired checkpoints, idle sessions, stale results, gaps in sequences."""
        self.futures.sweep()
        self.scheduler.give_up_gaps(self.limits.gap_seconds)
        self.checkpoints.delete_expired()
        self.flush_last_seen()
        for session in self.database.select(Session, "finished IS NULL"):
            # A session from before a restart gets the same grace as one that was heard of just now.
            idle = time.monotonic() - self._last_seen.setdefault(session.id, time.monotonic())
            if idle > self.limits.session_idle_seconds and not self._at_work(session.id):
                self.finish_session(session.owner, session.id, "idle")

    def _at_work(self, session: str) -> bool:
        queues = (queue for queue in self.scheduler.queues() if queue.name.startswith(f"{session}:"))
        return any(queue.turns is not None or queue.waiting() for queue in queues)

    def flush_last_seen(self) -> None:
        """Write to the database when sessions and models were last heard of."""
        used, self._used_runs = self._used_runs, set()
        self.database.touch(TrainingRun, "used", used)
        self.database.touch(Session, "seen", {run.partition(":")[0] for run in used})

    # Models

    def served(self, base_model: str | None) -> str:
        """The name of a served base model (ValueError names those that are)."""
        if base_model not in self.settings.base_models:
            offered = ", ".join(self.settings.base_models)
            raise ValueError(f'This server does not offer the model "{base_model}". It offers: {offered}.')
        return base_model

    def add_model(
        self, owner: str, session: str, model_seq_id: int, spec: ModelSpec, make: Callable[[str], Result]
    ) -> UntypedAPIFuture:
        """Queue the creation of a model, once however often it is asked for.

        Args:
            owner: Whose.
            session: Id of the session.
            model_seq_id: Number of the model in the session.
            spec: What the run's record says of it.
            make: Creates the model on the device, given its id, and returns the answer.

        Returns:
            The request's and the model's id.

        Raises:
            ApiError: The session is over, the number is none, or the user has as many models as there may be.
        """
        self.session(owner, session)
        check_number("model_seq_id", model_seq_id)
        model_id = f"{session}:train:{model_seq_id}"
        queue = self.scheduler.model_queue(model_id)
        if queue is None:
            self._check_model_limit(owner)
            now = time.time()
            run = TrainingRun(id=model_id, session=session, owner=owner, created=now, used=now, **asdict(spec))
            if not self.database.insert(run):
                raise ApiError(410, self._gone(model_id))
            queue = self.scheduler.open_model_queue(ModelQueue(model_id, owner, self._perform))
        request_id = self.enqueue(queue, 0, lambda: _create(queue, make))
        return UntypedAPIFuture(request_id=request_id, model_id=model_id)

    def _check_model_limit(self, owner: str) -> None:
        queues = [queue for queue in self.scheduler.queues() if isinstance(queue, ModelQueue)]
        count = sum(queue.owner == owner and not queue.failed for queue in queues)
        if count >= self.limits.models_per_user:
            raise ApiError(403, f"You have {count} models in training, the most there may be; close a ServiceClient.")

    def run(self, owner: str, model_id: str) -> TrainingRun:
        """A training run, of this life or an earlier one (ApiError with 404 if there is none)."""
        run = self.database.find(TrainingRun, "id = ? AND owner = ?", model_id, owner)
        if run is None:
            raise ApiError(404, f"There is no model {model_id}.")
        return run

    def source_of(self, path: str, owner: str, token: str | None = None) -> TrainingRun:
        """The training run that a readable checkpoint is of.

        Args:
            path: A ``tinker://`` path.
            owner: Who wants to read it.
            token: The key of another user of this server who lets them (`weights_access_token`).

        Raises:
            ValueError: There is no such checkpoint for them.
        """
        checkpoint = self.checkpoints.readable(path, owner, self.keys.owner_of_key(token) if token else None)
        run = self.database.find(TrainingRun, "id = ?", checkpoint.run)
        assert run is not None, "training runs are never deleted"
        return run

    def model_queue(self, owner: str, model_id: str) -> ModelQueue:
        """The queue of a model in training (ApiError if it is not, or not any more)."""
        queue = self.scheduler.model_queue(model_id)
        if queue is not None and queue.owner == owner:
            self._used_runs.add(model_id)
            self._last_seen[model_id.partition(":")[0]] = time.monotonic()
            return queue
        self.run(owner, model_id)
        raise ApiError(410, self._gone(model_id))

    def _gone(self, model_id: str) -> str:
        """What to do about a model of an earlier life, or of a session that is over."""
        last = self.checkpoints.latest(model_id, "training")
        how = (
            f'create_training_client_from_state_with_optimizer("{last.path}")'
            if last
            else "a new training client (no checkpoint of it was saved)"
        )
        return (
            f"The model {model_id} is no longer in memory: the server was restarted, or its session is over. "
            f"Continue with {how}."
        )

    def enqueue(self, queue: ModelQueue, seq_id: int, work: Work, size: int = 0) -> str:
        """Queue a request under its number, once however often it is sent; returns the request id.

        Raises:
            Busy: The queue is full.
        """
        pending, new = self.futures.add(queue.name, seq_id, queue.owner)
        if new:
            try:
                carried_out_long_ago = seq_id < queue.next_seq
                if carried_out_long_ago:
                    self.futures.forget(pending)
                else:
                    self.scheduler.add_ordered(queue, seq_id, Job(pending, work, size))
            except Closed:
                self.futures.forget(pending)
                raise ApiError(410, self._gone(queue.name)) from None
            except BaseException:
                self.futures.forget(pending)
                raise
        return pending.request_id

    def _perform(self, jobs: list[Job]) -> Turns:
        for job in jobs:
            try:
                answer: Result | Failure = yield from carry_out(job.work)
            except Exception as error:
                answer = self.metrics.failed(job.pending, error)
            job.pending.settle(answer)

    # Samples

    def sampler_queue(self, owner: str, name: str, weights: Weights) -> SamplerQueue:
        """The queue of a sampler.

        Args:
            owner: Whose.
            name: Its id.
            weights: Gives base model and checkpoint when a batch is about to run.
        """
        if (known := self.scheduler.sampler_queue(name)) is not None:
            return known
        batch = self.settings.local.sample_batch_size
        queue = SamplerQueue(name, owner, lambda jobs: self._batches.run(weights, queue, jobs), batch)
        return queue

    def add_sample(
        self,
        queue: SamplerQueue,
        pending: PendingRequest,
        request: types.SampleRequest,
        size: int,
        on_token: Callable[[int], None] | None = None,
    ) -> None:
        """Queue a sampling request.

        Args:
            queue: The sampler's queue.
            pending: Where the answer goes.
            request: What to sample; `check_sample` has passed it.
            size: Bytes that it holds while it waits.
            on_token: Called with each token of a request for one plain sample, on a thread of the device.

        Raises:
            Busy: The queue is full.
        """
        try:
            self.scheduler.add_sample(queue, Job(pending, request, size, max(1, request.num_samples), on_token))
        except BaseException:
            self.futures.forget(pending)
            raise

    def check_sample(self, base_model: str, request: types.SampleRequest) -> None:
        """Refuse (ApiError with 400) what a model cannot answer, or what would be too much, before anything is made."""
        try:
            check_request(request, self.residency.bare_sampler(self.served(base_model)), self.limits)
        except ValueError as error:
            raise ApiError(400, str(error)) from error

    def cancel(self, pending: PendingRequest) -> None:
        """Give up a request: if it waits, it is not carried out; if it is being decoded, that ends at the next token.

        A request to a model that has begun takes effect nevertheless, as far as training is concerned.
        """
        pending.settle(Failure("The request was cancelled."))
        self.scheduler.withdraw(pending)


def _create(queue: ModelQueue, make: Callable[[str], Result]) -> Result:
    try:
        return make(queue.name)
    except BaseException:
        queue.failed = True
        raise


def json_result(value: Any) -> Result:
    """A result as JSON."""
    return Result(json.dumps(value).encode())
