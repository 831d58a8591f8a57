"""What one request may cost: counted before anything is built, refused with a sentence, and harmless to others."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from tinker import types

from backends.server import wire as codec
from backends.server.scheduler import Busy
from tests.support.datums import random_datums
from tests.support.running import KEY, Running
from tests.support.wire import Wire

DATA = random_datums(4, 600)
REPOSITORY = Path(__file__).resolve().parents[3]
PROMPT = {"chunks": [{"tokens": [1, 2, 3], "type": "encoded_text"}]}


@pytest.fixture
def wire(server: Running) -> Iterator[Wire]:
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        yield wire


def test_datums_are_counted_before_they_are_built(server: Running, wire: Wire) -> None:
    """Their number is used up, unless it cannot be seen: in a compressed request."""
    most = server.settings.limits.datums_per_request
    body = wire.message(1, []).SerializeToString() + b"\x1a\x00" * 2_000_000
    compressed = wire.send(zstandard.ZstdCompressor().compress(body), Content_Encoding="zstd")
    assert compressed.status_code == 400 and f"more than {most} datums" in compressed.text
    answer = wire.result(wire.send(body))
    assert f"more than {most} datums" in answer["error"] and answer["category"] == "user"
    assert wire.result(wire.forward_backward(2, DATA)).metrics["loss:sum"] > 0


def test_any_number_of_real_datums_up_to_the_limit_is_let_in() -> None:
    message = codec.ForwardBackwardMessage()
    inputs: Any = {"target_tokens": np.arange(3), "weights": np.ones(3, dtype=np.float32)}
    datum = types.Datum(model_input=types.ModelInput.from_ints([1, 2, 3]), loss_fn_inputs=inputs)
    wire = Wire.__new__(Wire)
    wire.model = "m"
    body = wire.message(1, [datum] * 100).SerializeToString()
    codec.check_count(body, 100)
    with pytest.raises(ValueError, match="more than 10 datums"):
        codec.check_count(body, 10)
    codec.check_count(b"\xff" * 50, 1)
    message.ParseFromString(body)
    codec.check_size(message, tokens=300, cells=600)
    with pytest.raises(ValueError, match="300 input tokens; this server takes 299"):
        codec.check_size(message, tokens=299, cells=600)
    with pytest.raises(ValueError, match="600 cells in all; this server takes 599"):
        codec.check_size(message, tokens=300, cells=599)


def test_sparse_tensors_count_as_the_dense_ones_that_they_become(wire: Wire) -> None:
    message = wire.message(1, [])
    for _ in range(4):
        tensor = message.data.add().loss_fn_inputs["weights"]
        tensor.dtype = codec.wire.DTYPE_FLOAT32
        tensor.shape.extend([4, 1 << 22])
        tensor.sparse_csr.crow_indices = np.zeros(5, dtype="<i8").tobytes()
    answer = wire.result(wire.send(message.SerializeToString()))
    assert "cells in all" in answer["error"] and answer["category"] == "user"


def test_alternatives_are_counted_as_a_product(wire: Wire) -> None:
    body = {"session_id": wire.session, "sampling_session_seq_id": 0, "base_model": "tiny"}
    sampler = wire.post("create_sampling_session", body).json()["sampling_session_id"]
    request = {"sampling_session_id": sampler, "seq_id": 0, "num_samples": 8, "prompt": PROMPT}
    params = {"max_tokens": 500, "temperature": 1.0}
    answer = wire.post("asample", {**request, "sampling_params": params, "topk_sample_logprobs": 50_000})
    assert answer.status_code == 400 and "log-probabilities of alternatives" in answer.text
    stops = wire.post("asample", {**request, "sampling_params": {**params, "stop": [f"{n}" for n in range(129)]}})
    assert stops.status_code == 400 and "129 stops in one request; this server takes 128" in stops.text
    first = wire.post("asample", {**request, "sampling_params": {"max_tokens": 2}})
    assert first.status_code == 200
    again = wire.post("asample", {**request, "sampling_params": {"max_tokens": 2}, "num_samples": 40_000_000})
    assert again.status_code == 400 and "40000000 samples in one request" in again.text


def test_bytes_that_wait_are_counted_as_they_are_in_memory(start_server: Callable[..., Running]) -> None:
    """A compressed request counts decompressed, in all and for its user."""
    narrow = start_server(limits={"queued_bytes_per_user": 200_000})
    with narrow.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        body = wire.message(3, random_datums(400, 600)).SerializeToString()
        assert 100_000 < len(body) < 200_000 and len(zstandard.ZstdCompressor().compress(body)) < 66_000
        sent = [send_compressed(wire, seq_id, 400) for seq_id in (3, 4, 5, 6)]
        assert [answer.status_code for answer in sent] == [200, 429, 429, 429]
        assert "bytes of your requests are waiting" in sent[-1].text


def test_bytes_that_arrive_are_counted_before_a_request_is_whole(start_server: Callable[..., Running]) -> None:
    narrow = start_server(limits={"queued_bytes": 300_000})
    # It says that it has started a moment before it takes connections.
    time.sleep(1)
    host, port = narrow.url.removeprefix("http://").split(":")
    headers = [
        "POST /api/v1/forward_backward HTTP/1.1",
        "Host: localhost",
        f"X-API-Key: {KEY}",
        "Content-Length: 250000",
    ]
    head = "\r\n".join(headers) + "\r\n\r\n"
    with ExitStack() as stack:
        halves = [stack.enter_context(socket.create_connection((host, int(port)), timeout=10)) for _ in range(2)]
        for half in halves:
            half.sendall(head.encode() + b"x" * 200_000)
        answers = select.select(halves, [], [], 10)[0]
        assert len(answers) == 1 and answers[0].recv(20).startswith(b"HTTP/1.1 429")
    deadline = time.monotonic() + 10
    while narrow.state.arriving.total() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert narrow.state.arriving.total() == 0


def send_compressed(wire: Wire, seq_id: int, datums: int) -> Any:
    body = wire.message(seq_id, random_datums(datums, 600)).SerializeToString()
    return wire.send(zstandard.ZstdCompressor().compress(body), Content_Encoding="zstd")


def test_a_container_with_a_key_is_healthy(start_server: Callable[..., Running]) -> None:
    keyed = start_server(keys=(KEY,))
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    server_image = dockerfile[dockerfile.index("AS server") :]
    found = re.search(r"http://127\.0\.0\.1:8000(/\S*?)'", server_image)
    with keyed.http(None) as http:
        assert found and http.get(found[1]).status_code == 200


def test_health_says_what_is_wrong(start_server: Callable[..., Running]) -> None:
    ending = start_server()
    with ending.http(None) as http:
        assert http.get("/healthz").status_code == 200
        ending.state.stop()
        answer = http.get("/healthz")
        assert answer.status_code == 503 and "going down" in answer.json()["detail"]
        with pytest.raises(Busy, match="going down"):
            ending.state.scheduler.add_ordered(*refused(ending))


def refused(server: Running) -> Any:
    from backends.server.queues import Job, ModelQueue

    queue = server.state.scheduler.open_model_queue(ModelQueue("m", "me", lambda jobs: None))
    return queue, 0, Job(server.state.futures.add("m", 0, "me")[0], None)
