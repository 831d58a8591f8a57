"""Order by sequence number, each request once, and no gap after an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zstandard
from tinker import types

from tests.support.datums import cross_entropy_datum, random_datums
from tests.support.running import Running
from tests.support.wire import Wire

DATA = random_datums(4, 600)


@pytest.fixture(scope="module")
def small(start_server: Callable[..., Running]) -> Running:
    """A server with small limits."""
    return start_server(
        limits={
            "gap_seconds": 0.3,
            "poll_seconds": 0.05,
            "request_bytes": 100_000,
            "queued_requests": 3,
            "inline_result_bytes": 0,
        }
    )


@pytest.fixture
def wire(small: Running) -> Iterator[Wire]:
    with small.http() as http:
        wire = Wire(http)
        assert wire.result(wire.create()) == {"type": "create_model", "model_id": wire.model}
        yield wire
        wire.post(f"sessions/{wire.session}/finish", {"reason": {"type": "success"}})


@pytest.fixture
def held(small: Running) -> Iterator[threading.Event]:
    """Keeps the device busy until the event is set."""
    begun, release = threading.Event(), threading.Event()
    small.state.scheduler.add_task(lambda: (begun.set(), release.wait(10)))
    assert begun.wait(5)
    yield release
    release.set()


def losses(wire: Wire, order: list[int]) -> list[float]:
    """Three steps of forward_backward and optim_step, numbers 1 to 6, sent in the given order."""
    sent = {}
    for seq in order:
        sent[seq] = wire.forward_backward(seq, DATA) if seq % 2 else wire.step(seq)
    return [wire.result(sent[seq]).metrics["loss:sum"] for seq in (1, 3, 5)]


def test_any_order_of_arrival_is_the_order_of_the_numbers(server: Running) -> None:
    ends = []
    for order in ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [2, 4, 6, 1, 5, 3]):
        with server.http() as http:
            wire = Wire(http)
            wire.result(wire.create())
            ends.append(losses(wire, order))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][2] < ends[0][0]


def test_a_request_sent_again_is_carried_out_once(wire: Wire) -> None:
    first = [wire.forward_backward(1, DATA) for _ in range(2)] + [wire.step(2)]
    before = wire.result(first[0]).metrics["loss:sum"]
    again = [wire.forward_backward(1, DATA), wire.step(2), wire.step(2), wire.create()]
    assert first[0].json() == first[1].json() == again[0].json()
    assert again[1].json() == again[2].json() == first[2].json()
    wire.result(wire.forward_backward(3, DATA))
    after = wire.result(wire.step(4))
    assert after["metrics"]["grad_norm:mean"] > 0
    assert wire.result(again[0]).metrics["loss:sum"] == before  # the kept result


@pytest.mark.parametrize("seq_id", [0, -1, None, "2", True, 2**63, 1.5])
def test_odd_numbers_are_refused_and_use_nothing_up(wire: Wire, seq_id: Any) -> None:
    refused = wire.step(seq_id)
    assert refused.status_code == 400 and "numbered from 1" in refused.json()["detail"]
    assert wire.result(wire.forward_backward(1, DATA)).metrics["loss:sum"] > 0


def test_a_number_that_never_comes_fails_those_after_it(small: Running, wire: Wire) -> None:
    waiting = [wire.forward_backward(3, DATA), wire.step(2**40)]
    assert wire.poll(waiting[0].json()["request_id"]).status_code == 408
    threading.Event().wait(0.4)
    small.state.tidy()
    assert "request 1, which never came" in wire.result(waiting[0])["error"]
    assert wire.result(waiting[1])["category"] == "user"


def _with_targets(targets: np.ndarray) -> types.Datum:
    return types.Datum(types.ModelInput.from_ints([1] * 8), {"target_tokens": types.TensorData.from_numpy(targets)})


def bad_datums() -> dict[str, list[types.Datum]]:
    ids = np.arange(9)
    weights = np.ones(8, dtype=np.float32)
    long = types.TensorData.from_numpy(np.ones(9, dtype=np.float32))
    mismatched = types.Datum(types.ModelInput.from_ints([1] * 8), {"target_tokens": np.arange(8), "weights": long})
    return {
        "of shape": [mismatched],
        "token id in model_input outside": [cross_entropy_datum(np.full(9, 600), weights)],
        "token id in target_tokens outside": [cross_entropy_datum(np.array([1] * 8 + [99_999_999]), weights)],
        "Datum 0 has target_tokens of type float32": [_with_targets(np.ones(8, np.float32))],
        "Datum 1 has a token id in target_tokens outside": [DATA[0], _with_targets(np.full(8, -100))],
        "Datum 0 has target_tokens of shape": [_with_targets(np.ones((8, 0), np.int64))],
        "not finite": [cross_entropy_datum(ids, weights * np.nan)],
        "600 tokens; the model takes": [cross_entropy_datum(np.ones(601), np.ones(600, dtype=np.float32))],
    }


@pytest.mark.parametrize(("message", "data"), bad_datums().items())
def test_bad_data_fail_by_their_future_and_leave_no_gap(service: Any, message: str, data: list[types.Datum]) -> None:
    import tinker

    client = service.create_lora_training_client("tiny", rank=2, seed=1).result()
    before = client.forward(DATA, "cross_entropy").result()
    with pytest.raises(tinker.RequestFailedError, match=message) as caught:
        client.forward_backward(data, "cross_entropy").result()
    assert caught.value.category == "user"
    with pytest.raises(tinker.RequestFailedError, match="no gradient has accumulated"):
        client.optim_step(types.AdamParams()).result()
    with pytest.raises(tinker.RequestFailedError, match=r"server\.stable_reinforce=reinforce_kl"):
        client.forward_backward(DATA, "stable_reinforce").result()
    assert client.forward(DATA, "cross_entropy").result().metrics == before.metrics


def malformed(wire: Wire) -> dict[str, Any]:
    """Messages that parse, with insides that do not fit."""
    odd, sparse, huge, image, dtype = (wire.message(k + 1, DATA[:1]) for k in range(5))
    odd.data[0].model_input[0].encoded_text.tokens = b"123"
    tensor = sparse.data[0].loss_fn_inputs["weights"]
    tensor.sparse_csr.values, tensor.sparse_csr.crow_indices, tensor.sparse_csr.col_indices = b"1234", b"", b"1" * 8
    tensor.shape[:] = [DATA[0].model_input.length, 3]
    huge.data[0].loss_fn_inputs["weights"].shape[:] = [2**31, 2**31]
    image.data[0].model_input[0].image.data = b"png"
    dtype.data[0].loss_fn_inputs["weights"].dtype = 4
    return {"whole number": odd, "is no sparse tensor": sparse, "cells": huge, "text": image, "int64": dtype}


def test_malformed_messages_fail_by_their_future(wire: Wire) -> None:
    for sentence, message in malformed(wire).items():
        answer = wire.result(wire.send(message.SerializeToString()))
        assert sentence in answer["error"] and answer["category"] == "user"
    assert wire.result(wire.forward_backward(6, DATA)).metrics["loss:sum"] > 0


def test_what_is_no_message_at_all_is_refused(wire: Wire) -> None:
    assert wire.send(b"\xff\xff\xff").status_code == 400
    assert wire.send(b"not zstd", Content_Encoding="zstd").status_code == 400
    assert wire.send(b"", Content_Encoding="br").status_code == 400
    assert wire.http.post("/api/v1/optim_step", content=b"{").status_code == 400
    assert wire.post("create_model", {"session_id": wire.session}).status_code == 422
    assert wire.result(wire.forward_backward(1, DATA)).metrics["loss:sum"] > 0


def test_zstd(wire: Wire) -> None:
    body = wire.message(1, DATA).SerializeToString()
    packed = zstandard.ZstdCompressor().compress(body)
    assert wire.result(wire.send(packed, Content_Encoding="zstd")).metrics["loss:sum"] > 0
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 10_000_000)
    assert wire.send(bomb, Content_Encoding="zstd").status_code == 400


def test_too_large_a_request_leaves_no_gap(small: Running, wire: Wire) -> None:
    large = [cross_entropy_datum(np.ones(501), np.ones(500, dtype=np.float32))] * 50
    refused = wire.result(wire.forward_backward(1, large))
    assert "Send smaller batches" in refused["error"]
    assert wire.result(wire.forward_backward(2, DATA)).metrics["loss:sum"] > 0


def test_a_full_queue_says_so_but_lets_in_what_the_others_wait_for(wire: Wire) -> None:
    waiting = {seq: wire.forward_backward(seq, DATA) for seq in (2, 3, 4)}
    refused = wire.forward_backward(5, DATA)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    wire.result(wire.forward_backward(1, DATA))
    assert all(wire.result(queued).metrics["loss:sum"] > 0 for queued in waiting.values())
    assert wire.result(wire.forward_backward(5, DATA)).metrics["loss:sum"] > 0


def test_pending_then_announced_then_there(wire: Wire, held: threading.Event) -> None:
    queued = wire.forward_backward(1, DATA).json()["request_id"]
    pending = wire.poll(queued)
    assert pending.status_code == 408
    assert pending.json() == {"type": "try_again", "request_id": queued, "queue_state": "active"}
    held.set()
    while (answer := wire.poll(queued, allow_metadata_only=True)).status_code == 408:
        pass
    assert answer.json()["status"] == "complete_metadata"
    assert len(wire.poll(queued).content) == answer.json()["response_payload_size"]


def test_unknown_and_earlier_requests(wire: Wire) -> None:
    assert "restarted" in wire.poll(f"0123/{wire.model}/1").json()["error"]
    assert wire.poll(f"0123/{wire.session}:sample:0/1").status_code == 410  # the SDK sends it again
    ours = wire.create().json()["request_id"].rpartition("/")[0]
    assert "There is no request" in wire.poll(f"{ours}/77").json()["error"]


def test_unknown_models_and_samplers(wire: Wire) -> None:
    wire.model = "nobody:train:0"
    assert wire.step(1).status_code == 404
    body = {"sampling_session_id": "nobody:sample:0", "seq_id": 0, "num_samples": 1, "prompt": {"chunks": []}}
    assert wire.post("asample", {**body, "sampling_params": {}}).status_code == 404
    assert wire.http.get("/api/v1/samplers/nobody").status_code == 404
    assert wire.post("session_heartbeat", {"session_id": "nobody"}).status_code == 410


@pytest.mark.parametrize(
    ("options", "sentence"), [({"base_model": "gpt-9"}, 'does not offer the model "gpt-9"'), ({"rank": 100_000}, "512")]
)
def test_models_that_cannot_be_made(wire: Wire, options: Any, sentence: str) -> None:
    answer = wire.result(wire.create(model_seq_id=1, **options))
    assert sentence in answer["error"] and answer["category"] == "user"
    wire.model = f"{wire.session}:train:1"
    assert "could not be created" in wire.result(wire.forward_backward(1, DATA))["error"]


def test_large_calls_arrive_in_chunks_the_first_one_last(server: Running, service: Any) -> None:
    arrivals: list[int] = []
    enqueue = server.state.enqueue
    server.state.enqueue = lambda queue, seq, *rest: arrivals.append(seq) or enqueue(queue, seq, *rest)
    try:
        client = service.create_lora_training_client("tiny", rank=2, seed=1).result()
        data = random_datums(2500, 600, longest=9)
        output = client.forward(data, "cross_entropy").result()
    finally:
        server.state.enqueue = enqueue
    # Those in the middle are sent at once, and may overtake each other.
    assert (arrivals[0], arrivals[-1]) == (0, 1) and sorted(arrivals) == [0, 1, 2, 3]
    assert [len(o["logprobs"].data) for o in output.loss_fn_outputs] == [d.model_input.length for d in data]
    weighted = [
        (d.loss_fn_inputs["weights"].to_numpy(), o["logprobs"].to_numpy())
        for d, o in zip(data, output.loss_fn_outputs, strict=True)
    ]
    assert output.metrics["loss:sum"] == pytest.approx(-sum(float(w @ lp) for w, lp in weighted), rel=1e-4)


def test_requests_of_other_types_keep_their_answers(wire: Wire) -> None:
    """Bad JSON fields after the number is known use it up as well."""
    bad = wire.post("optim_step", {"model_id": wire.model, "seq_id": 1, "adam_params": {"learning_rate": "fast"}})
    assert "learning_rate" in wire.result(bad)["error"]
    unknown = wire.post(
        "optim_step", {"model_id": wire.model, "seq_id": 2, "optimizer_params": {"type": "dimuon", "learning_rate": 1}}
    )
    assert "dimuon" in wire.result(unknown)["error"]
    nameless = wire.post("save_weights", {"model_id": wire.model, "seq_id": 3})
    assert "needs a name" in wire.result(nameless)["error"]
    assert wire.result(wire.forward_backward(4, DATA)).metrics["loss:sum"] > 0


def test_cancelled_requests_are_not_carried_out(small: Running, wire: Wire, held: threading.Event) -> None:
    sampler = wire.post(
        "create_sampling_session", {"session_id": wire.session, "sampling_session_seq_id": 0, "base_model": "tiny"}
    ).json()["sampling_session_id"]
    request = {
        "sampling_session_id": sampler,
        "seq_id": 0,
        "num_samples": 1,
        "prompt": {"chunks": [{"tokens": [1, 2], "type": "encoded_text"}]},
        "sampling_params": {"max_tokens": 3},
    }
    queued = wire.post("asample", request).json()
    assert queued["sample_sequence_ids"] == [f"{sampler}:0:0"]
    assert wire.post("asample", request).json() == queued
    assert wire.post("cancel_future", {"request_id": queued["request_id"]}).status_code == 204
    assert wire.poll(queued["request_id"]).json()["error"] == "The request was cancelled."
    before = small.state.metrics.tokens.labels("sampled")._value.get()
    held.set()
    other = wire.post("asample", {**request, "seq_id": 1}).json()["request_id"]
    while wire.poll(other).status_code == 408:
        pass
    assert small.state.metrics.tokens.labels("sampled")._value.get() <= before + 3
    batch = wire.post(
        "retrieve_futures", {"target": {"type": "sampling_session", "sampling_session_id": sampler}, "prev_cursor": 0}
    ).json()
    assert [c["state"] for c in batch["completions"]] == ["failed", "finished"]
    later = {"target": {"sampling_session_id": sampler}, "prev_cursor": batch["cursor"], "timeout": 0.01}
    assert wire.post("retrieve_futures", later).json() == {"completions": [], "cursor": batch["cursor"]}


def test_no_sdk_is_refused_for_its_version(wire: Wire) -> None:
    for version in ("0.30.0", "0.38.7", "0.39.1"):
        answer = wire.http.post("/api/v1/client/config", json={}, headers={"x-sdk-version": version})
        assert answer.status_code == 200
    # One that speaks otherwise hears what is read here.
    old = {"User-Agent": "AsyncTinker/Python 0.9.0"}
    answer = wire.http.post("/api/v1/forward_backward", json={"model_id": "x", "seq_id": 1}, headers=old)
    assert answer.status_code == 400
    assert "tinker 0.9.0 sends application/json: pip install 'tinker>=0.30'" in answer.json()["detail"]


def test_the_server_forgets_telemetry(server: Running) -> None:
    with server.http() as http:
        answer = http.post("/api/v1/telemetry", json={"events": [{"x-api-key": "tml-secret"}]})
    assert answer.json() == {"status": "accepted"}


def test_a_part_that_fails_takes_the_whole_call_with_it(wire: Wire) -> None:
    """Parts 1 to 3 of one call, and the step behind them, sent before any answer is looked at."""
    wire.result(wire.create())
    untouched = wire.result(wire.forward_backward(1, DATA, forward_only=True)).metrics["loss:sum"]
    bad = [types.Datum(model_input=DATA[0].model_input, loss_fn_inputs={})]
    sent = [wire.forward_backward(4, DATA), wire.step(5), wire.forward_backward(3, bad), wire.forward_backward(2, DATA)]
    rest, step, refused, first = (wire.result(answer) for answer in sent)
    assert first.metrics["loss:sum"] > 0 and "error" in refused
    for answer in (rest, step):
        assert f"Request 3 of {wire.model} failed" in answer["error"] and refused["error"] in answer["error"]
    assert wire.result(wire.forward_backward(6, DATA, forward_only=True)).metrics["loss:sum"] == untouched
    wire.result(wire.forward_backward(7, DATA))
    assert wire.result(wire.step(8))["metrics"]["grad_norm:mean"] > 0
    assert wire.result(wire.forward_backward(9, DATA, forward_only=True)).metrics["loss:sum"] < untouched


def test_a_mistake_that_was_read_can_be_corrected(wire: Wire) -> None:
    wire.result(wire.create())
    bad = [types.Datum(model_input=DATA[0].model_input, loss_fn_inputs={})]
    assert "error" in wire.result(wire.forward_backward(1, bad))
    wire.result(wire.forward_backward(2, DATA))
    assert wire.result(wire.step(3))["metrics"]["grad_norm:mean"] > 0
