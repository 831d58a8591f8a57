"""Bodies that no client should send, to every route that reads one: an answer of the protocol, never a fault."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.running import KEY, Running
from tests.support.wire import ADAM, Wire, prompt_of

NO_JSON: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"a": \xff}',
    b"9" * 5000,
]
ODD: list[Any] = [None, [], {}, "", "\ud800", -1, 2**31, 10**30, 1e308, float("nan"), True]
PROMPT = {"chunks": [{"tokens": [1, 2], "type": "encoded_text"}]}
SAMPLER, MODEL, SESSION = "sampler of this test", "model of this test", "session of this test"

BODIES: dict[str, Any] = {
    "/api/v1/create_session": {
        "tags": ["a"],
        "user_metadata": {"a": "b"},
        "sdk_version": "0.38.0",
        "display_name": "n",
    },
    "/api/v1/session_heartbeat": {"session_id": SESSION},
    "/api/v1/sessions/{session}/finish": {"reason": {"type": "success"}, "detail": None},
    "/api/v1/create_model": {
        "session_id": SESSION,
        "model_seq_id": 1,
        "base_model": "tiny",
        "user_metadata": {"a": "b"},
        "lora_config": {"rank": 2, "seed": 1, "train_mlp": True},
        "optimizer_config": {"type": "adamw"},
    },
    "/api/v1/load_weights": {
        "session_id": SESSION,
        "model_seq_id": 2,
        "path": "tinker://nobody:train:0/weights/x",
        "optimizer": True,
        "weights_access_token": "tml-somebody-else",
    },
    "/api/v1/get_info": {"model_id": MODEL},
    "/api/v1/optim_step": {"model_id": MODEL, "seq_id": 1, "adam_params": ADAM},
    "/api/v1/save_weights": {"model_id": MODEL, "seq_id": 1, "path": "w", "ttl_seconds": 3600, "user_metadata": {}},
    "/api/v1/save_weights_for_sampler": {
        "model_id": MODEL,
        "seq_id": 1,
        "path": "w",
        "sampling_session_seq_id": 7,
        "kind": "snapshot",
    },
    "/api/v1/save_weights_external": {
        "model_id": MODEL,
        "seq_id": 1,
        "path": "w",
        "age_encryption_recipients": ["age1"],
    },
    "/api/v1/create_sampling_session": {"session_id": SESSION, "sampling_session_seq_id": 3, "base_model": "tiny"},
    "/api/v1/join_sampling_session": {"sampling_session_id": SAMPLER},
    "/api/v1/asample": {
        "sampling_session_id": SAMPLER,
        "seq_id": 0,
        "num_samples": 1,
        "prompt": PROMPT,
        "sampling_params": {
            "max_tokens": 2,
            "temperature": 1.0,
            "top_k": 3,
            "top_p": 0.9,
            "seed": 1,
            "stop": ["a"],
        },
        "prompt_logprobs": True,
        "topk_prompt_logprobs": 1,
        "topk_sample_logprobs": 1,
        "prompt_alt_tokens_k": 1,
        "prompt_logprobs_last_n": 1,
        "target_prompt_logprobs": {"data": [5], "dtype": "int64", "shape": [1, 1]},
    },
    "/api/v1/cancel_future": {"request_id": "x"},
    "/api/v1/retrieve_future": {"request_id": "x", "allow_metadata_only": True},
    "/api/v1/retrieve_futures": {
        "target": {"type": "sampling_session", "sampling_session_id": SAMPLER, "cloned_sampler_id": 0},
        "prev_cursor": 0,
        "timeout": 0.0,
        "retrieved_request_ids": ["x"],
    },
    "/api/v1/checkpoints/search": {
        "user_metadata": {"a": "b"},
        "checkpoint_type": "training",
        "owner": {"type": "user", "owner_urns": ["nobody"]},
        "base_models": ["tiny"],
        "limit": 5,
        "cursor": {"last_created_at": "2026-11-29T00:00:00Z", "last_checkpoint_uuid": "x"},
    },
    "/api/v1/telemetry": {"events": []},
    "/api/v1/client/config": {"sdk_version": "0.38.0"},
    "/api/v1/client/dynamic_config": {"sdk_version": "0.38.0"},
    "/api/v1/weights_info": {"tinker_path": "tinker://nobody:train:0/weights/x"},
    "/api/v1/copy_weights": {"source_path": "tinker://nobody:train:0/weights/x", "ttl_seconds": 3600},
    "/api/v1/training_runs/{run}/checkpoints/{segment}/{name}/ttl": {"ttl_seconds": 3600},
    "/api/v1/training_runs/{run}/checkpoints/{segment}/{name}/publish": None,
    "/api/v1/forward_backward": None,  # protobuf: test_order.py
    "/v1/completions": {
        "model": "tiny",
        "prompt": "a",
        "max_tokens": 2,
        "temperature": 1.0,
        "top_p": 0.5,
        "n": 1,
        "stop": ["b"],
        "seed": 1,
        "stream": False,
        "logprobs": 1,
    },
    "/v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
}

ORDERED = ("optim_step", "save_weights", "save_weights_for_sampler", "save_weights_external")
PROMISING = {f"/api/v1/{name}" for name in (*ORDERED, "create_model", "load_weights", "asample")}


@pytest.fixture(scope="module")
def quick(start_server: Callable[..., Running]) -> Running:
    """A server that lets one user have many models, and nobody wait long."""
    return start_server(limits={"models_per_user": 10_000, "poll_seconds": 0.2})


@pytest.fixture(scope="module")
def wire(quick: Running) -> Iterator[Wire]:
    with quick.http() as http:
        yield Wire(http)


def test_every_route_that_reads_a_body_is_tried(quick: Running) -> None:
    routes = quick._web.config.app.router.routes  # type: ignore[attr-defined]
    paths = {path for path, methods in _leaves(routes) if methods & {"POST", "PUT"}}
    assert paths == set(BODIES)


def _leaves(routes: Any) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from _leaves(inner.routes)
        elif getattr(route, "methods", None):
            yield route.path, route.methods


def ask(wire: Wire, route: str, body: bytes) -> httpx.Response:
    path = route.format(session=wire.session, run=wire.model, segment="weights", name="w")
    method = "PUT" if route.endswith("/ttl") else "POST"
    return wire.http.request(method, path, content=body, headers={"Content-Type": "application/json"})


def check(answer: httpx.Response, sent: bytes) -> None:
    """Below 500; a refusal is a sentence."""
    assert answer.status_code < 500, (sent[:200], answer.text)
    if answer.status_code >= 400 and answer.status_code != 408:
        told = answer.json()
        sentence = told["error"]["message"] if "error" in told else told["detail"]
        assert isinstance(sentence, str) and sentence, (sent[:200], told)


@pytest.mark.parametrize("route", [route for route, body in BODIES.items() if body is not None])
def test_what_is_no_json_of_a_request(wire: Wire, route: str) -> None:
    for body in NO_JSON:
        check(ask(wire, route, body), body)


@pytest.mark.parametrize("route", [route for route, body in BODIES.items() if body is not None])
def test_values_of_other_kinds(quick: Running, wire: Wire, route: str) -> None:
    """Each field gets each odd value; what is accepted fails by its future as the user's mistake, or succeeds."""
    # A new session, since one of the routes finishes it.
    wire = Wire(wire.http)
    wire.result(wire.create())
    sampler = wire.post(
        "create_sampling_session", {"session_id": wire.session, "sampling_session_seq_id": 0, "base_model": "tiny"}
    ).json()["sampling_session_id"]
    names = {SESSION: wire.session, MODEL: wire.model, SAMPLER: sampler}
    original = _named(BODIES[route], names)
    for number, changed in enumerate(_variants(original), start=1):
        # Each is a new request, the next in order.
        for counter in ("seq_id", "model_seq_id"):
            if counter in original and changed[counter] == original[counter]:
                queue = quick.state.scheduler.model_queue(wire.model) if "model_id" in original else None
                changed[counter] = queue.next_seq if queue else number
        body = json.dumps(changed).encode()
        answer = ask(wire, route, body)
        check(answer, body)
        if answer.status_code == 200 and route in PROMISING and "request_id" in answer.json():
            quick.state.scheduler.give_up_gaps(0.0)
            told = _settled(wire, answer.json()["request_id"])
            assert told is None or told["category"] == "user", (body[:300], told)


def _settled(wire: Wire, request_id: str) -> Any:
    """What went wrong with a request, or None."""
    while (answer := wire.poll(request_id)).status_code == 408:
        pass
    told = answer.json() if answer.headers["content-type"] == "application/json" else {}
    return told if "error" in told else None


def _named(body: Any, names: dict[str, str]) -> Any:
    text = json.dumps(body)
    for name, value in names.items():
        text = text.replace(name, value)
    return json.loads(text)


def _variants(body: Any) -> Iterator[Any]:
    """The body with one value of it replaced, at every depth."""
    for path in _paths(body):
        for odd in ODD:
            changed = copy.deepcopy(body)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
            yield changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


@pytest.mark.parametrize("query", ["limit=many", "offset=1.5", "limit=-1", f"limit={10**30}", "offset=%ff"])
def test_odd_queries(wire: Wire, query: str) -> None:
    for route in ("training_runs", "checkpoints", "sessions"):
        check(wire.http.get(f"/api/v1/{route}?{query}"), query.encode())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"session_id": "a", "session_id": "b"}', 'the key "session_id" twice'),
        (b'{"session_id": NaN}', "NaN, which is not finite"),
        (b'{"session_id": [{"a": 1e999}]}', "1e999, which is not finite"),
        (b'{"session_id": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"session_id": "\xff"}', "not UTF-8"),
        (b'{"session_id": "a"', "no JSON"),
        (b" ", "empty"),
    ],
)
def test_what_does_not_read_in_one_way_is_refused(wire: Wire, body: bytes, sentence: str) -> None:
    for route in ("/api/v1/session_heartbeat", "/v1/completions", "/api/v1/asample", "/api/v1/create_model"):
        answer = ask(wire, route, body)
        told = answer.json()
        assert answer.status_code == 422
        assert sentence in (told["error"]["message"] if "error" in told else told["detail"])


def test_a_body_in_a_models_order_uses_its_number_up(wire: Wire) -> None:
    wire = Wire(wire.http)
    wire.result(wire.create())
    for number, more in enumerate((b', "seq_id": 1', b', "learning_rate": NaN', b', "adam_params": "x"'), start=1):
        body = b'{"model_id": "%s", "seq_id": %d%s}' % (wire.model.encode(), number, more)
        body = body.replace(b'"seq_id": 1, "seq_id": 1', b'"seq_id": 9, "seq_id": 1')
        told = wire.result(ask(wire, "/api/v1/optim_step", body))
        assert told["category"] == "user" and told["error"]
    assert "no gradient" in wire.result(wire.step(4))["error"]


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"Content-Type": "text/xml"}, "sent as text/xml; send JSON"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type: application/json"),
        ({"Content-Encoding": "gzip"}, 'Content-Encoding "gzip" is not spoken here'),
    ],
)
def test_a_body_that_its_headers_call_something_else(wire: Wire, headers: dict[str, str], sentence: str) -> None:
    for route in ("session_heartbeat", "asample", "optim_step", "load_weights"):
        answer = wire.http.post(f"/api/v1/{route}", content=b"{}", headers=headers)
        assert answer.status_code == 415 and sentence in answer.json()["detail"]
    answer = wire.http.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert answer.status_code == 415 and sentence in answer.json()["error"]["message"]


def test_values_have_the_types_of_their_fields(wire: Wire) -> None:
    """Nothing is turned into another type: "5" is no number, 1 is no truth, 2.0 is no whole number."""
    wire = Wire(wire.http)
    sampler, params = wire.sampler(), {"max_tokens": 2}
    for more in (
        {"num_samples": "1"},
        {"num_samples": 1.0},
        {"prompt_logprobs": "true"},
        {"prompt_logprobs": 1},
        {"sampling_params": {"temperature": "0.5"}},
        {"sampling_params": {"max_tokens": "2"}},
        {"prompt": prompt_of(["1"])},
    ):
        answer = wire.post("asample", {**BODIES["/api/v1/asample"], "sampling_session_id": sampler, **more})
        (field,) = more
        assert answer.status_code == 422 and answer.json()["detail"].startswith(field), more
    misspelt = wire.sample(sampler, [1], 1, 2, sampling_params={**params, "temprature": 0})
    assert misspelt.status_code == 422 and "temprature" in misspelt.json()["detail"]
    for field, value in {"max_tokens": "2", "n": 1.0, "temperature": "0", "stream": "true", "echo": 1}.items():
        answer = wire.http.post("/v1/completions", json={"model": "tiny", "prompt": "a", **params, field: value})
        assert answer.status_code == 422 and answer.json()["error"]["message"].startswith(field)
    wire.result(wire.create())
    answer = wire.post("optim_step", {"model_id": wire.model, "seq_id": 1, "adam_params": {**ADAM, "beta1": "0.9"}})
    assert "beta1" in wire.result(answer)["error"]
    path = f"/api/v1/training_runs/{wire.model}/checkpoints/weights/w/ttl"
    assert wire.http.put(path, json={"ttl": 3600}).status_code == 422


@pytest.mark.parametrize("number", [-1, 2**63])
def test_numbers_are_those_that_a_client_counts(wire: Wire, number: int) -> None:
    wire = Wire(wire.http)
    wire.result(wire.create())
    session = {"session_id": wire.session}
    for route, body in {
        "create_model": {**session, "model_seq_id": number, "base_model": "tiny"},
        "load_weights": {**session, "model_seq_id": number, "path": "tinker://a/weights/b", "optimizer": True},
        "create_sampling_session": {**session, "sampling_session_seq_id": number, "base_model": "tiny"},
        "asample": {**BODIES["/api/v1/asample"], "sampling_session_id": wire.sampler(), "seq_id": number},
    }.items():
        answer = wire.post(route, body)
        assert answer.status_code == 400 and f"seq_id is {number}" in answer.json()["detail"]
    unnamed = {"model_id": wire.model, "seq_id": 1, "sampling_session_seq_id": number}
    told = wire.result(wire.post("save_weights_for_sampler", unnamed))
    assert f"seq_id is {number}" in told["error"] and told["category"] == "user"


def test_ids_that_no_request_has(wire: Wire) -> None:
    for request_id in ("zzz", "", "a/b", "../x/1", "0123abcd/x/-1"):
        told = wire.poll(request_id).json()
        assert "no id of a request" in told["error"] and told["category"] == "user"


def test_who_leaves_in_the_middle_of_a_body_is_no_fault(quick: Running, caplog: pytest.LogCaptureFixture) -> None:
    host, port = quick.url.removeprefix("http://").split(":")
    head = "POST /api/v1/{} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nContent-Length: 100\r\n\r\n{{"
    for route in ("create_session", "asample", "forward_backward", "optim_step"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.format(route, host, KEY).encode())
    with quick.http() as http:
        for _ in range(10):
            assert http.get("/healthz").status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_many_faults_are_told_in_few_words(wire: Wire) -> None:
    answer = wire.post("asample", {**BODIES["/api/v1/asample"], "prompt": prompt_of(["a"] * 100_000)})
    assert answer.status_code == 422 and len(answer.text) < 1000 and "more" in answer.json()["detail"]


def bad_samples() -> dict[str, dict[str, Any]]:
    bad: dict[str, Any] = {f"num_samples is {n}": {"num_samples": n} for n in (0, -1)}
    params = {
        "top_k is -2": {"top_k": -2},
        "seed is -1": {"seed": -1},
        f"seed is {2**70}": {"seed": 2**70},
        "stop has the token id -1": {"stop": [-1]},
        "stop has the token id 600": {"stop": [5, 600]},
        "temperature is -1.0": {"temperature": -1},
        "max_tokens is 0": {"max_tokens": 0},
        "max_tokens is -3": {"max_tokens": -3},
        "top_p is 0": {"top_p": 0},
        "top_p is 1.5": {"top_p": 1.5},
    }
    bad |= {sentence: {"sampling_params": {"max_tokens": 2, **values}} for sentence, values in params.items()}
    prompts = {"prompt has 0 tokens": [], "outside 0..599": [600], "prompt has 512 tokens": [1] * 512}
    bad |= {sentence: {"prompt": prompt_of(tokens)} for sentence, tokens in prompts.items()}
    image = {"type": "image_asset_pointer", "location": "x", "format": "png"}
    bad["chunk of type image_asset_pointer"] = {"prompt": {"chunks": [image]}}
    targets = {"dtype": "int64", "data": [1], "sparse_crow_indices": [0, 1], "sparse_col_indices": [0]}
    bad["log-probabilities of alternatives"] = {"target_prompt_logprobs": {**targets, "shape": [1, 2**40]}}
    bad["ids at a place"] = {"target_prompt_logprobs": {**targets, "shape": [1, 2**20]}}
    bad["no sparse tensor"] = {"target_prompt_logprobs": {**targets, "sparse_col_indices": [9], "shape": [1, 2]}}
    return bad


@pytest.mark.parametrize(("sentence", "change"), bad_samples().items())
def test_a_sample_that_cannot_be_is_refused_at_the_door(wire: Wire, sentence: str, change: Any) -> None:
    wire = Wire(wire.http)
    asked = {"sampling_session_id": wire.sampler(), "seq_id": 0, "num_samples": 1, "sampling_params": {"max_tokens": 2}}
    answer = wire.post("asample", {**asked, "prompt": prompt_of([1, 2]), **change})
    assert answer.status_code in (400, 422) and sentence in answer.json()["detail"]
    # Its number is free.
    assert wire.answer(wire.sample(wire.sampler(), [1, 2], 1, 2))


def test_fields_of_several_types_say_what_they_must_be(wire: Wire) -> None:
    prompts: list[Any] = [["a", 5], [[1], "a"], [1.0], [True], {"a": 1}, [[[1]]], 3]
    stops: list[Any] = [[5], [None], 3, {"a": 1}]
    for field, values in {"prompt": prompts, "stop": stops}.items():
        for value in values:
            answer = wire.http.post("/v1/completions", json={"model": "tiny", "prompt": "a", field: value})
            assert answer.status_code == 422 and answer.json()["error"]["message"].startswith(
                f"{field}: must be a text"
            )


@pytest.mark.parametrize(
    "change", [{"prompt": [600]}, {"prompt": [-1]}, {"prompt": []}, {"seed": -1}, {"seed": 2**64}, {"max_tokens": 0}]
)
def test_the_openai_routes_have_the_same_bounds(wire: Wire, change: Any) -> None:
    body = {"model": "tiny", "prompt": "a", "max_tokens": 2, **change}
    for stream in (False, True):
        answer = wire.http.post("/v1/completions", json={**body, "stream": stream})
        assert answer.status_code in (400, 422) and answer.json()["error"]["message"]


def test_others_are_not_harmed(quick: Running) -> None:
    with quick.http() as http:
        wire = Wire(http)
        assert wire.result(wire.create())["model_id"] == wire.model
        answer = http.post("/v1/completions", json={"model": "tiny", "prompt": "a", "max_tokens": 2})
        assert answer.json()["usage"]["completion_tokens"] > 0
