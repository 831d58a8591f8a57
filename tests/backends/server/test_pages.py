"""The status page and the page of a model, as their viewers see them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.browser import open_browser
from tests.support.datums import random_datums
from tests.support.running import KEY, OTHER_KEY, Running
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def keyed(start_server: Callable[..., Running], tiny_model: str) -> Running:
    """A server with two users; its model goes by a directory too, as packaged ones do."""
    return start_server(keys=(KEY, OTHER_KEY), base_models={"tiny": tiny_model, tiny_model: tiny_model})


@pytest.fixture(scope="module")
def model(keyed: Running) -> str:
    """A model that has been trained and saved, with one request that failed."""
    with keyed.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        for seq in (1, 3):
            wire.result(wire.forward_backward(seq, random_datums(4, 600)))
            wire.result(wire.step(seq + 1))
        wire.result(wire.post("save_weights", {"model_id": wire.model, "seq_id": 5, "path": "<b>bold"}))
        wire.result(wire.post("save_weights", {"model_id": wire.model, "seq_id": 6, "path": "kept"}))
        return wire.model


def page(server: Running, route: str, key: str | None = KEY) -> Any:
    with server.http(None) as http:
        return http.get(route, auth=("anyone", key) if key else None)


def test_the_page_has_what_is_the_viewers(keyed: Running, model: str, tiny_model: str) -> None:
    mine, theirs = page(keyed, "/").text, page(keyed, "/", OTHER_KEY).text
    assert f'href="models/{model}"' in mine and "kept (training)" in mine and "may only have letters" in mine
    assert "<b>bold" not in mine and "&lt;b&gt;bold" in mine
    for text in (model, model[:8], "kept", "bold"):
        assert text not in theirs
    for text in (mine, theirs):
        assert tiny_model not in text, "a private path is shown as a model"
        assert "prefers-color-scheme: dark" in text and "<script" not in text


def test_one_click_from_a_model_to_its_metrics(keyed: Running, model: str) -> None:
    (link,) = re.findall(r'href="(models/[^"]+)"', page(keyed, "/").text)
    text = page(keyed, f"/{link}").text
    (points,) = re.findall(r'<polyline points="([^"]+)"', text)
    assert len(points.split()) == 2 and "Loss per input token" in text and "kept (training)" in text
    losses = [batch.loss for batch in keyed.state.metrics.batches_of(model)]
    assert all(f"{loss:.4g}" in text for loss in losses) and len(losses) == 2
    assert page(keyed, f"/{link}", OTHER_KEY).status_code == 404
    refused = page(keyed, f"/{link}", None)
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Basic"


def test_a_server_without_keys_shows_its_pages_to_this_machine(server: Running) -> None:
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
    assert page(server, f"/models/{wire.model}", None).status_code == 200
    assert page(server, "/models/nobody:train:0", None).status_code == 404


def test_nothing_is_kept_of_a_model_that_is_gone(server: Running) -> None:
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        wire.result(wire.forward_backward(1, random_datums(4, 600)))
        assert server.state.metrics.batches_of(wire.model)
        http.post(f"/api/v1/sessions/{wire.session}/finish", json={}).raise_for_status()
        # What the device does next comes after the release.
        other = Wire(http)
        other.result(other.create())
    assert server.state.metrics.batches_of(wire.model) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as chromium:
        yield chromium


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_in_a_browser(keyed: Running, model: str, browser: Any, width: int, scheme: str, tmp_path: Any) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        http_credentials={"username": "anyone", "password": KEY},
    )
    opened, problems = context.new_page(), []
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.goto(keyed.url)
    opened.screenshot(path=tmp_path / "status.png", full_page=True)
    opened.click(f"a[href='models/{model}']")
    opened.wait_for_selector("polyline")
    opened.screenshot(path=tmp_path / "model.png", full_page=True)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(252, 252, 250)", "dark": "rgb(20, 23, 27)"}[scheme]
    # The icon of the site is asked for by the browser.
    assert [text for text in problems if "favicon" not in text and "404" not in text] == []
    context.close()
