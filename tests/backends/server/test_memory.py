"""The real process under a limit of its address space, with requests that ask for more memory than there is."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard

from backends.server import wire as codec
from tests.support.datums import random_datums
from tests.support.running import KEY, OTHER_KEY, start_process
from tests.support.wire import Wire, program

# The process takes more than 1 GiB of addresses before the first request.
ADDRESS_SPACE = 4 << 30
LIMITS = ("limits.request_bytes=67108864", "limits.queued_bytes=402653184", "limits.queued_bytes_per_user=134217728")
LARGE = 64_000_000


@pytest.fixture(scope="module")
def address(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of two users."""
    directory = tmp_path_factory.mktemp("memory")
    (directory / "keys").write_text(f"{KEY}\n{OTHER_KEY}\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = ("--api-key-file", str(directory / "keys"), *LIMITS)
    process = start_process(tiny_model, directory / "data", port, *more, address_space=ADDRESS_SPACE)
    yield process, f"http://127.0.0.1:{port}"
    process.kill()


def client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=120)


@pytest.fixture(scope="module")
def undisturbed(address: tuple[Any, str]) -> list[bytes]:
    """What the other user's program gets when nobody else asks for anything."""
    with client(address[1], OTHER_KEY) as http:
        return program(Wire(http), 20)


@pytest.fixture
def hostile(address: tuple[subprocess.Popen[bytes], str], undisturbed: list[bytes]) -> Iterator[Wire]:
    """A user whose requests are sent while another one's program runs, whose results stay what they were."""
    process, url = address
    seen: list[list[bytes]] = []

    def work() -> None:
        with client(url, OTHER_KEY) as http:
            seen.append(program(Wire(http), 20))

    other = threading.Thread(target=work)
    with client(url, KEY) as http:
        wire = Wire(http)
        wire.result(wire.create())
        other.start()
        yield wire
        other.join(300)
        http.post(f"/api/v1/sessions/{wire.session}/finish", json={})
    assert seen == [undisturbed]
    assert process.poll() is None


@pytest.mark.parametrize("count", [2_000_000, 20_000_000])
@pytest.mark.parametrize("compressed", [False, True])
def test_empty_datums(hostile: Wire, count: int, compressed: bool) -> None:
    body = hostile.message(1, []).SerializeToString() + b"\x1a\x00" * count
    sent = (
        hostile.send(zstandard.ZstdCompressor().compress(body), Content_Encoding="zstd")
        if compressed
        else hostile.send(body)
    )
    text = sent.text if compressed else hostile.result(sent)["error"]
    assert "more than 8192 datums" in text


def test_sparse_tensors_of_many_cells(hostile: Wire) -> None:
    message = hostile.message(1, [])
    for _ in range(4):
        tensor = message.data.add().loss_fn_inputs["weights"]
        tensor.dtype = codec.wire.DTYPE_FLOAT32
        tensor.shape.extend([4, 1 << 22])
        tensor.sparse_csr.crow_indices = np.zeros(5, dtype="<i8").tobytes()
    assert "cells in all" in hostile.result(hostile.send(message.SerializeToString()))["error"]


def test_every_alternative_of_every_token(hostile: Wire) -> None:
    """What is within the limit is answered; what is beyond is refused."""
    sampler = hostile.sampler()
    assert hostile.sample(sampler, [1, 2], 8, 500, topk_sample_logprobs=50_000).status_code == 400
    assert len(hostile.answer(hostile.sample(sampler, [1, 2], 8, 500, topk_sample_logprobs=600))) > 8 * 500 * 600 * 8


def test_a_number_again_with_many_more_samples(hostile: Wire) -> None:
    sampler = hostile.sampler()
    hostile.answer(hostile.sample(sampler, [1, 2], 1, 2))
    again = hostile.sample(sampler, [1, 2], 40_000_000, 2)
    assert again.status_code == 400 and len(again.content) < 1000


@pytest.mark.slow
def test_large_bodies_that_wait(hostile: Wire) -> None:
    """Of thirty compressed bodies, each for a number whose turn never comes, as many wait as the limit lets."""
    statuses = []
    for seq_id in range(100, 130):
        message = hostile.message(seq_id, random_datums(1, 600))
        message.data[0].loss_fn_inputs["weights"].dense = bytes(LARGE)
        body = zstandard.ZstdCompressor().compress(message.SerializeToString())
        assert len(body) < LARGE / 1000
        statuses.append(hostile.send(body, Content_Encoding="zstd").status_code)
    assert statuses == [200, 200] + [429] * 28


def test_large_bodies_that_arrive_at_once(hostile: Wire) -> None:
    """Not one byte of what is refused for its size in all is kept."""
    message = hostile.message(100, random_datums(1, 600))
    message.data[0].loss_fn_inputs["weights"].dense = bytes(LARGE)
    body = message.SerializeToString()
    statuses: list[int] = []

    def send() -> None:
        statuses.append(hostile.send(body).status_code)

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(300)
    assert set(statuses) <= {200, 429} and 200 in statuses


@pytest.mark.parametrize(
    "prompt",
    [
        "[" * 4_000_000,
        json.dumps([1] * 2_000_000),
        json.dumps(["a"] * 1_000_000),
        json.dumps("SELECT 1; " * 700_000),
    ],
    ids=["nested", "tokens", "texts", "text"],
)
def test_prompts(hostile: Wire, prompt: str) -> None:
    body = '{"model": "tiny", "max_tokens": 1, "prompt": ' + prompt + "}"
    answer = hostile.http.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text[:300]


def test_long_sequences_of_many_samples(hostile: Wire) -> None:
    """Nobody waits for the answers: what must stay is the server."""
    sampler = hostile.sampler()
    for seq_id in range(20):
        assert hostile.sample(sampler, [1, 2], 1024, 2000, seq_id=seq_id).status_code == 200
