"""Large calls, which the SDK sends in parts: all parts of a call count, or none.

The SDK cuts a large `forward_backward` into parts with separate numbers, sends the optimiser step behind them and
looks at the answers afterwards. Nothing in a part says which call it belongs to. When one fails, the gradient of those
before it is discarded, and everything that the client sent before it heard of the failure is refused, up to and
including the next optimiser step. What it sends afterwards begins anew.
"""

from __future__ import annotations

import time
from contextlib import suppress

import tinker

from backends.interface import BackendError
from backends.local.resumable import Resumable
from backends.server.futures import Result, failure
from backends.server.queues import FailedPart, ModelQueue, Work, carry_out
from backends.server.state import ServerState


def part(state: ServerState, queue: ModelQueue, seq_id: int, work: Work) -> Work:
    """Carry out a `forward_backward` unless a part of its call has failed; if it fails, discard the others."""
    arrived = time.monotonic()

    def in_turns() -> Resumable[Result]:
        _refuse_after_failure(queue, arrived)
        try:
            return (yield from carry_out(work))
        except Exception as error:
            pending, _ = state.futures.add(queue.name, seq_id, queue.owner)
            queue.failed_part = FailedPart(seq_id, failure(error).message, pending)
            # A model that could not be created, or a backend that is closing, has no gradient.
            with suppress(BackendError, tinker.TinkerError):
                state.residency.model(queue.name).discard_gradients().result()
            raise

    return in_turns


def step(queue: ModelQueue, work: Work) -> Work:
    """Carry out an optimiser step unless a part of the call before it has failed; the failure ends with it."""
    arrived = time.monotonic()

    def in_turns() -> Resumable[Result]:
        try:
            _refuse_after_failure(queue, arrived)
        finally:
            queue.failed_part = None
        return (yield from carry_out(work))

    return in_turns


def _refuse_after_failure(queue: ModelQueue, arrived: float) -> None:
    failed = queue.failed_part
    if failed is None:
        return
    if not failed.was_unknown(arrived):
        queue.failed_part = None
        return
    raise ValueError(
        f"Request {failed.seq_id} of {queue.name} failed, so the gradients since the last step were discarded and "
        f"nothing sent before its answer was fetched is carried out, this step included. It failed with: "
        f"{failed.message}"
    )
