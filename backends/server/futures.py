"""The answers that clients come back for."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import tinker
from tinker.types import RequestErrorCategory

from backends.interface import BackendError
from backends.server.errors import ApiError

JSON = "application/json"
# The mark of a start of the server, the model or sampler, and the request's number there.
REQUEST_ID = re.compile(r"[0-9a-f]+/[^/]+/\d+")


@dataclass(frozen=True, slots=True)
class Result:
    """A finished request: the body that the client is sent."""

    body: bytes
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request, as the protocol writes it.

    Attributes:
        message: One sentence for a person.
        category: Whose fault it is: ``user``, ``server`` or ``unknown``.
    """

    message: str
    category: str = "user"


_settlements = itertools.count(1)
_settling = threading.Lock()


@dataclass(slots=True)
class PendingRequest:
    """One request, and its answer as soon as there is one.

    Attributes:
        request_id: Names the model or sampler, and the request's number there.
        owner: Whose it is.
        future: The answer.
        settled_at: When it was answered, in this process's clock.
        settled_order: How many requests of this server had been answered, this one included.
        fetched_at: When the answer was last fetched.
    """

    request_id: str
    owner: str
    future: Future[Result | Failure] = field(default_factory=Future)
    settled_at: float | None = None
    settled_order: int | None = None
    fetched_at: float | None = None

    def settle(self, answer: Result | Failure) -> bool:
        """Give the answer; False if there is one already (the request was cancelled meanwhile)."""
        # Under a lock, so that answers become visible in the order of their numbers: a client that has seen one number
        # does not ask for those before it again.
        with _settling:
            try:
                self.future.set_result(answer)
            except InvalidStateError:
                return False
            self.settled_at, self.settled_order = time.monotonic(), next(_settlements)
        return True

    def size(self) -> int:
        """Bytes of the result, if there is one."""
        answer = self.future.result() if self.future.done() and not self.future.cancelled() else None
        return len(answer.body) if isinstance(answer, Result) else 0


class FutureStore:
    """All requests since the server started, until their answers are dropped.

    Request ids begin with a random mark of this start, so that ids of an earlier one are recognised as such.

    Args:
        keep_seconds: How long an answer is kept.
        keep_fetched_seconds: How long it is kept once it has been fetched.
        keep_bytes: How much is kept in all.
    """

    def __init__(self, keep_seconds: float, keep_fetched_seconds: float, keep_bytes: int) -> None:
        self._keep = keep_seconds
        self._keep_fetched = keep_fetched_seconds
        self._keep_bytes = keep_bytes
        self._start = secrets.token_hex(4)
        self._requests: dict[str, PendingRequest] = {}
        # The same by model or sampler, and by number.
        self._by_target: defaultdict[str, dict[int, PendingRequest]] = defaultdict(dict)
        self._lock = threading.Lock()

    def request_id(self, target: str, seq_id: int) -> str:
        """The id of the request that has this number at this model or sampler."""
        return f"{self._start}/{target}/{seq_id}"

    def add(self, target: str, seq_id: int, owner: str) -> tuple[PendingRequest, bool]:
        """The request of this number, and whether it is new: a request that is sent again is the same request."""
        request_id = self.request_id(target, seq_id)
        with self._lock:
            known = self._requests.get(request_id)
            if known is not None:
                return known, False
            pending = PendingRequest(request_id, owner)
            self._requests[request_id] = self._by_target[target][seq_id] = pending
            return pending, True

    def find(self, request_id: str, owner: str) -> PendingRequest | None:
        """The owner's request of this id, or None."""
        pending = self._requests.get(request_id)
        return pending if pending is not None and pending.owner == owner else None

    def of_target(self, target: str, owner: str) -> list[PendingRequest]:
        """The owner's requests to one model or sampler."""
        with self._lock:
            return [pending for pending in self._by_target.get(target, {}).values() if pending.owner == owner]

    def forget(self, pending: PendingRequest) -> None:
        """Remove a request whose id no client was given, or needs any more."""
        with self._lock:
            self._remove(pending)

    def _remove(self, pending: PendingRequest) -> None:
        if self._requests.pop(pending.request_id, None) is None:
            return
        start_and_target, _, seq_id = pending.request_id.rpartition("/")
        target = start_and_target.removeprefix(f"{self._start}/")
        del self._by_target[target][int(seq_id)]
        if not self._by_target[target]:
            del self._by_target[target]

    def sweep(self) -> None:
        """Drop answers that are old, that have been fetched, or that exceed the space for answers, the oldest first."""
        now, size = time.monotonic(), 0
        with self._lock:
            settled = [pending for pending in self._requests.values() if pending.settled_order is not None]
            for pending in sorted(settled, key=lambda pending: -(pending.settled_order or 0)):
                size += pending.size()
                fetched = pending.fetched_at is not None and now - pending.fetched_at > self._keep_fetched
                old = pending.settled_at is not None and now - pending.settled_at > self._keep
                if fetched or old or size > self._keep_bytes:
                    self._remove(pending)

    def missing(self, request_id: str) -> Failure:
        """What to say of an id that is not in the store."""
        if not REQUEST_ID.fullmatch(request_id):
            return Failure(
                f'"{request_id[:100]}" is no id of a request; take request_id from the answer to the request itself.'
            )
        if not request_id.startswith(f"{self._start}/"):
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
    if isinstance(error, ApiError):
        return Failure(error.detail, "user" if error.status < 500 else "server")
    if isinstance(error, (ValueError, TypeError, OverflowError, BackendError)):
        return Failure(str(error), "user")
    return Failure(f"{type(error).__name__}: {error}", "server")


def _category(category: object) -> str:
    return category.value if isinstance(category, RequestErrorCategory) else "unknown"
