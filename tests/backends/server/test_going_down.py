"""The real process under signals, while it is busy."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.datums import random_datums
from tests.support.running import start_process
from tests.support.wire import Wire

# On a machine that does nothing else it takes one or two.
SECONDS = 10


@pytest.fixture
def started(tiny_model: str, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Wire]]]:
    """Starts servers with a client each; they are gone at the end."""
    processes = []

    def start(*arguments: str) -> tuple[subprocess.Popen[bytes], Wire]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        processes.append(start_process(tiny_model, tmp_path / "data", port, *arguments))
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": "tml-test-key"}, timeout=30)
        return processes[-1], Wire(http)

    yield start
    for process in processes:
        process.kill()


def test_the_first_signal_is_heard_while_it_samples(started: Any) -> None:
    process, wire = started()
    wire.result(wire.create())
    sampler = {"session_id": wire.session, "sampling_session_seq_id": 0, "base_model": "tiny"}
    body = {
        "sampling_session_id": wire.post("create_sampling_session", sampler).json()["sampling_session_id"],
        "seq_id": 0,
        "num_samples": 1024,
        "prompt": {"chunks": [{"tokens": [1, 2], "type": "encoded_text"}]},
        "sampling_params": {"max_tokens": 2000, "stop": []},
    }
    sampling = wire.post("asample", body).json()["request_id"]
    time.sleep(1)
    waiting = wire.forward_backward(1, random_datums(4, 600)).json()["request_id"]
    end_within(process, signal.SIGTERM, SECONDS, wire, [(sampling, 503), (waiting, 200)])


def test_the_first_signal_is_heard_while_it_trains(started: Any) -> None:
    process, wire = started()
    wire.result(wire.create())
    running = wire.forward_backward(1, random_datums(3_000, 600, longest=200)).json()["request_id"]
    time.sleep(1)
    end_within(process, signal.SIGINT, SECONDS, wire, [(running, 200)])


@pytest.mark.slow
def test_the_first_signal_is_heard_amid_a_step(started: Any) -> None:
    """A micro-batch that takes long is not waited for: who asked for it hears that the server goes down."""
    process, wire = started("local.micro_batch_tokens=400000")
    wire.result(wire.create())
    running = wire.forward_backward(1, random_datums(2_000, 600, longest=200)).json()["request_id"]
    waiting = wire.step(2).json()["request_id"]
    time.sleep(1)
    end_within(process, signal.SIGTERM, SECONDS, wire, [(running, 200), (waiting, 200)])


@pytest.mark.slow
def test_what_was_saved_is_whole_and_what_was_not_is_not_there(started: Any) -> None:
    process, wire = started()
    wire.result(wire.create())
    sent = [
        wire.post("save_weights", {"model_id": wire.model, "seq_id": seq_id, "path": f"saved-{seq_id}"})
        for seq_id in range(1, 60)
    ]
    wire.result(sent[0])
    process.send_signal(signal.SIGTERM)
    saved = set()
    for queued in sent:
        try:
            answer = wire.poll(queued.json()["request_id"]).json()
        except httpx.HTTPError:
            break
        assert "path" in answer or "The server is going down" in answer["error"]
        if "path" in answer:
            saved.add(answer["path"])
    process.wait(SECONDS)
    _, again = started()
    listed = {entry["tinker_path"] for entry in again.http.get("/api/v1/checkpoints?limit=100").json()["checkpoints"]}
    assert saved <= listed
    for number, path in enumerate(sorted(listed)):
        body = {"session_id": again.session, "model_seq_id": number, "path": path, "optimizer": True}
        assert again.result(again.post("load_weights", body))["path"] == path


def end_within(process: Any, sign: int, seconds: float, wire: Wire, polls: list[tuple[str, int]]) -> None:
    """Send the signal while answers are waited for; each is a sentence, and the process is gone in time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(wire.poll, request_id) for request_id, _ in polls]
        time.sleep(0.5)
        assert not any(answer.done() for answer in answers)
        begun = time.monotonic()
        process.send_signal(sign)
        process.wait(seconds)
        assert time.monotonic() - begun < seconds
        for answer, (_, status) in zip(answers, polls, strict=True):
            assert answer.result().status_code == status
            assert "The server is going down" in answer.result().text


def test_the_second_signal_ends_it_at_once(started: Any) -> None:
    process, wire = started()
    wire.result(wire.create())
    wire.forward_backward(1, random_datums(3_000, 600, longest=200))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(1)
