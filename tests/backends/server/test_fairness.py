"""Users take turns on the device, and what comes in between changes no bit of anybody's results."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from backends.local.decode.decoder import Decoder
from backends.local.step import forward_backward
from backends.server import scheduler as scheduling
from backends.server.futures import FutureStore, PendingRequest
from backends.server.queues import GATHER_AT_MOST_SECONDS, Job, ModelQueue, SamplerQueue, Turns
from backends.server.scheduler import Scheduler
from tests.support.datums import texts
from tests.support.running import Running
from tests.support.wire import Wire, program

KEYS = tuple(f"tml-user-{number}" for number in range(4))
MICRO_BATCH = 64


@pytest.fixture(scope="module")
def shared(start_server: Callable[..., Running]) -> Running:
    """A server of four users that keeps one adapter on the device, and trains in many small micro-batches."""
    local = {"device": "cpu", "micro_batch_tokens": MICRO_BATCH}
    return start_server(keys=KEYS, local=local, limits={"resident_models": 1})


@pytest.fixture
def users(shared: Running) -> Iterator[list[Wire]]:
    """A session of each user, with a model."""
    with ExitStack() as stack:
        users = [Wire(stack.enter_context(shared.http(key))) for key in KEYS]
        for user in users:
            user.result(user.create())
        yield users
        for user in users:
            user.post(f"sessions/{user.session}/finish", {})


@pytest.fixture
def tokens(shared: Running, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Tokens that were sampled or trained on, by the first token of their text; they are the scheduler's clock."""
    counted: Counter[int] = Counter()
    step, micro_batch = Decoder.step, forward_backward.run_micro_batch

    def counting_step(self: Decoder) -> Any:
        counted.update(sampled.request.prompt[0] for sampled in self.active)
        return step(self)

    def counting_batch(engine: Any, model: Any, parameters: Any, batch: Any, request: Any) -> Any:
        for row in batch.rows:
            counted[int(row.tokens[0])] += len(row.tokens)
        return micro_batch(engine, model, parameters, batch, request)

    monkeypatch.setattr(Decoder, "step", counting_step)
    monkeypatch.setattr(forward_backward, "run_micro_batch", counting_batch)
    # A turn is as long as 50 tokens take.
    monkeypatch.setattr(shared.state.scheduler, "clock", lambda: counted.total() * scheduling.TURN_SECONDS / 50)
    return counted


@pytest.fixture
def held(shared: Running) -> Iterator[threading.Event]:
    """Keeps the device busy until the event is set."""
    begun, release = threading.Event(), threading.Event()
    shared.state.scheduler.add_task(lambda: (begun.set(), release.wait(30)))
    assert begun.wait(10)
    yield release
    release.set()


def pending_request(server: Running, wire: Wire, queued: Any) -> PendingRequest:
    owner = server.state.keys.owner_of_key(wire.http.headers["X-API-Key"])
    found = server.state.futures.find(queued.json()["request_id"], owner)
    assert found is not None
    return found


def test_four_users_have_equal_shares(
    shared: Running, users: list[Wire], tokens: Counter[int], held: threading.Event
) -> None:
    """Two sample, two train, and each asks for 1,600 tokens: nobody is far ahead when the first is done."""
    a, b, c, d = users
    sent = [
        (a, a.sample(a.sampler(), [10], samples=8, length=201)),
        (b, b.sample(b.sampler(), [11], samples=8, length=201)),
        (c, c.forward_backward(1, texts(12, 100, 16))),
        (d, d.forward_backward(1, texts(13, 100, 16))),
    ]
    when_done: list[Counter[int]] = []
    for wire, queued in sent:
        pending_request(shared, wire, queued).future.add_done_callback(lambda _: when_done.append(Counter(tokens)))
    held.set()
    for wire, queued in sent:
        wire.answer(queued)
    marks = (10, 11, 12, 13)
    assert dict(tokens) == dict.fromkeys(marks, 1600)
    shares = [when_done[0][mark] for mark in marks]
    assert min(shares) > 0.8 * sum(shares) / len(marks)


@pytest.mark.parametrize("kind", ["samples", "training"])
def test_a_short_request_waits_a_turn_of_each_other_user(
    shared: Running, users: list[Wire], tokens: Counter[int], held: threading.Event, kind: str
) -> None:
    a, b, c, d = users
    long = [
        (a, a.sample(a.sampler(), [10], samples=64, length=300)),
        (b, b.sample(b.sampler(), [11], samples=64, length=300)),
        (c, c.forward_backward(1, texts(12, 1000, 16))),
    ]
    held.set()
    # Each of them has begun.
    while not {10, 11, 12} <= set(tokens):
        pass
    before = tokens.total()
    if kind == "samples":
        d.answer(d.sample(d.sampler(), [13], samples=1, length=1))
    else:
        d.answer(d.forward_backward(1, texts(13, 1, 3), forward_only=True))
    # A turn of 50 tokens and what was begun when it was over, of three users; and what goes on while the client asks.
    assert tokens.total() - before < 4 * (50 + 64) + 2000
    assert not any(pending_request(shared, wire, queued).future.done() for wire, queued in long)


def test_no_bit_depends_on_who_else_is_served(
    shared: Running, users: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With turns of a single step, one adapter on the device, and three others at work all the time."""
    alone = program(users[0], 20)
    interrupted = Counter[bool]()
    is_over = shared.state.scheduler.turn_is_over

    def counting() -> bool:
        over = is_over()
        interrupted[over] += 1
        return over

    monkeypatch.setattr(scheduling, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(scheduling, "OWN_TURN_SECONDS", 0.0)
    monkeypatch.setattr(shared.state.scheduler, "turn_is_over", counting)
    done = threading.Event()

    def compete(wire: Wire) -> None:
        for mark in range(30, 100):
            if done.is_set():
                return
            program(wire, mark)

    others = [threading.Thread(target=compete, args=(wire,)) for wire in users[1:]]
    for other in others:
        other.start()
    fresh = shared.http(KEYS[0])
    try:
        with fresh:
            assert program(Wire(fresh), 20) == alone
    finally:
        done.set()
        for other in others:
            other.join(60)
    assert interrupted[True] > 50


def test_what_is_under_way_ends_with_its_session(
    shared: Running, users: list[Wire], tokens: Counter[int], held: threading.Event
) -> None:
    """Paused or not: its answer says so, nothing of it goes on, and the others' go on."""
    a, b, c, _ = users
    sampled = a.sample(a.sampler(), [10], samples=64, length=300)
    trained = a.forward_backward(1, texts(11, 1000, 16))
    other = b.forward_backward(1, texts(12, 200, 16))
    held.set()
    while not {10, 11, 12} <= set(tokens):
        pass
    a.post(f"sessions/{a.session}/finish", {})
    for queued in (sampled, trained):
        assert "is over" in a.poll(queued.json()["request_id"]).json()["error"]
    b.answer(other)
    done = Counter(tokens)
    c.answer(c.forward_backward(1, texts(13, 200, 16)))
    assert tokens[10] == done[10] and tokens[11] == done[11] < 16_000
    assert shared.state.scheduler.waiting() == 0


def test_requests_of_one_model_keep_their_order(users: list[Wire], tokens: Counter[int], held: threading.Event) -> None:
    """A step that is sent behind a long call takes its gradient, whoever is served in between."""
    a, b, _, _ = users
    first, second = a.forward_backward(1, texts(10, 100, 16)), a.step(2)
    third = a.forward_backward(3, texts(10, 100, 16), forward_only=True)
    others = [b.forward_backward(1, texts(12, 100, 16)), b.step(2)]
    held.set()
    before, after = a.result(first).metrics["loss:sum"], a.result(third).metrics["loss:sum"]
    assert a.result(second)["metrics"]["grad_norm:mean"] > 0 and after < before
    assert b.result(others[1])["metrics"]["grad_norm:mean"] > 0


def test_of_one_user_one_batch_and_one_call_are_under_way() -> None:
    """What is begun holds memory: another batch of the same user begins when the first is finished."""
    scheduler, store, log = Scheduler(10, 1000, 1000), FutureStore(60, 60, 1000), list[str]()
    finished = threading.Event()

    def queue(name: str, owner: str, kind: type[ModelQueue] | type[SamplerQueue]) -> Any:
        def perform(jobs: list[Job]) -> Turns:
            for turn in range(3):
                log.append(name)
                if turn < 2:
                    yield
            if len(log) == 15:
                finished.set()

        return kind(name, owner, perform) if kind is ModelQueue else SamplerQueue(name, owner, perform, 8)

    for name, owner in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        scheduler.add_sample(queue(name, owner, SamplerQueue), Job(store.add(name, 0, owner)[0], None))
    for name in ("a3", "a4"):
        model = scheduler.open_model_queue(queue(name, "a", ModelQueue))
        scheduler.add_ordered(model, 0, Job(store.add(name, 0, "a")[0], None))
    ticks = itertools.count()
    scheduler.clock = lambda: float(next(ticks))
    time.sleep(2 * GATHER_AT_MOST_SECONDS)
    scheduler.start()
    assert finished.wait(10)
    scheduler.stop()
    scheduler.join(10)
    kinds = [[name for name in log if name in of] for of in (("a1", "a2"), ("a3", "a4"))]
    assert all(len(list(itertools.groupby(names))) == 2 for names in kinds)
    assert log.index("a3") < 6 and log.index("b1") < 3
