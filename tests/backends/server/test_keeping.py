"""Checkpoints, their owners and their end; restarts; what is kept of models that are not in use."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tinker
import torch
from tinker import types
from tinker.lib.internal_client_holder import InternalClientHolder

import backends.server as server_package
from backends.checkpoint_paths import CheckpointPath
from backends.interface import BackendError
from tests.support.datums import random_datums
from tests.support.running import KEY, OTHER_KEY, Running

DATA = random_datums(4, 600)
GREEDY = types.SamplingParams(max_tokens=6, temperature=0)
PROMPT = types.ModelInput.from_ints([5, 6, 7])
ADAM = types.AdamParams(learning_rate=3e-2)


@pytest.fixture(scope="module")
def keyed(start_server: Callable[..., Running]) -> Running:
    """A server with two users."""
    return start_server(keys=(KEY, OTHER_KEY), limits={"resident_models": 2, "snapshots_per_session": 2})


@pytest.fixture
def users(keyed: Running) -> Iterator[tuple[Any, Any]]:
    clients = keyed.client(KEY), keyed.client(OTHER_KEY)
    yield clients
    for client in clients:
        client.close("success").result()


def trained(service: Any, steps: int = 1, seed: int = 1) -> Any:
    client = service.create_lora_training_client("tiny", rank=2, seed=seed).result()
    for _ in range(steps):
        client.forward_backward(DATA, "cross_entropy")
        client.optim_step(ADAM).result()
    return client


def greedy(sampler: Any) -> list[int]:
    return sampler.sample(PROMPT, 1, GREEDY).result().sequences[0].tokens


def test_keys(keyed: Running) -> None:
    with keyed.http(None) as nobody, keyed.http("tml-wrong-key-here") as wrong:
        for http in (nobody, wrong):
            for route in ("/api/v1/healthz", "/api/v1/training_runs", "/metrics", "/", "/v1/models"):
                assert http.get(route).status_code == 401, route
        assert nobody.get("/healthz").json() == {"status": "ok"}
        assert nobody.get("/", auth=("anyone", KEY)).status_code == 200
        assert nobody.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    with pytest.raises(tinker.AuthenticationError, match="missing or wrong"):
        keyed.client("tml-wrong-key-here").create_lora_training_client("tiny").result()


def test_users_have_namespaces_of_their_own(keyed: Running, users: tuple[Any, Any]) -> None:
    ours, theirs = users
    client = trained(ours)
    path = client.save_state("secret").result().path
    rest, other = (
        tinker.RestClient(base_url=keyed.url, api_key=KEY),
        tinker.RestClient(base_url=keyed.url, api_key=OTHER_KEY),
    )
    assert path in [c.tinker_path for c in rest.list_user_checkpoints().result().checkpoints]
    assert path not in [c.tinker_path for c in other.list_user_checkpoints().result().checkpoints]
    for attempt in (
        lambda: theirs.create_training_client_from_state(path).result(),
        lambda: theirs.create_sampling_client(model_path=path).result(),
        lambda: other.get_training_run(client.model_id).result(),
        lambda: other.delete_checkpoint_from_tinker_path(path).result(),
        lambda: other.get_weights_info_by_tinker_path(path).result(),
    ):
        with pytest.raises(tinker.TinkerError, match="There is no"):
            attempt()
    with keyed.http(OTHER_KEY) as http:
        step = {"model_id": client.model_id, "seq_id": 9, "adam_params": {}}
        assert http.post("/api/v1/optim_step", json=step).status_code == 404
        assert http.post("/api/v1/session_heartbeat", json={"session_id": client.model_id[:36]}).status_code == 410
    loaded = theirs.create_training_client_from_state(path, weights_access_token=KEY).result()
    assert loaded.get_info().lora_rank == 2
    rest.publish_checkpoint_from_tinker_path(path).result()
    # Which number it has depends on how many requests the SDK makes of it.
    assert re.search(r":train:\d$", theirs.create_training_client_from_state(path).result().model_id)
    copied = other.copy_weights(path, destination_project_id="mine").result()
    rest.unpublish_checkpoint_from_tinker_path(path).result()
    rest.delete_checkpoint_from_tinker_path(path).result()
    again = theirs.create_training_client_from_state_with_optimizer(copied).result()
    sums = [c.forward(DATA, "cross_entropy").result().metrics["loss:sum"] for c in (client, again)]
    assert sums[0] == sums[1]
    # Of which kind the error is depends on which request of the SDK meets it.
    with pytest.raises(tinker.TinkerError, match="There is no checkpoint"):
        ours.create_training_client_from_state(path).result()


def test_publishing_twice_is_publishing(keyed: Running, users: tuple[Any, Any]) -> None:
    path = trained(users[0]).save_state("shown").result().path
    route = (
        path.replace("tinker://", "/api/v1/training_runs/").replace("/weights/", "/checkpoints/weights/") + "/publish"
    )
    with keyed.http(KEY) as http:
        assert [http.post(route).status_code for _ in range(2)] == [204, 204]
        assert [http.delete(route).status_code for _ in range(2)] == [204, 204]


def test_one_copy_asked_for_many_times_at_once(keyed: Running, users: tuple[Any, Any]) -> None:
    path = trained(users[0]).save_state("source").result().path
    for turn in range(3):
        headers = {"X-Idempotency-Key": f"copy-{turn}"}
        with keyed.http(KEY) as http, ThreadPoolExecutor(8) as threads:
            body = {"source_path": path}
            calls = [threads.submit(http.post, "/api/v1/copy_weights", json=body, headers=headers) for _ in range(8)]
            answers = [call.result() for call in calls]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["tinker_path"] for answer in answers}) == 1


def test_statuses_that_the_sdk_repeats_are_those_that_repeating_helps() -> None:
    package = Path(server_package.__file__).parent
    statuses = {int(n) for file in package.rglob("*.py") for n in re.findall(r"ApiError\(\s*(\d+)", file.read_text())}
    repeated = {status for status in statuses if InternalClientHolder._is_retryable_status_code(status)}
    assert {401, 404, 410} <= statuses and repeated == {429, 500, 503}


def test_weights_that_are_no_numbers_are_neither_saved_nor_sampled_from(users: tuple[Any, Any]) -> None:
    client = trained(users[0], steps=2)
    before = client.save_state("before").result().path
    client.forward_backward(DATA, "cross_entropy")
    client.optim_step(types.AdamParams(learning_rate=1e30)).result()
    for attempt in (
        lambda: client.save_state("after"),
        lambda: client.save_weights_for_sampler("after"),
        lambda: client.save_weights_and_get_sampling_client(),
    ):
        with pytest.raises(tinker.RequestFailedError, match="not finite since optimiser step 3"):
            attempt().result()
    again = users[0].create_training_client_from_state_with_optimizer(before).result()
    assert again.save_state("again").result().path.endswith("/weights/again")


def test_listing_and_time_to_live(keyed: Running, users: tuple[Any, Any]) -> None:
    client = trained(users[0])
    rest = tinker.RestClient(base_url=keyed.url, api_key=KEY)
    paths = [client.save_state(name, ttl_seconds=3600, user_metadata={"k": name}).result().path for name in "ab"]
    client.save_weights_and_get_sampling_client().result()
    listed = rest.list_checkpoints(client.model_id).result().checkpoints
    assert [c.tinker_path for c in listed] == paths[::-1]  # the snapshot is not listed
    assert listed[0].user_metadata == {"k": "b"} and listed[0].expires_at is not None and listed[0].size_bytes > 0
    for place in ("checkpoints", f"training_runs/{client.model_id}/checkpoints"):
        answer = httpx.get(f"{keyed.url}/api/v1/{place}", headers={"X-API-Key": KEY}).json()["checkpoints"]
        assert {entry["base_model"] for entry in answer} == {"tiny"}
    rest.set_checkpoint_ttl_from_tinker_path(paths[0], None).result()
    run = rest.get_training_run(client.model_id).result()
    assert run.last_checkpoint.tinker_path == paths[1] and run.lora_rank == 2 and run.base_model == "tiny"
    keyed.state.checkpoints.change(paths[1], expires=1.0)
    keyed.state.tidy()
    assert [c.tinker_path for c in rest.list_checkpoints(client.model_id).result().checkpoints] == paths[:1]
    client.forward(DATA, "cross_entropy").result()  # tasks come before
    assert not keyed.state.residency.files(paths[1]).exists()
    assert rest.get_weights_info_by_tinker_path(paths[0]).result().train_mlp is True
    session = client.model_id.partition(":")[0]
    assert rest.get_session(session).result().training_run_ids == [client.model_id]
    assert session in rest.list_sessions().result().sessions
    assert client.model_id in [r.training_run_id for r in rest.list_training_runs(limit=1).result().training_runs]
    with pytest.raises(tinker.RequestFailedError, match="exists"):
        client.save_state("a").result()
    assert client.save_state("a", overwrite=True).result().path == paths[0]
    with pytest.raises(tinker.RequestFailedError, match="an hour"):
        client.save_state("c", ttl_seconds=5).result()


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "a/b", "..", ".hidden", "x" * 300, "a\0b"])
def test_names_stay_in_the_directory(keyed: Running, users: tuple[Any, Any], name: str) -> None:
    client = trained(users[0], steps=0)
    with pytest.raises(tinker.RequestFailedError) as caught:
        client.save_state(name).result()
    assert caught.value.category == "user"
    with pytest.raises(tinker.TinkerError):
        users[0].create_sampling_client(model_path=f"tinker://{client.model_id}/sampler_weights/{name}").result()
    assert not (keyed.settings.data.parent / "escape").exists()


def test_snapshots_keep_their_weights(users: tuple[Any, Any]) -> None:
    client = trained(users[0])
    first = client.save_weights_and_get_sampling_client().result()
    before = first.compute_logprobs(PROMPT).result()
    _train_on(client)
    client.save_weights_and_get_sampling_client().result()
    assert first.compute_logprobs(PROMPT).result() == before
    clone = pickle.loads(pickle.dumps(first))
    assert clone.compute_logprobs(PROMPT).result() == before
    # The clone has its own heartbeat.
    clone.holder.close()
    client.save_weights_and_get_sampling_client().result()
    with pytest.raises((tinker.RequestFailedError, tinker.APIStatusError), match=r"no checkpoint|dropped"):
        first.compute_logprobs(PROMPT).result()


def test_an_inflight_sampler_moves_on_to_the_newest_weights(users: tuple[Any, Any]) -> None:
    client = trained(users[0])
    if "kind" not in signature(client.save_weights_and_get_sampling_client).parameters:
        pytest.skip("this SDK asks for snapshots alone")
    inflight = client.save_weights_and_get_sampling_client(kind="inflight").result()
    before = inflight.compute_logprobs(PROMPT).result()
    _train_on(client)
    assert inflight.compute_logprobs(PROMPT).result() == before
    client.save_weights_and_get_sampling_client(kind="inflight").result()
    assert inflight.compute_logprobs(PROMPT).result() != before


def _train_on(client: Any) -> None:
    for _ in range(3):
        client.forward_backward(DATA, "cross_entropy")
        client.optim_step(ADAM).result()


def test_models_off_the_device_go_on_as_if_nothing_had_been(users: tuple[Any, Any]) -> None:
    """Four models take turns where two have room, one of them between gradient and step."""
    alone = [trained(users[0], steps=2, seed=seed).save_weights_and_get_sampling_client().result() for seed in (1,)]
    expected = alone[0].compute_logprobs(PROMPT).result()
    clients = [users[0].create_lora_training_client("tiny", rank=2, seed=1).result() for _ in range(4)]
    for _ in range(2):
        for client in clients:
            client.forward_backward(DATA, "cross_entropy").result()
        for client in clients:
            client.optim_step(ADAM).result()
    for client in clients:
        sampler = client.save_weights_and_get_sampling_client().result()
        assert sampler.compute_logprobs(PROMPT).result() == expected


def test_external_weights_load_in_peft(keyed: Running, users: tuple[Any, Any], tiny_model: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    client = trained(users[0], steps=2)
    path = client.save_weights_external("out").result().path
    rest = tinker.RestClient(base_url=keyed.url, api_key=KEY)
    links = rest.get_external_weights_urls(path).result()
    for name, url in links.urls.items():
        with urllib.request.urlopen(url) as answer:  # without a key
            (tmp_path / name).write_bytes(answer.read())
    assert sorted(links.urls) == ["adapter_config.json", "adapter_model.safetensors"]
    to_sample = client.save_weights_for_sampler("out").result().path
    paths = [CheckpointPath.parse(path) for path in (to_sample, client.save_state("out").result().path)]
    places = [f"/api/v1/training_runs/{at.run}/checkpoints/{at.checkpoint_id}/external_weights_urls" for at in paths]
    with keyed.http() as http:
        found, refused = map(http.get, places)
    assert refused.status_code == 400 and "has no files to download" in refused.text
    for name, url in found.json()["urls"].items():
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == (tmp_path / name).read_bytes()
    with keyed.http() as http:
        archive = http.get(places[0].replace("external_weights_urls", "archive")).json()
    # As SDKs before 0.36 ask.
    with urllib.request.urlopen(archive["url"]) as answer, tarfile.open(fileobj=io.BytesIO(answer.read())) as packed:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            member = packed.extractfile(name)
            assert member is not None and member.read() == (tmp_path / name).read_bytes()
    # Whoever has it knows the model by its name, and not by where this server has it.
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    with keyed.http(None) as http:
        url = links.urls["adapter_model.safetensors"]
        assert http.get(url.replace("token=", "token=1")).status_code == 403
        assert http.get(url.replace("adapter_model.safetensors", "checkpoint.json", 1)).status_code == 403
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # untied, as it was trained
    tuned = PeftModel.from_pretrained(model, str(tmp_path)).eval()
    ids = torch.tensor([PROMPT.to_ints()])
    with torch.no_grad():
        logprobs = torch.log_softmax(tuned(ids).logits[0], -1)
    expected = [float(logprobs[i, token]) for i, token in enumerate(PROMPT.to_ints()[1:])]
    sampler = client.save_weights_and_get_sampling_client().result()
    np.testing.assert_allclose(sampler.compute_logprobs(PROMPT).result()[1:], expected, atol=1e-5)


def test_external_weights_are_encrypted_if_asked(keyed: Running, users: tuple[Any, Any]) -> None:
    import pyrage

    client = trained(users[0])
    identity = pyrage.x25519.Identity.generate()
    keys = [str(identity.to_public())]
    plain = keyed.state.residency.files(client.save_weights_external("plain").result().path)
    sealed = keyed.state.residency.files(
        client.save_weights_external("sealed", age_encryption_recipients=keys).result().path
    )
    assert {file.name for file in sealed.iterdir()} == {f"{file.name}.age" for file in plain.iterdir()}
    content = (sealed / "adapter_model.safetensors.age").read_bytes()
    assert pyrage.decrypt(content, [identity]) == (plain / "adapter_model.safetensors").read_bytes()
    with pytest.raises(tinker.RequestFailedError, match="not an age recipient"):
        client.save_weights_external("other", age_encryption_recipients=["age1nobody"]).result()


def test_an_idle_session_is_closed(start_server: Callable[..., Running]) -> None:
    server = start_server(limits={"session_idle_seconds": 0.01})
    service = server.client()
    client = trained(service)
    server.state.tidy()
    assert server.state.scheduler.queues() == []
    with pytest.raises(tinker.APIStatusError, match="no longer in memory") as caught:
        client.forward(DATA, "cross_entropy").result()
    assert caught.value.status_code == 410
    service.close("success").result()


def test_a_restart_keeps_what_was_saved(start_server: Callable[..., Running], tmp_path: Path) -> None:
    first = start_server(tmp_path)
    service = first.client()
    client = trained(service, steps=2)
    state = client.save_state("middle", user_metadata={"step": "2"}).result().path
    named = client.save_weights_for_sampler("middle").result().path
    snapshot = client.save_weights_and_get_sampling_client().result()
    expected = greedy(snapshot)
    first.stop()

    second = start_server(tmp_path)
    old = second.http()
    step = old.post("/api/v1/optim_step", json={"model_id": client.model_id, "seq_id": 6, "adam_params": {}})
    assert step.status_code == 410 and state in step.json()["detail"]
    sampler = {"sampling_session_id": snapshot._sampling_session_id, "seq_id": 50, "num_samples": 1}
    prompt = {"chunks": [{"tokens": PROMPT.to_ints(), "type": "encoded_text"}]}
    body = {**sampler, "prompt": prompt, "sampling_params": {"max_tokens": 6, "temperature": 0}}
    queued = old.post("/api/v1/asample", json=body).json()["request_id"]
    assert old.post("/api/v1/retrieve_future", json={"request_id": queued}).status_code == 200  # the snapshot lives
    assert old.post("/api/v1/session_heartbeat", json={"session_id": client.model_id[:36]}).status_code == 200

    again = second.client()
    listed = tinker.RestClient(base_url=second.url, api_key=KEY).list_checkpoints(client.model_id).result().checkpoints
    assert {c.tinker_path for c in listed} == {state, named}
    assert greedy(again.create_sampling_client(model_path=named).result()) == expected
    resumed = again.create_training_client_from_state_with_optimizer(state).result()
    straight = trained(again, steps=3)
    resumed.forward_backward(DATA, "cross_entropy")
    resumed.optim_step(ADAM).result()
    sums = [c.forward(DATA, "cross_entropy").result().metrics["loss:sum"] for c in (resumed, straight)]
    assert sums[0] == sums[1]
    again.close("success").result()


def test_the_database_holds_no_keys(keyed: Running) -> None:
    stored = b"".join(file.read_bytes() for file in keyed.settings.data.glob("server.sqlite*"))
    assert KEY.encode() not in stored and OTHER_KEY.encode() not in stored
    assert os.environ.get("TINKER_TELEMETRY") == "0"


def test_checkpoints_whose_volume_is_not_mounted_are_not_forgotten(
    start_server: Callable[..., Running], tmp_path: Path, tiny_model: str
) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    first = start_server(data)
    client = trained(first.client())
    paths = {client.save_state(name).result().path for name in "ab"}
    first.stop()
    (data / "checkpoints").rename(away)
    (data / "checkpoints").mkdir()
    for _ in range(2):
        with pytest.raises(BackendError, match=r"2 checkpoints.*has none of them.*server\.without_checkpoints"):
            start_server(data)
    without = start_server(data, server={"without_checkpoints": True})
    with without.http() as http:
        listed = http.get("/api/v1/checkpoints").json()["checkpoints"]
        assert {c["tinker_path"] for c in listed} == paths and all(c["missing"] for c in listed)
        answer = http.post("/api/v1/weights_info", json={"tinker_path": min(paths)})
        assert answer.status_code == 404 and "missing on the server" in answer.text
    without.stop()
    (data / "checkpoints").rmdir()
    away.rename(data / "checkpoints")
    again = start_server(data)
    with again.http() as http:
        listed = http.get("/api/v1/checkpoints").json()["checkpoints"]
        assert {c["tinker_path"] for c in listed} == paths and not any(c["missing"] for c in listed)
    resumed = again.client().create_training_client_from_state_with_optimizer(min(paths)).result()
    assert resumed.forward(DATA, "cross_entropy").result().metrics["loss:sum"] > 0
    again.stop()


def test_exposure() -> None:
    from backends.server.auth import check_exposure

    check_exposure("127.0.0.1", ())
    check_exposure("::1", ())
    check_exposure("0.0.0.0", (KEY,))
    for host, keys in (("0.0.0.0", ()), ("example.org", ()), ("127.0.0.1", ("secret",)), ("127.0.0.1", ("tml-x",))):
        with pytest.raises(BackendError, match="key"):
            check_exposure(host, keys)
