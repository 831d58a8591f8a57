"""A search for checkpoints, by hand: no SDK of the index asks for it yet. And what is said where there is no route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.running import KEY, OTHER_KEY, Running

ROUTE = "/api/v1/checkpoints/search"


@pytest.fixture(scope="module")
def saved(start_server: Callable[..., Running], tiny_model: str) -> tuple[Running, list[str]]:
    """A server that has five checkpoints of one user, and one of another; the user's paths, the newest first."""
    running = start_server(base_models={"tiny": tiny_model, "other": tiny_model}, keys=(KEY, OTHER_KEY))
    paths: list[str] = []
    for key, model, names in ((KEY, "tiny", "ab"), (KEY, "other", "c"), (OTHER_KEY, "tiny", "d")):
        service = running.client(key)
        client = service.create_lora_training_client(model, rank=2).result()
        for name in names:
            state = client.save_state(name, user_metadata={"name": name, "task": "x"}).result().path
            paths += [state, client.save_weights_for_sampler(name).result().path]
        service.close("success").result()
    return running, paths[:6][::-1]


def search(running: Running, key: str = KEY, **wanted: Any) -> Any:
    with running.http(key) as http:
        answer = http.post(ROUTE, json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def paths(page: Any) -> list[str]:
    return [checkpoint["tinker_path"] for checkpoint in page["checkpoints"]]


def test_each_condition_alone_and_together(saved: tuple[Running, list[str]]) -> None:
    running, everything = saved
    of_other, of_tiny = everything[:2], everything[2:]
    assert paths(search(running)) == everything
    assert paths(search(running, base_models=["other"])) == of_other
    assert paths(search(running, base_models=["tiny", "unknown"])) == of_tiny
    assert paths(search(running, base_models=[])) == []
    states = [path for path in everything if "/weights/" in path]
    assert paths(search(running, checkpoint_type="training")) == states
    assert paths(search(running, user_metadata={"task": "x"})) == states
    assert paths(search(running, user_metadata={"task": "x", "name": "b"})) == states[1:2]
    assert paths(search(running, user_metadata={"name": "b"}, checkpoint_type="sampler")) == []
    assert {c["base_model"] for c in search(running)["checkpoints"]} == {"tiny", "other"}


def test_pages_are_the_whole_and_survive_a_deletion(saved: tuple[Running, list[str]]) -> None:
    running, everything = saved
    for size in (1, 2, 5, 6):
        seen: list[str] = []
        page: Any = {"next_cursor": None}
        while not seen or page["next_cursor"]:
            page = search(running, limit=size, **({"cursor": page["next_cursor"]} if seen else {}))
            seen += paths(page)
        assert seen == everything, size
    cursor = search(running, limit=2)["next_cursor"]
    gone = {**cursor, "last_checkpoint_uuid": "tinker://gone/weights/gone"}
    assert paths(search(running, cursor=gone)) == everything[2:]


def test_a_user_finds_what_is_theirs(saved: tuple[Running, list[str]]) -> None:
    running, everything = saved
    others = paths(search(running, key=OTHER_KEY, owner={"type": "accessible"}))
    assert len(others) == 2 and not {*others} & {*everything}
    with running.http() as http:
        (run,) = {path.split("/")[2] for path in everything[:1]}
        me = http.get(f"/api/v1/training_runs/{run}").json()["model_owner"]
    assert paths(search(running, owner={"type": "user", "owner_urns": [me]})) == everything
    assert paths(search(running, owner={"type": "user", "owner_urns": ["somebody"]})) == []


def test_what_is_not_known_here_is_refused(saved: tuple[Running, list[str]]) -> None:
    running, _ = saved
    with running.http() as http:
        for status, words, wanted in (
            (403, "no projects", {"project_ids": ["p"]}),
            (422, "display_name", {"display_name": "nightly"}),
            (422, "limit", {"limit": 201}),
            (422, "cursor.last_checkpoint_uuid", {"cursor": {"last_created_at": "2026-11-29T00:00:00Z"}}),
        ):
            answer = http.post(ROUTE, json=wanted)
            assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


def test_where_there_is_no_route_a_sentence_says_so(saved: tuple[Running, list[str]]) -> None:
    running, _ = saved
    with running.http() as http:
        asked = http.post("/api/v1/sessions/search", json={}, headers={"x-sdk-method": "RestClient.search_sessions"})
        forged = http.get("/api/v1/nothing", headers={"x-sdk-method": "<b>x</b>"})
        openai = http.post("/v1/embeddings", json={}).json()["error"]["message"]
    assert (asked.status_code, forged.status_code) == (404, 404)
    assert asked.json()["detail"] == (
        "This server does not offer RestClient.search_sessions (POST /api/v1/sessions/search): it trains, samples, and "
        "keeps checkpoints."
    )
    assert forged.json()["detail"].startswith("This server does not offer GET /api/v1/nothing: ")
    assert openai.startswith("This server does not offer POST /v1/embeddings: ")
