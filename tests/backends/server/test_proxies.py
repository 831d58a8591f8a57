"""The proxies, the unit and the commands of docs/server.md, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.docs.commands import blocks
from tests.support.datums import random_datums
from tests.support.repository import REPOSITORY
from tests.support.running import KEY, Running
from tests.support.wire import Wire

PAGE = (REPOSITORY / "docs" / "server.md").read_text(encoding="utf-8")
NAME = "sql.example"
pytestmark = pytest.mark.slow


def block(language: str, containing: str = "") -> str:
    """The page's block in a language."""
    (found,) = (text for name, text in blocks(PAGE) if name == language and containing in text)
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def proxied(start_server: Callable[..., Running]) -> Running:
    """A server as the page says to start it for a proxy."""
    (line,) = re.findall(r"text2sql serve [^`]*?server\.public_url=\S+", PAGE.replace("\\\n", ""))
    allowed, url = re.findall(r"server\.allowed_hosts=\[(\S+)\] server\.public_url=(\S+)", line)[0]
    return start_server(keys=(KEY,), server={"allowed_hosts": [allowed], "public_url": url})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the proxy's name and its address, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    directory = tmp_path_factory.mktemp("certificate")
    names = f"subjectAltName=DNS:{NAME},IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    command += ["-addext", names, "-keyout", directory / "key.pem", "-out", directory / "certificate.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return directory / "certificate.pem", directory / "key.pem"


def nginx(server: Running, port: int, certificate: tuple[Path, Path], directory: Path) -> list[Any]:
    text = block("nginx").replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = re.sub(r"ssl_certificate \S+;", f"ssl_certificate {certificate[0]};", text)
    text = re.sub(r"ssl_certificate_key \S+;", f"ssl_certificate_key {certificate[1]};", text)
    text = text.replace("http://127.0.0.1:8000", server.url)
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off; {places} {text} }}"
    (directory / "nginx.conf").write_text(main)
    return ["nginx", "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"]


def caddy(server: Running, port: int, certificate: tuple[Path, Path], directory: Path) -> list[Any]:
    tls = f"tls {certificate[0]} {certificate[1]}\n"
    text = block("caddy").replace(f"{NAME} {{", f"https://{NAME}:{port} {{\n    bind 127.0.0.1\n    {tls}")
    text = text.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    (directory / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https off\n    skip_install_trust\n}}\n{text}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", directory / "Caddyfile"]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def through(
    request: pytest.FixtureRequest,
    proxied: Running,
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., httpx.Client]]:
    """Makes HTTP clients that reach the server through the proxy, by its name."""
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"no {request.param.__name__} on this machine")
    port, directory = free_port(), tmp_path_factory.mktemp("proxy")
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    process = subprocess.Popen(request.param(proxied, port, certificate, directory), env=environment)
    resolve = _Resolve(ssl.create_default_context(cafile=str(certificate[0])), port)

    def client(**options: Any) -> httpx.Client:
        return httpx.Client(base_url=f"https://{NAME}", transport=resolve, timeout=60, **options)

    deadline = time.monotonic() + 30
    while True:
        try:
            client().get("/healthz").raise_for_status()
            break
        except httpx.HTTPError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    yield client
    process.terminate()
    process.wait(20)


class _Resolve(httpx.HTTPTransport):
    """Takes the proxy's name for this machine."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        super().__init__(verify=context)
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": NAME}
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return super().handle_request(request)

    def close(self) -> None:
        """Many clients share the connections."""


def test_training_downloads_and_large_bodies(through: Callable[..., httpx.Client]) -> None:
    with through(headers={"X-API-Key": KEY}) as http:
        wire = Wire(http)
        wire.result(wire.create())
        wire.result(wire.forward_backward(1, random_datums(4, 600)))
        wire.result(wire.step(2))
        # nginx by itself takes 1 MB; this is the server's answer.
        long = http.post("/v1/completions", json={"model": "tiny", "prompt": "SELECT " * 300_000, "max_tokens": 1})
        assert long.status_code == 400 and "the model takes" in long.text
        saved = wire.result(wire.post("save_weights_external", {"model_id": wire.model, "seq_id": 3, "path": "w"}))
        route = f"/api/v1/training_runs/{wire.model}/checkpoints/external_weights/w/external_weights_urls"
        urls = http.get(route).json()["urls"]
        assert saved["size_bytes"] > 0 and all(url.startswith(f"https://{NAME}/api/v1/") for url in urls.values())
    with through() as nobody:
        for url in urls.values():
            assert nobody.get(url).status_code == 200
        assert nobody.get("/v1/models").status_code == 401


def test_a_stream_comes_as_it_is_written(proxied: Running, through: Callable[..., httpx.Client]) -> None:
    with through() as http, openai.OpenAI(base_url=f"https://{NAME}/v1", api_key=KEY, http_client=http) as client:
        arguments: Any = {"model": "tiny", "prompt": "SELECT", "max_tokens": 400, "temperature": 0}
        whole = client.completions.create(**arguments).choices[0].text
        pieces = client.completions.create(**arguments, stream=True)
        first = next(iter(pieces))
        under_way = [p for p in list(proxied.state.futures._requests.values()) if not p.future.done()]
        assert under_way, "the first piece came when the answer was complete"
        assert first.choices[0].text + "".join(piece.choices[0].text for piece in pieces) == whole


def test_pages_of_others_are_refused_behind_a_proxy_too(through: Callable[..., httpx.Client]) -> None:
    with through(headers={"X-API-Key": KEY}) as http:
        assert http.get("/v1/models", headers={"Origin": "https://evil.example"}).status_code == 403
        assert http.get("/v1/models", headers={"Origin": f"https://{NAME}"}).status_code == 200


def test_the_unit_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    # What it starts and who starts it must exist where it is verified.
    text = block("ini").replace("/opt/text2sql/.venv/bin/text2sql", "/bin/true").replace("User=text2sql", "User=root")
    unit = tmp_path / "text2sql.service"
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_commands_of_the_backup(start_server: Callable[..., Running], tmp_path: Path) -> None:
    server = start_server(tmp_path / "data")
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        saved = wire.result(wire.post("save_weights", {"model_id": wire.model, "seq_id": 1, "path": "w"}))["path"]
        commands = block("bash", "backup(").replace("/var/lib/text2sql", str(tmp_path / "data"))
        subprocess.run(["bash", "-ec", commands.replace("/backup/text2sql", str(tmp_path / "copy"))], check=True)
    restored = start_server(tmp_path / "copy")
    with restored.http() as http:
        (listed,) = http.get("/api/v1/checkpoints").json()["checkpoints"]
        assert (listed["tinker_path"], listed["missing"]) == (saved, False)
    service = restored.client()
    service.create_training_client_from_state_with_optimizer(saved).result()
    service.close("success").result()
