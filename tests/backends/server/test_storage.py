"""What the server stores: how much of it, where, and what becomes of it on a disk that is full."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import tinker

from backends.server.futures import FutureStore, Result
from tests.support.running import Running
from tests.support.wire import Wire


def test_budgets_of_memory(start_server: Callable[..., Running]) -> None:
    short = start_server(limits={"free_bytes": 1 << 60})
    service = short.client()
    with pytest.raises(tinker.RequestFailedError, match=r"short of memory.*limits\.free_bytes"):
        service.create_lora_training_client("tiny", rank=2).result()
    service.close("success").result()


def test_results_that_are_too_many_bytes_go_the_oldest_first() -> None:
    store = FutureStore(3600, 120, keep_bytes=250)
    kept = [store.add("m:train:0", seq, "me")[0] for seq in range(4)]
    for pending in kept[:3]:
        pending.settle(Result(b"x" * 100))
    store.sweep()
    assert [store.find(p.request_id, "me") is not None for p in kept] == [False, True, True, True]
    assert "no longer kept" in store.missing(kept[0].request_id).message


def test_a_full_disk_keeps_nothing_half_and_is_said_once(
    start_server: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite finds the disk full when its file may not grow."""
    server = start_server()
    connection = server.state.database._writer
    with server.http() as http, caplog.at_level(logging.ERROR):
        wire = Wire(http)
        wire.result(wire.create())
        session = {"tags": [], "sdk_version": "0.38.0"}
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        failed = None
        for number in range(1, 200):
            body = {"model_id": wire.model, "seq_id": number, "path": f"w{number}", "user_metadata": {"a": "b" * 500}}
            answer = wire.result(wire.post("save_weights", body))
            if "error" in answer:
                failed = number
                break
        assert failed is not None and "is full" in answer["error"] and "MiB are free" in answer["error"]
        refused = [http.post("/api/v1/create_session", json={"tags": [], "sdk_version": "0.38.0", "user_metadata": {
            "a": "b" * 4000}}) for _ in range(20)]  # fmt: skip
        assert refused[-1].status_code == 400 and "is full" in refused[-1].json()["detail"]
        assert "MiB free" in http.get("/").text
        connection.execute("PRAGMA max_page_count = 1000000")
        again = {**body, "seq_id": failed + 1}
        assert wire.result(wire.post("save_weights", again))["path"].endswith(f"/w{failed}")
        assert http.post("/api/v1/create_session", json={**session, "user_metadata": {}}).status_code == 200
    lines = [record for record in caplog.records if "is full" in record.getMessage()]
    assert len(lines) == 1 and all(record.exc_info is None for record in lines)


def test_space_is_asked_for_before_anything_is_written(start_server: Callable[..., Running]) -> None:
    server = start_server(limits={"free_disk_bytes": 1 << 60})
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        answer = wire.result(wire.post("save_weights", {"model_id": wire.model, "seq_id": 1, "path": "w"}))
        assert "is full" in answer["error"] and "limits.free_disk_bytes asks for" in answer["error"]
        assert http.get("/api/v1/checkpoints").json()["checkpoints"] == []
