"""Answers that nobody waits for any more: queued work is dropped, and running work ends between two tokens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tinker import types

from backends.local.decode.decoder import Decoder
from backends.server.queues import SamplerQueue
from tests.support.running import Running

PROMPTS = [types.ModelInput.from_ints(ids) for ids in ([5, 6, 7], [8, 9])]
LONG = types.SamplingParams(max_tokens=400, temperature=0, stop=[])
SHORT = types.SamplingParams(max_tokens=30, temperature=0, stop=[])


class Steps:
    """How many steps the decoder has taken, and with how many sequences the last."""

    def __init__(self) -> None:
        self.taken = self.sequences = 0
        self.moved = threading.Condition()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.moved:
            assert self.moved.wait_for(condition, 20)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Counts, and takes a little longer over each step, so that a test can come between."""
    steps, step = Steps(), Decoder.step

    def counted(self: Decoder) -> Any:
        with steps.moved:
            steps.taken, steps.sequences = steps.taken + 1, len(self.active)
            steps.moved.notify_all()
        time.sleep(0.003)
        return step(self)

    monkeypatch.setattr(Decoder, "step", counted)
    yield steps


def test_the_sdk_cancels_a_running_sample(service: Any, steps: Steps) -> None:
    sampler = service.create_sampling_client(base_model="tiny").result()
    alone = sampler.sample(PROMPTS[1], 1, SHORT).result().sequences[0].tokens
    steps.taken = 0
    unwanted = sampler.sample(PROMPTS[0], 2, LONG)
    steps.wait_for(lambda: steps.taken > 3)
    neighbour = sampler.sample(PROMPTS[1], 1, SHORT)
    steps.wait_for(lambda: steps.sequences == 3)
    unwanted.future().cancel()
    steps.wait_for(lambda: steps.sequences == 1)
    assert neighbour.result().sequences[0].tokens == alone
    assert sampler.sample(PROMPTS[1], 1, SHORT).result().sequences[0].tokens == alone
    assert steps.taken < 200


def test_the_sdk_cancels_a_sample_that_waits(server: Running, service: Any, steps: Steps) -> None:
    sampler = service.create_sampling_client(base_model="tiny").result()
    sampler.sample(PROMPTS[1], 1, SHORT).result()
    begun, release = threading.Event(), threading.Event()
    server.state.scheduler.add_task(lambda: (begun.set(), release.wait(20)))
    assert begun.wait(5)
    steps.taken = 0
    unwanted = sampler.sample(PROMPTS[0], 1, LONG)
    _until(lambda: server.state.scheduler.waiting() == 1)
    unwanted.future().cancel()
    _until(lambda: server.state.scheduler.waiting() == 0)
    release.set()
    sampler.sample(PROMPTS[1], 1, SHORT).result()
    assert steps.taken <= 30


def test_a_session_that_ends_takes_its_samples_with_it(server: Running, steps: Steps) -> None:
    service = server.client()
    sampler = service.create_sampling_client(base_model="tiny").result()
    sampler.sample(PROMPTS[0], 1, LONG)
    steps.wait_for(lambda: steps.taken > 3)
    service.close("success").result()
    _until(lambda: _idle(server))
    assert steps.taken < 400


def test_who_leaves_a_stream_ends_the_sampling(server: Running, steps: Steps) -> None:
    body = {"model": "tiny", "prompt": "SELECT", "max_tokens": 400, "temperature": 0, "stream": True}
    with server.http() as http, http.stream("POST", "/v1/completions", json=body) as answer:
        next(answer.iter_lines())
    _until(lambda: _idle(server))
    assert steps.taken < 390


def _idle(server: Running) -> bool:
    """Whether nothing is being sampled."""
    return not any(isinstance(queue, SamplerQueue) for queue in server.state.scheduler.queues())


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
