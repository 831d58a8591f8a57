"""Who may come in: web pages, wrong names, odd keys, and bodies before keys."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.support.running import KEY, OTHER_KEY, Running
from tests.support.wire import Wire

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def keyed(start_server: Callable[..., Running]) -> Running:
    """A server with two users, which its network knows under another name."""
    return start_server(keys=(KEY, OTHER_KEY), server={"allowed_hosts": ["sql.example"]})


def raw(server: Running, head: bytes) -> bytes:
    """The answer to a request that is sent byte by byte as it is, and whose body never comes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.replace(b"\n", b"\r\n") + b"\r\n\r\n")
        return connection.recv(65536)


@pytest.mark.parametrize("route", ["/", "/healthz", "/v1/models", "/api/v1/training_runs", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "a b", "[::1", "x@y"]
)
def test_another_name_is_misdirected(server: Running, route: str, host: str) -> None:
    with server.http() as http:
        answer = http.get(route, headers={"Host": host})
    assert answer.status_code == 421 and "server.allowed_hosts" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"])
def test_names_of_this_machine(server: Running, host: str) -> None:
    with server.http() as http:
        assert http.get("/healthz", headers={"Host": host}).status_code == 200


def test_configured_names(keyed: Running) -> None:
    with keyed.http() as http:
        assert http.get("/api/v1/healthz", headers={"Host": "sql.example"}).status_code == 200
        through_a_proxy = {"Host": "127.0.0.1", "Origin": "https://sql.example"}
        assert http.get("/api/v1/healthz", headers=through_a_proxy).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_others_are_refused(server: Running, headers: dict[str, str]) -> None:
    with server.http() as http:
        assert http.post("/api/v1/create_session", headers=headers, json={}).status_code == 403


def test_the_own_page_is_let_in_and_has_the_usual_headers(server: Running) -> None:
    with server.http() as http:
        page = http.get("/", headers={"Origin": server.url, "Sec-Fetch-Site": "same-origin"})
    assert page.status_code == 200
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_links_to_weights_carry_the_configured_address(server: Running, start_server: Callable[..., Running]) -> None:
    proxied = start_server(server={"public_url": "https://sql.example/base/"})
    with server.http() as plain, proxied.http() as http:
        assert next(iter(links(Wire(plain)).values())).startswith(f"{server.url}/api/v1/external_weights/")
        assert next(iter(links(Wire(http)).values())).startswith("https://sql.example/base/api/v1/external_weights/")


def links(wire: Wire) -> dict[str, str]:
    wire.result(wire.create())
    wire.result(wire.post("save_weights_external", {"model_id": wire.model, "seq_id": 1, "path": "w"}))
    route = f"/api/v1/training_runs/{wire.model}/checkpoints/external_weights/w/external_weights_urls"
    urls: dict[str, str] = wire.http.get(route).json()["urls"]
    return urls


def test_keys_that_are_not_ascii(keyed: Running) -> None:
    odd = "tml-schlüssel-ключ".encode()
    basic = b"Basic " + base64.b64encode(b"x:" + odd)
    for header in (b"X-API-Key: " + odd, b"Authorization: Bearer " + odd, b"Authorization: " + basic,
                   b"Authorization: Basic " + odd, b"Authorization: Basic \xff\xfe"):  # fmt: skip
        for route in (b"/api/v1/healthz", b"/metrics", b"/"):
            answer = raw(keyed, b"GET " + route + b" HTTP/1.1\nHost: localhost\n" + header)
            assert answer.startswith(b"HTTP/1.1 401"), (header, answer)
    path = "/api/v1/external_weights/a:train:0/external_weights/w/adapter_config.json"
    for token in ("99999999999.%ff%e9", "99999999999.%D0%BA", "%F0%9F%98%80"):
        with keyed.http() as http:
            assert http.get(f"{path}?token={token}").status_code == 403
    with keyed.http() as http:
        body = json.dumps({"source_path": "tinker://a:train:0/weights/w", "weights_access_token": "\ud800ключ"})
        assert http.post("/api/v1/copy_weights", content=body).status_code in (400, 422)


def test_logged_values_are_escaped(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    routes = server.state.run
    server.state.run = fail  # type: ignore[method-assign]
    try:
        with server.http() as http, caplog.at_level(logging.ERROR):
            forged = "x%0aERROR%20the%20disk%20is%20on%20fire%1b[2J%c2%85"
            assert http.get(f"/api/v1/training_runs/{forged}").status_code == 500
    finally:
        server.state.run = routes  # type: ignore[method-assign]
    (message,) = [record.getMessage() for record in caplog.records if "on fire" in record.getMessage()]
    assert "\n" not in message and "\x1b" not in message and "\x85" not in message and r"\x0aERROR" in message


def test_files_are_this_users_alone(server: Running) -> None:
    data = server.settings.data
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for file in data.glob("server.sqlite*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize("route", ["create_session", "asample", "forward_backward", "nowhere", "telemetry"])
def test_the_key_is_asked_for_before_the_body(keyed: Running, route: str) -> None:
    """The answer comes although not one byte of the announced 200 MB has been sent."""
    head = f"POST /api/v1/{route} HTTP/1.1\nHost: localhost\nContent-Length: 200000000"
    assert raw(keyed, head.encode()).startswith(b"HTTP/1.1 401")
    wrong = f"{head}\nX-API-Key: tml-wrong-key-here"
    assert raw(keyed, wrong.encode()).startswith(b"HTTP/1.1 401")


def test_a_route_that_is_not_there_is_said_before_the_body(server: Running) -> None:
    head = f"POST /api/v1/nowhere HTTP/1.1\nHost: localhost\nX-API-Key: {KEY}\nContent-Length: 200000000"
    assert raw(server, head.encode()).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("route", "limit"), [("create_session", "small_request_bytes"), ("asample", "sample_request_bytes")]
)
def test_each_route_has_a_limit(server: Running, route: str, limit: str) -> None:
    size = getattr(server.settings.limits, limit)
    with server.http() as http:
        answer = http.post(f"/api/v1/{route}", content=b" " * (size + 1))
        assert answer.status_code == 413 and str(size) in answer.text
        assert http.post(f"/api/v1/{route}", content=b" " * size).status_code == 422


class Attacker(BaseHTTPRequestHandler):
    """A page that tries to use the server which its visitor runs."""

    target = ""

    def do_GET(self) -> None:
        script = f"""
            const tries = [
                fetch("{self.target}/v1/completions", {{method: "POST", mode: "no-cors",
                    body: '{{"model": "tiny", "prompt": "a", "max_tokens": 1}}'}}),
                fetch("{self.target}/v1/models", {{headers: {{"X-API-Key": "tml-local"}}}}),
                fetch("{self.target}/")];
            Promise.allSettled(tries).then(() => document.title = "done");
        """
        page = f"<!doctype html><title>…</title><script>{script}</script>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def attacker(server: Running) -> Iterator[str]:
    """Address of the page."""
    Attacker.target = server.url
    with ThreadingHTTPServer(("127.0.0.1", 0), Attacker) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://page.example:{web.server_port}"
        web.shutdown()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_real_browser_is_no_way_in(server: Running, attacker: str) -> None:
    """A page of another site, and one whose name comes to mean this machine after it was loaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    port = httpx.URL(server.url).port
    before = counts(server)
    with sync_api.sync_playwright() as player:
        rules = "MAP page.example 127.0.0.1, MAP rebound.example 127.0.0.1"
        flags = [f"--host-resolver-rules={rules}", "--no-sandbox", "--disable-gpu"]
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = chromium.new_page()
        page.goto(attacker)
        page.wait_for_function("document.title == 'done'", timeout=15_000)
        answers = [
            page.goto(f"http://rebound.example:{port}{route}").status for route in ("/", "/v1/models", "/healthz")
        ]
        chromium.close()
    assert answers == [421, 421, 421]
    assert counts(server) == before


def counts(server: Running) -> float:
    """Requests that were answered with anything but a refusal."""
    samples = [sample for metric in server.state.metrics.requests.collect() for sample in metric.samples]
    return sum(s.value for s in samples if s.name.endswith("_total") and s.labels["status"] not in ("403", "421"))


def test_who_has_no_key_is_told_which_will_do(server: Running) -> None:
    with server.http(key=None) as http:
        answer = http.get("/api/v1/get_server_capabilities")
    assert answer.status_code == 401 and "takes any" in answer.json()["detail"]
