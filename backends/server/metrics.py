"""What the server counts, in Prometheus's format; rates and errors for the status page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from tinker import types

from backends.server.futures import Failure, PendingRequest, failure
from backends.server.log import log
from backends.server.residency import Residency
from backends.server.scheduler import GOING_DOWN, Scheduler

TokenKind = Literal["trained", "sampled", "prompt"]

RATE_SECONDS = 60.0
KEPT_ERRORS = 50
# Of each model; and of the tokens, in steps of N seconds.
KEPT_BATCHES = 500
HISTORY_SECONDS = 30.0
KEPT_HISTORY = 120


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens counted at one moment of this process's clock."""

    at: float
    kind: TokenKind
    tokens: int


@dataclass(frozen=True, slots=True)
class RecentError:
    """A failed request; `at` in seconds since 1970."""

    at: float
    owner: str
    message: str


@dataclass(frozen=True, slots=True)
class TrainedBatch:
    """One `forward_backward` of a model.

    Attributes:
        number: How many there were of the model, this one included.
        at: When, in seconds since 1970.
        tokens: Its input tokens.
        loss: ``loss:sum``, as the client was told; None if the loss has none.
    """

    number: int
    at: float
    tokens: int
    loss: float | None


class Metrics:
    """Counters of one server."""

    def __init__(self, residency: Residency, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.registry = CollectorRegistry()
        self.started = time.time()
        self._recent: deque[TokenCount] = deque()
        self._errors: deque[RecentError] = deque(maxlen=KEPT_ERRORS)
        self._batches: dict[str, deque[TrainedBatch]] = {}
        # By the number of the step since this process's clock began, then by kind; the oldest first.
        self._history: dict[int, dict[TokenKind, int]] = {}
        names: Any = {"registry": self.registry, "namespace": "text2sql_server"}
        self.requests = Counter("http_requests", "HTTP requests", ["route", "status"], **names)
        self.tokens = Counter("tokens", "Tokens trained on, sampled, or read as prompts", ["kind"], **names)
        self._failures = Counter("failed_requests", "Requests that failed", ["category"], **names)

        def gauge(name: str, description: str, read: Callable[[], float]) -> None:
            Gauge(name, description, **names).set_function(read)

        self._lag = Gauge("event_loop_lag_seconds", "Delay of the event loop when it was last measured", **names)
        self._largest_lag = Gauge("event_loop_lag_seconds_max", "Largest delay of the event loop so far", **names)
        gauge("queued_requests", "Requests that wait for the device", scheduler.waiting)
        gauge("device_busy_seconds", "Time that the device has worked", lambda: scheduler.busy_seconds)
        gauge("models_on_device", "Models in training on the device", lambda: residency.counts().resident)
        gauge("models_parked", "Models in training in main memory", lambda: residency.counts().parked)

    def saw_event_loop_lag(self, seconds: float) -> None:
        """Note how much later than asked for the event loop came back to a task."""
        self._lag.set(seconds)
        self._largest_lag.set(max(seconds, self._largest_lag._value.get()))

    def count_tokens(self, kind: TokenKind, tokens: int) -> None:
        """Count tokens of a kind."""
        now = time.monotonic()
        self.tokens.labels(kind).inc(tokens)
        self._recent.append(TokenCount(now, kind, tokens))
        while self._recent and self._recent[0].at < now - RATE_SECONDS:
            self._recent.popleft()
        step = self._history.setdefault(int(now / HISTORY_SECONDS), {})
        step[kind] = step.get(kind, 0) + tokens
        while len(self._history) > KEPT_HISTORY:
            del self._history[next(iter(self._history))]

    def trained(self, model_id: str, tokens: int, loss: float | None) -> None:
        """Count a batch that a model was trained on."""
        self.count_tokens("trained", tokens)
        batches = self._batches.setdefault(model_id, deque(maxlen=KEPT_BATCHES))
        number = batches[-1].number + 1 if batches else 1
        batches.append(TrainedBatch(number, time.time(), tokens, loss))

    def batches_of(self, model_id: str) -> list[TrainedBatch]:
        """The newest batches that a model was trained on, the oldest first."""
        return list(self._batches.get(model_id, ()))

    def forget_model(self, model_id: str) -> None:
        """Drop what is known of a model's batches."""
        self._batches.pop(model_id, None)

    def sampled(self, response: types.SampleResponse, prompt_length: int) -> None:
        """Count a response's tokens."""
        self.count_tokens("prompt", prompt_length)
        self.count_tokens("sampled", sum(len(sequence.tokens) for sequence in response.sequences))

    def failed(self, pending: PendingRequest, error: Exception) -> Failure:
        """What to answer a request that failed; it is counted, and logged if the server is at fault."""
        if self._scheduler.closing:
            return GOING_DOWN
        answer = failure(error)
        if answer.category != "user":
            log.error("request %s failed: %s", pending.request_id, answer.message, exc_info=error)
        self._failures.labels(answer.category).inc()
        self._errors.append(RecentError(time.time(), pending.owner, answer.message))
        return answer

    def rate(self, kind: TokenKind) -> float:
        """Tokens a second, over the last `RATE_SECONDS`."""
        since = time.monotonic() - RATE_SECONDS
        return sum(count.tokens for count in self._recent.copy() if count.kind == kind and count.at > since) / (
            RATE_SECONDS
        )

    def history(self, kind: TokenKind) -> list[float]:
        """Tokens a second in each of the last `KEPT_HISTORY` steps of `HISTORY_SECONDS`, the oldest first."""
        now, known = int(time.monotonic() / HISTORY_SECONDS), self._history.copy()
        return [known.get(step, {}).get(kind, 0) / HISTORY_SECONDS for step in range(now - KEPT_HISTORY + 1, now + 1)]

    def errors_of(self, owner: str) -> list[RecentError]:
        """A user's recent errors, the latest first."""
        return [error for error in reversed(self._errors.copy()) if error.owner == owner]

    def text(self) -> bytes:
        """All metrics in Prometheus's format."""
        return generate_latest(self.registry)
