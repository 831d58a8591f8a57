"""The state behind the routes: sessions, models and samplers, and how their requests reach the device."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from tinker import types

from backends.server.auth import Keys
from backends.server.checkpoint_registry import Checkpoints
from backends.server.database import Records, Row
from backends.server.errors import Refused
from backends.server.futures import Failure, Promise, Promises, Result, failure
from backends.server.metrics import Metrics
from backends.server.residency import Device
from backends.server.sample_batches import answer_samples
from backends.server.scheduler import Job, ModelLane, SamplerLane, Scheduler
from backends.server.settings import ServerSettings

log = logging.getLogger("text2sql.server")

SESSION_OVER = "The session {} is over (finished, idle for too long, or unknown here); make a new ServiceClient."


class Server:
    """One server; the routes are thin layers over its methods."""

    def __init__(self, settings: ServerSettings) -> None:
        settings.data.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.limits = settings.limits
        self.keys = Keys(settings.keys)
        self.records = Records(settings.data / "server.sqlite")
        self.promises = Promises(
            self.limits.result_seconds, self.limits.fetched_result_seconds, self.limits.result_bytes
        )
        self.scheduler = Scheduler(self.limits.queued_requests, self.limits.queued_bytes)
        self.device = Device(settings)
        self.checkpoints = Checkpoints(self.records, self.device, self.scheduler)
        self.metrics = Metrics(self)
        self.closing = asyncio.Event()
        self.secret = self.records.secret()
        self._seen: dict[str, float] = {}  # session -> last sign of life, in this process's clock
        self._used: set[str] = set()  # runs used since they were last written down

    def start(self) -> None:
        """Load the models, tidy up after an earlier life, and start to serve."""
        self.device.load()
        self.checkpoints.forget_missing()
        self.scheduler.start()

    def close(self) -> None:
        """Finish the running request and let go of everything."""
        self.scheduler.close()
        self.write_down_signs_of_life()
        self.device.close()
        self.records.close()

    # Sessions

    def open_session(self, owner: str, request: types.CreateSessionRequest) -> str:
        """A new session."""
        session, now = str(uuid.uuid4()), time.time()
        self.records.insert(
            "sessions",
            id=session,
            owner=owner,
            created=now,
            seen=now,
            display_name=request.display_name,
            metadata=request.user_metadata,
        )
        self._seen[session] = time.monotonic()
        return session

    def session(self, owner: str, session: str) -> Row:
        """A session that is open (Refused with 410 otherwise); this counts as a sign of life."""
        row = self.records.row("SELECT * FROM sessions WHERE id = ? AND owner = ?", session, owner)
        if row is None or row["finished"]:
            raise Refused(410, SESSION_OVER.format(session))
        self._seen[session] = time.monotonic()
        return row

    def finish_session(self, owner: str, session: str, reason: str) -> None:
        """Close a session: its models leave the memory, its unnamed snapshots the disk."""
        changed = self.records.execute(
            "UPDATE sessions SET finished = ? WHERE id = ? AND owner = ? AND finished IS NULL", reason, session, owner
        )
        if not changed:
            return
        self._seen.pop(session, None)
        over = Failure(SESSION_OVER.format(session))
        for run in self.records.rows("SELECT id FROM runs WHERE session = ?", session):
            self._drop_model(run["id"], over)
        for sampler in self.records.rows("SELECT id FROM samplers WHERE session = ?", session):
            self.scheduler.shut(sampler["id"], over)
            for promise in self.promises.of(sampler["id"], owner):  # those that are being decoded
                promise.settle(over)
        self.checkpoints.delete_snapshots(session, keep=0)

    def _drop_model(self, model_id: str, answer: Failure) -> None:
        self.scheduler.shut(model_id, answer)
        self.scheduler.errand(lambda: self.device.drop(model_id))

    def tidy(self) -> None:
        """What is done every few seconds: expired checkpoints, idle sessions, stale results, gaps in sequences."""
        self.promises.sweep()
        self.scheduler.give_up_gaps(self.limits.gap_seconds)
        self.checkpoints.delete_expired()
        self.write_down_signs_of_life()
        # A session from before a restart gets the same grace as one that was heard of just now.
        for row in self.records.rows("SELECT id, owner FROM sessions WHERE finished IS NULL"):
            idle = time.monotonic() - self._seen.setdefault(row["id"], time.monotonic())
            if idle > self.limits.session_idle_seconds and not self._at_work(row["id"]):
                self.finish_session(row["owner"], row["id"], "idle")

    def _at_work(self, session: str) -> bool:
        return any(lane.waiting() for lane in self.scheduler.lanes() if lane.name.startswith(f"{session}:"))

    def write_down_signs_of_life(self) -> None:
        """Keep in the database when sessions and models were last heard of."""
        used, self._used = self._used, set()
        self.records.touch("runs", "used", used)
        self.records.touch("sessions", "seen", {run.partition(":")[0] for run in used})

    # Models

    def served(self, base_model: str) -> str:
        """The name of a served base model (ValueError names those that are)."""
        if base_model not in self.settings.base_models:
            offered = ", ".join(self.settings.base_models)
            raise ValueError(f'This server does not offer the model "{base_model}". It offers: {offered}.')
        return base_model

    def add_model(
        self, owner: str, session: str, model_seq_id: int, spec: Row, make: Callable[[str], Result]
    ) -> dict[str, str]:
        """Queue the creation of a model, once however often it is asked for.

        Args:
            owner: Whose.
            session: Id of the session.
            model_seq_id: Number of the model in the session.
            spec: Columns of the run's record.
            make: Creates the model on the device, given its id, and returns the answer.

        Returns:
            The request's and the model's id.
        """
        self.session(owner, session)
        model_id = f"{session}:train:{model_seq_id}"
        mine = [lane for lane in self.scheduler.lanes() if isinstance(lane, ModelLane) and lane.owner == owner]
        lane = self.scheduler.lane(model_id)
        if lane is None:
            if len(mine) >= self.limits.models_per_user:
                raise Refused(
                    403, f"You have {len(mine)} models in training, the most there may be; close a ServiceClient."
                )
            now = time.time()
            if not self.records.insert(
                "runs", id=model_id, session=session, owner=owner, created=now, used=now, **spec
            ):
                raise Refused(410, self._gone(model_id))
            lane = self.scheduler.open(ModelLane(model_id, owner, self._perform))
        return {"request_id": self.enqueue(lane, 0, lambda: make(model_id)), "model_id": model_id}

    def run(self, owner: str, model_id: str) -> Row:
        """The record of a training run, of this life or an earlier one (Refused with 404 if there is none)."""
        row = self.records.row("SELECT * FROM runs WHERE id = ? AND owner = ?", model_id, owner)
        if row is None:
            raise Refused(404, f"There is no model {model_id}.")
        return row

    def source_of(self, path: str, owner: str, token: str | None = None) -> Row:
        """The record of the training run that a readable checkpoint is of.

        Args:
            path: A ``tinker://`` path.
            owner: Who wants to read it.
            token: The key of another user of this server who lets them (`weights_access_token`).

        Raises:
            ValueError: There is no such checkpoint for them.
        """
        row = self.checkpoints.readable(path, owner, self.keys.owner_of_key(token) if token else None)
        run = self.records.row("SELECT * FROM runs WHERE id = ?", row["run"])
        assert run is not None  # runs are never deleted
        return run

    def model_lane(self, owner: str, model_id: str) -> ModelLane:
        """The queue of a model in training (Refused if it is not, or not any more)."""
        lane = self.scheduler.lane(model_id)
        if isinstance(lane, ModelLane) and lane.owner == owner:
            self._used.add(model_id)
            self._seen[model_id.partition(":")[0]] = time.monotonic()
            return lane
        self.run(owner, model_id)
        raise Refused(410, self._gone(model_id))

    def _gone(self, model_id: str) -> str:
        """What to do about a model of an earlier life, or of a session that is over."""
        last = self.checkpoints.latest(model_id, "training")
        how = (
            f'create_training_client_from_state_with_optimizer("{last["path"]}")'
            if last
            else "a new training client (no checkpoint of it was saved)"
        )
        return (
            f"The model {model_id} is no longer in memory: the server was restarted, or its session is over. "
            f"Continue with {how}."
        )

    def enqueue(self, lane: ModelLane, seq_id: int, work: Callable[[], Result], size: int = 0) -> str:
        """Queue a request under its number, once however often it is sent; returns the request id.

        Raises:
            Busy: The queue is full.
        """
        promise, new = self.promises.make(lane.name, seq_id, lane.owner)
        if new:
            try:
                if seq_id < lane.next_seq:  # carried out long ago, and its result dropped
                    self.promises.forget(promise)
                else:
                    self.scheduler.add_ordered(lane, seq_id, Job(promise, work, size))
            except BaseException:
                self.promises.forget(promise)
                raise
        return promise.request_id

    def _perform(self, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                answer: Result | Failure = job.work()
            except Exception as error:
                answer = self.failed(job.promise, error)
            job.promise.settle(answer)

    def failed(self, promise: Promise, error: Exception) -> Failure:
        """What to answer a request that failed; it is counted, and logged if the server is at fault."""
        answer = failure(error)
        if answer.category != "user":
            log.error("request %s failed: %s", promise.request_id, answer.message, exc_info=error)
        self.metrics.failed(promise, answer)
        return answer

    # Samplers

    def add_sampler(self, owner: str, session: str, seq_id: int, **columns: Any) -> str:
        """Record a sampler of a session, once however often it is asked for; returns its id."""
        sampler = f"{session}:sample:{seq_id}"
        self.records.insert("samplers", id=sampler, session=session, owner=owner, **columns)
        return sampler

    def sampler(self, owner: str, sampler: str) -> Row:
        """The record of a sampler (Refused with 404 if there is none)."""
        row = self.records.row("SELECT * FROM samplers WHERE id = ? AND owner = ?", sampler, owner)
        if row is None:
            raise Refused(404, f"There is no sampler {sampler}.")
        return row

    def snapshot_sampler(self, lane: ModelLane, seq_id: int, path: str, kind: str) -> str:
        """A sampler of a snapshot that has just been saved (on the scheduler's thread).

        The samplers of kind "inflight" of one model all move on to the newest snapshot.
        """
        run = self.run(lane.owner, lane.name)
        if kind == "inflight":
            self.records.execute("UPDATE samplers SET path = ? WHERE inflight_of = ?", path, lane.name)
        sampler = self.add_sampler(
            lane.owner,
            run["session"],
            seq_id,
            base_model=run["base_model"],
            path=path,
            snapshot=True,
            inflight_of=lane.name if kind == "inflight" else None,
        )
        self.checkpoints.delete_snapshots(run["session"], keep=self.limits.snapshots_per_session)
        return sampler

    def weights_of(self, owner: str, sampler: str) -> tuple[str, str | None]:
        """Base model and checkpoint of a sampler, as they are now (ValueError if the checkpoint was deleted)."""
        row = self.sampler(owner, sampler)
        if row["path"] is not None:
            self.checkpoints.readable(row["path"], owner)
        return row["base_model"], row["path"]

    def sampler_lane(self, owner: str, name: str, weights: Callable[[], tuple[str, str | None]]) -> SamplerLane:
        """The queue of a sampler.

        Args:
            owner: Whose.
            name: Its id.
            weights: Gives base model and checkpoint when a batch is about to run.
        """
        lane = self.scheduler.lane(name)
        if lane is None:
            batch = self.settings.local.sample_batch_size
            lane = SamplerLane(name, owner, lambda jobs: answer_samples(self, *weights(), lane, jobs), batch)
            lane = self.scheduler.open(lane)
        return lane

    def add_sample(
        self,
        lane: SamplerLane,
        promise: Promise,
        request: types.SampleRequest,
        size: int,
        on_token: Callable[[int], None] | None = None,
    ) -> None:
        """Queue a sampling request.

        Args:
            lane: The sampler's queue.
            promise: Where the answer goes.
            request: What to sample.
            size: Bytes that it holds while it waits.
            on_token: Told of each token of a request for one plain sample, on a thread of the device.

        Raises:
            Busy: The queue is full.
            Refused: It asks for more samples than one request may.
        """
        most = self.limits.samples_per_request
        try:
            if request.num_samples > most:
                raise Refused(400, f"{request.num_samples} samples in one request; this server takes {most}.")
            self.scheduler.add_sample(lane, Job(promise, request, size, max(1, request.num_samples), on_token))
        except BaseException:
            self.promises.forget(promise)
            raise

    def cancel(self, promise: Promise) -> None:
        """Give up a request: if it waits, it is not carried out; if it is being decoded, that ends at the next token.

        A request to a model that has begun takes effect nevertheless, as far as training is concerned.
        """
        promise.settle(Failure("The request was cancelled."))
        self.scheduler.withdraw(promise)


def json_result(value: Any) -> Result:
    """A result as JSON."""
    return Result(json.dumps(value).encode())
