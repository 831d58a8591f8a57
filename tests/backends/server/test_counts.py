"""What is counted equals what is there, whatever happened to requests, sessions and models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends.local.decode.decoder import Decoder
from backends.server.futures import Failure, FutureStore
from backends.server.queues import Job, ModelQueue, SamplerQueue
from backends.server.scheduler import Closed, Scheduler
from backends.server.tables import Session
from tests.support.running import Running
from tests.support.wire import Wire

OVER = Failure("It is over.")


@pytest.fixture(scope="module")
def narrow(start_server: Callable[..., Running]) -> Running:
    """A server that samples one sequence at a time."""
    local = {"device": "cpu", "sample_batch_size": 1}
    return start_server(local=local, limits={"queued_requests": 4, "models_per_user": 2})


@pytest.fixture
def slow_tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set when a token has been sampled; each takes a while."""
    begun, step = threading.Event(), Decoder.step

    def slowly(self: Decoder) -> Any:
        begun.set()
        time.sleep(0.01)
        return step(self)

    monkeypatch.setattr(Decoder, "step", slowly)
    yield begun


def test_a_user_has_a_number_of_sessions(narrow: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are finished do not count; without a limit one user fills the database that all use."""
    body = {"tags": [], "user_metadata": {}, "sdk_version": "0.38.0", "type": "create_session"}
    with narrow.http() as http:
        first, *_ = (Wire(http) for _ in range(3))
        count = len(narrow.state.database.select(Session, "finished IS NULL"))
        monkeypatch.setattr(narrow.state.limits, "sessions_per_user", count)
        refused = http.post("/api/v1/create_session", json=body)
        assert refused.status_code == 403 and "close a ServiceClient" in refused.text
        http.post(f"/api/v1/sessions/{first.session}/finish", json={}).raise_for_status()
        last = [http.post("/api/v1/create_session", json=body).status_code for _ in range(2)]
        assert last == [200, 403]


def test_a_session_that_ends_with_requests_waiting(narrow: Running, slow_tokens: threading.Event) -> None:
    with narrow.http() as http:
        wire = Wire(http)
        sampler = new_sampler(wire)
        assert sample(wire, sampler, 0).status_code == 200
        assert slow_tokens.wait(10)
        for seq_id in range(1, 5):
            assert sample(wire, sampler, seq_id).status_code == 200
        assert sample(wire, sampler, 5).status_code == 429
        assert narrow.state.scheduler.waiting() == 4
        http.post(f"/api/v1/sessions/{wire.session}/finish", json={}).raise_for_status()
        wire = Wire(http)
        sampler = new_sampler(wire)
        counted = set()
        for seq_id in range(20):
            sample(wire, sampler, seq_id)
            counted.add(narrow.state.scheduler.waiting())
        assert counted <= set(range(5)) and 4 in counted
        http.post(f"/api/v1/sessions/{wire.session}/finish", json={}).raise_for_status()
        assert narrow.state.scheduler.waiting() == 0
        assert "text2sql_server_queued_requests 0.0" in http.get("/metrics").text


def new_sampler(wire: Wire) -> str:
    body = {"session_id": wire.session, "sampling_session_seq_id": 0, "base_model": "tiny"}
    sampler: str = wire.post("create_sampling_session", body).json()["sampling_session_id"]
    return sampler


def sample(wire: Wire, sampler: str, seq_id: int) -> Any:
    body = {
        "sampling_session_id": sampler,
        "seq_id": seq_id,
        "num_samples": 1,
        "prompt": {"chunks": [{"tokens": [1, 2], "type": "encoded_text"}]},
        "sampling_params": {"max_tokens": 300, "stop": []},
    }
    return wire.post("asample", body)


def test_models_that_could_not_be_made_do_not_count(narrow: Running) -> None:
    with narrow.http() as http:
        wire = Wire(http)
        for number in range(4):
            assert "rank is 1000" in wire.result(wire.create(rank=1000, model_seq_id=number))["error"]
        for number in (4, 5):
            assert "model_id" in wire.result(wire.create(model_seq_id=number))
        refused = wire.create(model_seq_id=6)
        assert refused.status_code == 403 and "You have 2 models in training" in refused.text
        http.post(f"/api/v1/sessions/{wire.session}/finish", json={}).raise_for_status()


def test_a_queue_that_was_closed_takes_nothing_and_gives_nothing() -> None:
    scheduler, store = Scheduler(10, 1000, 1000), FutureStore(60, 60, 1000)

    def job(number: int) -> Job:
        return Job(store.add("x", number, "me")[0], None, size=5)

    samples = SamplerQueue("s", "me", lambda jobs: None, batch=8)
    for number in range(3):
        scheduler.add_sample(samples, job(number))
    scheduler.close_queue("s", OVER)
    assert scheduler.waiting() == 0
    assert scheduler.take_joining(samples, 8) == [] and scheduler.waiting() == 0
    model = scheduler.open_model_queue(ModelQueue("m", "me", lambda jobs: None))
    scheduler.add_ordered(model, 0, job(3))
    scheduler.close_queue("m", OVER)
    with pytest.raises(Closed):
        scheduler.add_ordered(model, 1, job(4))
    scheduler.give_up_gaps(0.0)
    assert scheduler.waiting() == 0
