"""The answers that clients come back for."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import tinker
from tinker.types import RequestErrorCategory

from backends.interface import BackendError

JSON = "application/json"
PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class Result:
    """A finished request: the body that the client is sent."""

    body: bytes
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request, as the protocol tells it."""

    message: str
    category: str = "user"


_settlements = itertools.count(1)
_settling = threading.Lock()


@dataclass(slots=True)
class Promise:
    """One request's answer, to come or there. `request_id` names model or sampler and its sequence number."""

    request_id: str
    owner: str
    future: Future[Result | Failure] = field(default_factory=Future)
    done_at: float | None = None
    number: int | None = None  # how many were settled before it
    fetched_at: float | None = None

    def settle(self, answer: Result | Failure) -> bool:
        """Give the answer; False if there is one already (the request was cancelled meanwhile)."""
        with _settling:  # in the order of the numbers: who has seen one does not ask for those before it again
            try:
                self.future.set_result(answer)
            except InvalidStateError:
                return False
            self.done_at, self.number = time.monotonic(), next(_settlements)
        return True

    def size(self) -> int:
        """Bytes of the result, if there is one."""
        answer = self.future.result() if self.future.done() and not self.future.cancelled() else None
        return len(answer.body) if isinstance(answer, Result) else 0


class Promises:
    """All promises of one life of the server. Ids of an earlier life are recognised as such."""

    def __init__(self, keep_seconds: float, keep_fetched_seconds: float, keep_bytes: int) -> None:
        self._keep = keep_seconds
        self._keep_fetched = keep_fetched_seconds
        self._keep_bytes = keep_bytes
        self._life = secrets.token_hex(4)
        self._promises: dict[str, Promise] = {}
        self._lock = threading.Lock()

    def request_id(self, target: str, seq_id: int) -> str:
        """The id of the request that has this number at this model or sampler."""
        return f"{self._life}/{target}/{seq_id}"

    def make(self, target: str, seq_id: int, owner: str) -> tuple[Promise, bool]:
        """The promise for a request, and whether it is new: the same request gets the same promise."""
        request_id = self.request_id(target, seq_id)
        with self._lock:
            known = self._promises.get(request_id)
            if known is not None:
                return known, False
            promise = self._promises[request_id] = Promise(request_id, owner)
            return promise, True

    def find(self, request_id: str, owner: str) -> Promise | None:
        """The owner's promise of this id."""
        promise = self._promises.get(request_id)
        return promise if promise is not None and promise.owner == owner else None

    def of(self, target: str, owner: str) -> list[Promise]:
        """The owner's promises of one model or sampler."""
        prefix = f"{self._life}/{target}/"
        with self._lock:
            return [p for i, p in self._promises.items() if i.startswith(prefix) and p.owner == owner]

    def forget(self, promise: Promise) -> None:
        """Take back a promise that was never given out."""
        with self._lock:
            self._promises.pop(promise.request_id, None)

    def sweep(self) -> None:
        """Drop results that have been there long enough: not long, once they have been fetched, or room is short."""
        now, size = time.monotonic(), 0
        with self._lock:
            done = [promise for promise in self._promises.values() if promise.number is not None]
            for promise in sorted(done, key=lambda promise: -(promise.number or 0)):  # the newest first
                size += promise.size()
                fetched = promise.fetched_at is not None and now - promise.fetched_at > self._keep_fetched
                old = promise.done_at is not None and now - promise.done_at > self._keep
                if fetched or old or size > self._keep_bytes:
                    del self._promises[promise.request_id]

    def missing(self, request_id: str) -> Failure:
        """What to say of an id that has no promise."""
        if not request_id.startswith(f"{self._life}/"):
            return Failure(
                "The server was restarted before this request was finished, so it is lost. Saved checkpoints are "
                "kept: continue with create_training_client_from_state_with_optimizer(<last saved path>).",
                "server",
            )
        return Failure(
            f"There is no request {request_id}, or its result is no longer kept: {self._keep:.0f} s, and "
            f"{self._keep_fetched:.0f} s once it has been fetched."
        )


def is_sample(request_id: str) -> bool:
    """Whether a request id is one of a sampler: the SDK sends such a request again when it is gone (410)."""
    return ":sample:" in request_id


def failure(error: BaseException) -> Failure:
    """What an exception of the backend is to a client: its own mistake, with the message, or the server's."""
    if isinstance(error, tinker.RequestFailedError):
        return Failure(str(error), _category(error.category))
    if isinstance(error, (ValueError, TypeError, OverflowError, BackendError)):
        return Failure(str(error), "user")
    return Failure(f"{type(error).__name__}: {error}", "server")


def _category(category: object) -> str:
    return category.value if isinstance(category, RequestErrorCategory) else "unknown"
